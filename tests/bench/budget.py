"""
Measure the budget of the whole: what the proxy costs in front of a real provider on loopback.

    python tests/bench/budget.py [--rounds 5] [--requests 3000] [--soak 20000] [--json FILE]

Every figure of CPU is that of all processes of a candidate, threads included; every round of a
candidate is paired with one of a bare Litestar app that gives the same answers by itself, and the
median of the ratios counts. A row is met or missed; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
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

import attrs
import psutil
from bench import CONNECTIONS, STREAMS, Server, measure, started
from load import conversations, read_response, request
from provider import EVENTS
from rich.console import Console
from rich.table import Table


RECORDED = "[plugins.printer]\noutput = 'stderr'\n" + "".join(
    f"[plugins.{name}]\nfolder = '{{folder}}/{name}'\n"
    for name in ("http_recorder", "message_logger", "event_recorder")
)
OPEN_STREAMS = 400
SETTLE = 1.5
"""Seconds that recorders get to write what waits in their queues, which is part of the cost."""


@attrs.frozen
class Row:
    """A line of the budget: what was measured, and what it may be at most."""

    name: str
    value: float
    bar: float
    unit: str
    rounds: tuple[float, ...] = ()

    @property
    def met(self) -> bool:
        """Whether it is within the budget."""
        return self.value <= self.bar


@contextmanager
def running(provider: int, plugins: str = "", workers: int = 1) -> Iterator[Server]:
    """Run `perimeter run` itself, as its users do."""
    with tempfile.TemporaryDirectory() as folder, _free_port() as port:
        config = Path(folder, "perimeter.toml")
        config.write_text(
            f"[server]\nport = {port}\nworkers = {workers}\n[upstreams.bench]\ntype = 'openai'\n"
            f"base_url = 'http://127.0.0.1:{provider}'\n" + plugins.replace("{folder}", folder)
        )
        command = [sys.executable, "-m", "perimeter", "run", "--config", str(config)]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            try:
                _wait(port, child)
                yield Server(port, psutil.Process(child.pid))
            finally:
                child.terminate()


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield port


def _wait(port: int, child: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if child.poll() is not None:
            raise RuntimeError(f"the proxy ended with {child.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the proxy does not answer")


def requests_of(
    servers: dict[str, Server], rounds: int, requests: int, connections: int = CONNECTIONS
) -> dict[str, list[float]]:
    """Return microseconds of CPU per request of each candidate, round by round."""
    bodies = conversations()
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for number in range(-1, rounds):
        for kind, server in servers.items():
            batch = [request(each, stream=False) for each in islice(bodies, requests)]
            used = server.cpu()
            measure(server, batch, connections)
            if kind == "recorded":
                time.sleep(SETTLE)
            if number >= 0:  # the first round only warms up
                costs[kind].append((server.cpu() - used) / requests * 1e6)
    return costs


def ratio(costs: dict[str, list[float]], kind: str, base: str = "floor") -> tuple[float, ...]:
    """Return a candidate's cost over another's, round by round."""
    return tuple(mine / its for mine, its in zip(costs[kind], costs[base], strict=True))


def cost_rows(provider: int, rounds: int, requests: int) -> list[Row]:
    """Measure CPU per request and per event."""
    with ExitStack() as stack:
        servers = {"floor": stack.enter_context(started("floor"))}
        for kind in ("passing", "proxy"):
            servers[kind] = stack.enter_context(started(kind, provider))
        servers["recorded"] = stack.enter_context(running(provider, RECORDED))
        costs = requests_of(servers, rounds, requests)
        del servers["recorded"]
        events = events_of(servers["proxy"], max(1, rounds // 2))
    titles = (
        ("passing", "sessions off, no plugin", 2.5),
        ("proxy", "sessions and events, every observer", 4.0),
        ("recorded", "+ printer and three recorders", 8.0),
    )
    rows = [Row("bare Litestar app", statistics.median(costs["floor"]), float("inf"), "µs")]
    for kind, title, bar in titles:
        each = ratio(costs, kind)
        rows.append(Row(title, statistics.median(each), bar, "x bare app", each))
    rows.append(Row("an event of 200 streams", statistics.median(events), 60, "µs", tuple(events)))
    return rows


def events_of(server: Server, rounds: int) -> list[float]:
    """Return microseconds of CPU per streamed event, its share of the request included."""
    bodies, costs = conversations(), []
    for _ in range(rounds):
        batch = [request(each, stream=True) for each in islice(bodies, STREAMS)]
        costs.append(measure(server, batch, STREAMS) / (STREAMS * EVENTS) * 1e6)
    return costs


def latency_rows(provider: int, requests: int) -> list[Row]:
    """Measure what a client waits longer: for an answer, and for the first event of a stream."""
    with started("proxy", provider) as server:
        asyncio.run(round_trips(server.port, 200))
        direct = asyncio.run(round_trips(provider, requests))
        proxied = asyncio.run(round_trips(server.port, requests))
        first_direct = asyncio.run(first_events(provider))
        first_proxied = asyncio.run(first_events(server.port))
    return [
        Row("added at one connection, p50", at(proxied, 50) - at(direct, 50), 0.35, "ms"),
        Row("added at one connection, p99", at(proxied, 99) - at(direct, 99), 1.0, "ms"),
        Row("added to the first event, p99", at(first_proxied, 99) - at(first_direct, 99), 5, "ms"),
    ]


def at(times: list[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


async def round_trips(port: int, number: int) -> list[float]:
    """Return the milliseconds of so many requests over one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    for messages in islice(conversations(), number):
        data = request(messages, stream=False)
        begun = time.perf_counter()
        writer.write(data)
        await read_response(reader)
        times.append((time.perf_counter() - begun) * 1000)
    writer.close()
    return times


