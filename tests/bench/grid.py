"""
The grid: what one request or event costs, and how long it takes, under every kind of load.

Answers and streams, 1 to 1,000 connections, requests of 1 KB to 1 MB, three sets of plugins, one
worker and two. Closed loops send as fast as answers come; open ones at a fixed rate, where latency
counts from the moment that a request was due, so that a slow answer makes those after it late, too.
Each load is put on the bare app, too, and on the provider itself, for what the proxy adds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count, islice, product

import attrs
from extent import KILO, MEGA, Extent
from load import at, closed_loop, conversations, open_loop, request
from processes import LIVE, RECORDED, Server, running, started
from provider import EVENTS
from rich.table import Table


PLUGINS = {"none": "", "printer and recorders": RECORDED, **({"all": LIVE} if LIVE else {})}
MOST_AT_ONCE = 128 * MEGA
"""Bytes of requests under way; more would be refused by `body_budget`."""
SPENT = {KILO: 1500, 100 * KILO: 200, MEGA: 40}
"""Requests of each size that are sent, or as many as there are connections."""
FEWEST_STREAMS = 2
FILLER = "Every word of this was said long ago. " * 52
OPEN_SHARE = 0.5
"""Of what a closed loop reached, an open one asks for."""


@attrs.frozen
class Cell:
    """
    One kind of load, and what was measured under it.

    Attributes:
        plugins: Which plugins.
        workers: How many.
        stream: Whether answers are streams; cost is for each event then, times are to the first.
        connections: How many.
        size: Bytes of a request.
        cpu_us: Microseconds of CPU of all processes.
        floor_us: Those of the bare app.
        per_second: Answers a second of the closed loop.
        closed: Milliseconds of the closed loop at p50 and p99, and how many less without proxy.
        open: The same of the open loop.
        memory_mib: What all processes held afterwards.
    """

    plugins: str
    workers: int
    stream: bool
    connections: int
    size: int
    cpu_us: float
    floor_us: float
    per_second: float
    closed: tuple[float, float, float, float]
    open: tuple[float, float, float, float]
    memory_mib: float

    @property
    def ratio(self) -> float:
        """How many times the bare app's cost."""
        return self.cpu_us / self.floor_us


@attrs.frozen
class Load:
    """A kind of load."""

    stream: bool
    connections: int
    size: int
    requests: int

    def cell(
        self, server: Server, floor: Server, provider: int, plugins: str, workers: int
    ) -> Cell:
        """Put this load on a server, on the bare app and on the provider itself."""
        floor_us = self._cost(floor)[0]
        direct = self._closed(provider)[0]
        cpu_us, times, seconds = self._cost(server)
        memory = server.memory()
        rate = len(times) / seconds * OPEN_SHARE
        opened_direct, opened = (self._opened(port, rate) for port in (provider, server.port))
        return Cell(
            plugins, workers, self.stream, self.connections, self.size, cpu_us, floor_us,
            len(times) / seconds, _added(times, direct), _added(opened, opened_direct), memory,
        )  # fmt: skip

    def _cost(self, server: Server) -> tuple[float, list[float], float]:
        """Return microseconds of CPU per request or event, latencies, and seconds in all."""
        used = server.cpu()
        times, seconds = self._closed(server.port)
        units = len(times) * (EVENTS if self.stream else 1)
        return (server.cpu() - used) / units * 1e6, times, seconds

    def _closed(self, port: int) -> tuple[list[float], float]:
        batch, begun = self._requests(), time.perf_counter()
        times = asyncio.run(closed_loop(port, batch, self.connections))
        return times, time.perf_counter() - begun

    def _opened(self, port: int, rate: float) -> list[float]:
        return asyncio.run(open_loop(port, self._requests(), self.connections, rate))

    def _requests(self) -> list[bytes]:
        fewest = FEWEST_STREAMS if self.stream else min(self.requests, SPENT[self.size])
        bodies = islice(_bodies(self.size), max(self.connections, fewest))
        return [request(each, stream=self.stream) for each in bodies]


def _added(times: list[float], direct: list[float]) -> tuple[float, float, float, float]:
    p50, p99 = at(times, 50), at(times, 99)
    return p50, p99, p50 - at(direct, 50), p99 - at(direct, 99)


def _bodies(size: int) -> Iterator[list[dict[str, str]]]:
    """Yield messages of requests of about so many bytes, none like another of its batch."""
    if size <= KILO:
        yield from conversations()
    for number in count():
        past = [
            {"role": ("user", "assistant")[place % 2], "content": f"{number}/{place} {FILLER}"}
            for place in range(size // (len(FILLER) + 50))
        ]
        yield [*past, {"role": "user", "content": f"and now number {number}?"}]


def cells(provider: int, extent: Extent) -> Iterator[Cell]:
    """Measure the grid, one set of servers after the other."""
    loads = list(product((False, True), extent.connections, extent.sizes))
    for plugins, workers in product((p for p in extent.plugins if p in PLUGINS), extent.workers):
        with ExitStack() as stack:
            floor = stack.enter_context(started("floor"))
            server = stack.enter_context(running(provider, PLUGINS[plugins], workers))
            for stream, connections, size in loads:
                if connections * size <= MOST_AT_ONCE:
                    load = Load(stream, connections, size, extent.requests)
                    yield load.cell(server, floor, provider, plugins, workers)


def table_of(measured: list[Cell]) -> Table:
    """Put the cells into a table."""
    table = Table(
        "plugins", "workers", "load", "µs CPU", "x bare app", "a second", "closed: p50, p99, added",
        "open: p50, p99, added", "MiB",
    )  # fmt: skip
    for cell in measured:
        unit = "streams" if cell.stream else "answers"
        table.add_row(
            cell.plugins, str(cell.workers),
            f"{unit}, {cell.connections} x {cell.size // KILO} KB",
            f"{cell.cpu_us:.0f}", f"{cell.ratio:.1f}", f"{cell.per_second:.0f}",
            *(" ".join(f"{value:.1f}" for value in times) for times in (cell.closed, cell.open)),
            f"{cell.memory_mib:.0f}",
        )  # fmt: skip
    return table
