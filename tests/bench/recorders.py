"""
Measure what recording costs.

    python tests/bench/recorders.py [--rounds 5] [--requests 3000] [--slow 6]

Printed are, for the printer and all three recorders together: CPU per request of the whole process,
threads included, against a bare Litestar app in the same run; microseconds of the event loop for
each recorded chunk; how many records were lost at as many exchanges a second as the machine can do;
and how memory grows while every write to the disk takes half a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from bench import CONNECTIONS, STREAMS, measure
from load import conversations, request
from processes import MIB, Server, started
from provider import EVENTS
from servers import MemoryTransport


RECORDERS = ("http_recorder", "message_logger", "event_recorder")
SLOW_SECONDS = 0.5


def serve(folder: Path, *, slow: bool) -> None:
    """Serve a proxy that records, and print its port; the child's main function."""
    import uvloop

    from perimeter import application as applications
    from perimeter import supervisor
    from perimeter.server import bind
    from perimeter.settings import ServerSettings, SessionSettings, Settings, UpstreamSettings

    if slow:
        _slow_down()
    settings = Settings(
        server=ServerSettings(port=0),
        # Sessions take memory of their own, up to their number.
        session=SessionSettings(max_sessions=100 if slow else 10_000),
        upstreams={"default": UpstreamSettings(type="openai", base_url="http://memory")},
        plugins={
            "printer": {"output": "stderr"},
            **{name: {"folder": str(folder / name)} for name in RECORDERS},
        },
    )
    application = applications.build(settings, transport=MemoryTransport)
    listener = bind("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(supervisor.serve(application, listener))


def _slow_down() -> None:
    """Make every write of a recorder take long, as on a disk that can't keep up."""
    from perimeter_plugin_recorders import event_recorder, http_recorder, message_logger

    def write(descriptor: int, data: memoryview) -> int:
        time.sleep(SLOW_SECONDS)
        return os.write(descriptor, data)

    for module in (http_recorder, message_logger, event_recorder):
        module.open_journal = _with_write(module.open_journal, write)


def _with_write(open_journal: Any, write: Any) -> Any:
    def opened(*arguments: Any) -> Any:
        journal = open_journal(*arguments)
        journal.os_write = write
        return journal

    return opened


@contextmanager
def recording(folder: Path, *, slow: bool = False) -> Iterator[Server]:
    """Run a proxy that records."""
    command = [sys.executable, __file__, "--serve", str(folder), *(["--slow-disk"] if slow else [])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        server = Server(int(child.stdout.readline()), psutil.Process(child.pid))
        try:
            yield server
        finally:
            child.kill() if slow else child.terminate()


def metrics(server: Server) -> dict[str, float]:
    """Return what the proxy counts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r"^(perimeter_\S+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def lost(server: Server) -> float:
    """Return how many records were lost so far."""
    counted = metrics(server).items()
    return sum(
        value
        for name, value in counted
        if "records_lost_total" in name
        or ("worker_dropped" in name and any(plugin in name for plugin in RECORDERS))
    )


def cost(rounds: int, requests: int, folder: Path) -> None:
    """Print what a request costs, and what is lost at saturation."""
    bodies = conversations()
    costs: dict[str, list[float]] = {"floor": [], "recorders": []}
    rates: list[float] = []
    with ExitStack() as stack:
        servers = {
            "floor": stack.enter_context(started("floor")),
            "recorders": stack.enter_context(recording(folder)),
        }
        for number in range(-1, rounds):
            for kind, server in servers.items():
                batch = [request(each, stream=False) for each in islice(bodies, requests)]
                begun, used = time.monotonic(), server.cpu()
                measure(server, batch, CONNECTIONS)
                if kind == "recorders":
                    rates.append(requests / (time.monotonic() - begun))
                    time.sleep(1.5)  # what waits in queues is part of the cost
                if number >= 0:
                    costs[kind].append((server.cpu() - used) / requests * 1e6)
        gone = lost(servers["recorders"])
        streamed(servers["recorders"])
    ratio = statistics.median(
        mine / floor for mine, floor in zip(costs["recorders"], costs["floor"], strict=True)
    )
    for kind, values in costs.items():
        print(f"{kind:10} {statistics.median(values):8.1f} µs of CPU per request")
    print(f"printer and three recorders: {ratio:.2f} x the bare app (budget 8)")
    print(f"records lost at {statistics.median(rates):.0f} exchanges/s (saturation): {gone:.0f}")


def streamed(server: Server) -> None:
    """Print what a recorded chunk costs on the event loop."""
    before = metrics(server)
    batch = [request(each, stream=True) for each in islice(conversations(), STREAMS)]
    measure(server, batch, STREAMS)
    after = metrics(server)
    keys = [name for name in after if 'hook="on_chunk"' in name and "http_recorder" in name]
    sums = {name: after[name] - before.get(name, 0.0) for name in keys}
    seconds = sum(
        value for name, value in sums.items() if "seconds_sum" in name or ("seconds_total" in name)
    )
    print(f"on_chunk: {seconds / (STREAMS * EVENTS) * 1e6:.2f} µs of the loop (budget 6)")


def slow_disk(rounds: int, requests: int, folder: Path) -> None:
    """Print how memory grows while the disk is slow."""
    bodies = conversations()
    with recording(folder, slow=True) as server:
        for number in range(rounds):
            batch = [request(each, stream=False) for each in islice(bodies, requests)]
            measure(server, batch, CONNECTIONS)
            held = server.process.memory_info().rss / MIB
            sent = (number + 1) * requests
            print(f"slow disk, {sent:6} requests: {held:6.1f} MiB, {lost(server):8.0f} lost")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--slow", type=int, default=6, help="rounds with a slow disk")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--slow-disk", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, slow=options.slow_disk)
        return
    with tempfile.TemporaryDirectory() as folder:
        cost(options.rounds, options.requests, Path(folder) / "fast")
        slow_disk(options.slow, options.requests, Path(folder) / "slow")


if __name__ == "__main__":
    main()