async def first_events(port: int) -> list[float]:
    """Return the milliseconds to the first event of each of 200 streams, opened 5 ms apart."""
    times: list[float] = []

    async def stream(data: bytes, delay: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(delay)
        begun = time.perf_counter()
        writer.write(data)
        await reader.readuntil(b"data: ")
        times.append((time.perf_counter() - begun) * 1000)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()

    bodies = islice(conversations(), STREAMS)
    waiting = [stream(request(each, stream=True), n * 0.005) for n, each in enumerate(bodies)]
    await asyncio.gather(*waiting)
    return times


def memory_rows(provider: int) -> list[Row]:
    """Measure memory: idle, and of open streams."""
    with running(provider) as server:
        idle = server.memory()
        asyncio.run(first_events(server.port))  # what is loaded once is no stream's
        before = server.memory()
        grown = asyncio.run(held_streams(server)) - before
    each = grown * 1024 / OPEN_STREAMS
    return [Row("idle", idle, 60, "MiB"), Row("an open stream", each, 32, "KiB")]


async def held_streams(server: Server) -> float:
    """Return the memory while many streams are open."""
    opened = []
    for messages in islice(conversations(), OPEN_STREAMS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request(messages, stream=True))
        opened.append((reader, writer))
    for reader, _ in opened:
        await reader.readuntil(b"data: ")
    held = server.memory()
    for _, writer in opened:
        writer.transport.abort()
    return held


def worker_rows(provider: int, rounds: int, requests: int) -> list[Row]:
    """Measure what two workers cost, beside one."""
    try:
        with running(provider) as one, running(provider, workers=2) as two:
            servers = {"one": one, "two": two}
            costs = requests_of(servers, rounds, requests, connections=64)
            shares = [sum(each.cpu_times()[:2]) for each in two.process.children()]
    except RuntimeError as error:
        return [Row(f"two workers: not available ({error})", float("nan"), 1.15, "")]
    each = ratio(costs, "two", "one")
    most = max(shares) / sum(shares) * 100
    return [
        Row("CPU per request with two workers", statistics.median(each), 1.15, "x one", each),
        Row("share of the busier worker", most, 60, "%"),
    ]


def soak_rows(provider: int, exchanges: int) -> list[Row]:
    """Measure how memory grows while observers and sinks fail, after half of the exchanges."""
    bodies = conversations()
    with started("failing", provider) as server:
        held = []
        for _ in range(2):
            for start in range(0, exchanges // 2, 5000):
                count = min(5000, exchanges // 2 - start)
                batch = [request(each, stream=False) for each in islice(bodies, count)]
                measure(server, batch, CONNECTIONS)
            held.append(server.memory())
    title = f"growth in the second half of {exchanges:,} exchanges"
    return [Row(title, held[1] - held[0], 2.0, "MiB")]


def table_of(rows: list[Row]) -> Table:
    """Put the rows into a table."""
    table = Table("", "measured", "budget", "", "rounds")
    for row in rows:
        budget = "" if row.bar == float("inf") else f"{row.bar:g}"
        verdict = "" if not budget else "met" if row.met else "missed"
        spread = f"{min(row.rounds):.2f} to {max(row.rounds):.2f}" if row.rounds else ""
        table.add_row(row.name, f"{row.value:.2f} {row.unit}", budget, verdict, spread)
    return table


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--soak", type=int, default=20_000, help="exchanges with failing sinks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with started("provider") as provider:
        rows = cost_rows(provider.port, options.rounds, options.requests)
        rows += latency_rows(provider.port, options.requests)
        rows += memory_rows(provider.port)
        rows += worker_rows(provider.port, options.rounds, options.requests)
        if options.soak:
            rows += soak_rows(provider.port, options.soak)
    Console().print(table_of(rows))
    if options.json:
        options.json.write_text(json.dumps([attrs.asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
