"""
The same work through other gateways, where they are installed: LiteLLM, Portkey and mitmproxy.

They are looked for on PATH (`litellm`, `mitmdump`, and Portkey's `start-server.js` in the variable
`PORTKEY_SERVER`, run by `node`). Their processes are measured as ours are, children included.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import attrs
import psutil
from bench import CONNECTIONS, measure
from budget import ratio
from extent import Extent
from load import conversations, request
from processes import Server, free_port, running, wait_for
from rich.table import Table


MOST_REQUESTS = 1000
"""Per round; the slow ones take half a minute for it."""


@attrs.frozen
class Gateway:
    """
    Another gateway.

    Attributes:
        name: What it is called.
        command: Gives the command line for a port, the provider's address and a folder; None where
            it is not installed.
        bar: How many times as much as ours a request is to cost at least; 0 for no claim.
        headers: What requests need more.
        environment: Variables that it needs.
    """

    name: str
    command: Callable[[int, int, Path], list[str] | None]
    bar: float
    headers: Callable[[int], str] = lambda _: ""
    environment: Mapping[str, str] = {}


def _litellm(port: int, provider: int, folder: Path) -> list[str] | None:
    program = shutil.which("litellm")
    model = {
        "model_name": "bench",
        "litellm_params": {
            "model": "openai/bench",
            "api_base": f"http://127.0.0.1:{provider}/v1",
            "api_key": "none",
        },
    }
    config = folder / "litellm.yaml"
    config.write_text(json.dumps({"model_list": [model]}))  # JSON is YAML, too
    command = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    return [program, *command, "--num_workers", "1"] if program else None


def _portkey(port: int, _provider: int, _folder: Path) -> list[str] | None:
    script, node = os.environ.get("PORTKEY_SERVER"), shutil.which("node")
    return [node, script, f"--port={port}", "--headless"] if script and node else None


def _portkey_headers(provider: int) -> str:
    return (
        f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{provider}/v1\r\n"
    )


def _mitmproxy(port: int, provider: int, _folder: Path) -> list[str] | None:
    program = shutil.which("mitmdump")
    mode = f"reverse:http://127.0.0.1:{provider}"
    command = ["--quiet", "--mode", mode, "--listen-host", "127.0.0.1", "--listen-port", str(port)]
    return [program, *command] if program else None


GATEWAYS = (
    # Without keys of its own, like the others.
    Gateway(
        "LiteLLM",
        _litellm,
        40,
        environment={"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"},
    ),
    Gateway("Portkey", _portkey, 7, _portkey_headers),
    Gateway("mitmproxy", _mitmproxy, 0),
)


@attrs.frozen
class Comparison:
    """
    How a gateway did.

    Attributes:
        name: What it is called.
        cpu_us: Its microseconds of CPU per request.
        ours_us: Perimeter's.
        times: How many times as much as Perimeter's that is.
        times_off: The same, where Perimeter finds no sessions, as others don't.
        bar: How many times it is to be at least.
    """

    name: str
    cpu_us: float
    ours_us: float
    times: float
    times_off: float
    bar: float


def compare(provider: int, extent: Extent) -> Iterator[Comparison | str]:
    """Measure every gateway that is installed beside Perimeter; say so of those that are not."""
    for gateway in GATEWAYS:
        try:
            with (
                serving(gateway, provider) as theirs,
                running(provider) as ours,
                running(provider, "[session]\nenabled = false\n") as off,
            ):
                servers = {"theirs": theirs, "ours": ours, "off": off}
                yield _compared(gateway, servers, provider, extent)
        except RuntimeError as error:
            yield f"{gateway.name}: {error}"


def _compared(
    gateway: Gateway, servers: dict[str, Server], provider: int, extent: Extent
) -> Comparison:
    bodies, number = conversations(), min(extent.requests, MOST_REQUESTS)
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    more = gateway.headers(provider).encode()
    for place in range(-1, extent.rounds):
        for kind, server in servers.items():
            batch = [request(each, stream=False) for each in islice(bodies, number)]
            if kind == "theirs":
                batch = [each.replace(b"accept: ", more + b"accept: ", 1) for each in batch]
            used = measure(server, batch, CONNECTIONS) / number * 1e6
            if place >= 0:  # the first round only warms up
                costs[kind].append(used)
    return Comparison(
        gateway.name,
        statistics.median(costs["theirs"]),
        statistics.median(costs["ours"]),
        statistics.median(ratio(costs, "theirs", "ours")),
        statistics.median(ratio(costs, "theirs", "off")),
        gateway.bar,
    )


@contextmanager
def serving(gateway: Gateway, provider: int) -> Iterator[Server]:
    """
    Run a gateway in front of a provider.

    Raises:
        RuntimeError: It is not installed, or does not serve.
    """
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = gateway.command(port, provider, Path(folder))
        if command is None:
            raise RuntimeError("not installed")
        environment = {**os.environ, **gateway.environment}
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=environment,
        ) as child:
            try:
                wait_for(child, port)
                yield Server(port, psutil.Process(child.pid))
            finally:
                child.terminate()


def table_of(found: list[Comparison | str]) -> Table:
    """Put the comparisons into a table."""
    titles = ("µs per request", "Perimeter's", "times as much", "at least", "without sessions")
    table = Table("gateway", *titles)
    for each in found:
        if isinstance(each, str):
            table.add_row(each)
            continue
        bar = f"{each.bar:g} {'met' if each.times >= each.bar else 'missed'}" if each.bar else ""
        costs = (f"{each.cpu_us:,.0f}", f"{each.ours_us:.0f}", f"{each.times:.1f}")
        table.add_row(each.name, *costs, bar, f"{each.times_off:.1f}")
    return table
