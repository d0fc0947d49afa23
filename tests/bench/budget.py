"""
The budget of the whole: what the proxy costs in front of a real provider on loopback.

Every figure of CPU is that of all processes of a candidate, threads included; every round of a
candidate is paired with one of a bare Litestar app that gives the same answers by itself, and the
median of the ratios counts. A row is met or missed; nothing is asserted.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from itertools import islice

from bench import CONNECTIONS, measure
from extent import Extent
from load import at, closed_loop, conversations, open_loop, request
from processes import LIVE, RECORDED, Server, cpu_of, running, started
from provider import EVENTS
from rows import NO_BAR, Row


Timed = Callable[[int, Extent], Coroutine[None, None, list[float]]]

STREAMS_A_SECOND = 200.0
COST_BARS = {
    "passing": ("sessions off, no plugin", 2.5),
    "proxy": ("sessions and events, every observer", 4.0),
    "recorded": ("+ printer and three recorders", 8.0),
    "live": ("+ live trace", 13.0),
}


def cost_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure CPU per request and per event."""
    with ExitStack() as stack:
        servers = {"floor": stack.enter_context(started("floor"))}
        for kind in ("passing", "proxy"):
            servers[kind] = stack.enter_context(started(kind, provider))
        servers["recorded"] = stack.enter_context(running(provider, RECORDED))
        if LIVE:
            servers["live"] = stack.enter_context(running(provider, LIVE))
        before = servers["live"].loop_cpu() if LIVE else 0.0
        costs = costs_of(servers, extent)
        on_loop = (servers["live"].loop_cpu() - before) if LIVE else 0.0
        events = events_of(servers["proxy"], extent)
    floor = statistics.median(costs["floor"])
    rows = [Row("bare Litestar app", floor, NO_BAR, "µs", tuple(costs["floor"]))]
    for kind in list(servers)[1:]:
        title, bar = COST_BARS[kind]
        each = ratio(costs, kind)
        rows.append(Row(title, statistics.median(each), bar, "x bare app", each))
    if LIVE:
        loop = on_loop / ((extent.rounds + 1) * extent.requests) * 1e6 / floor
        rows.append(Row("  of which on the proxy's loop", loop, 5.5, "x bare app"))
    title = f"an event of {extent.streams} streams"
    return [*rows, Row(title, statistics.median(events), 60, "µs", tuple(events))]


def costs_of(
    servers: dict[str, Server], extent: Extent, connections: int = CONNECTIONS
) -> dict[str, list[float]]:
    """Return microseconds of CPU per request of each candidate, round by round."""
    bodies = conversations()
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for number in range(-1, extent.rounds):
        for kind, server in servers.items():
            batch = [request(each, stream=False) for each in islice(bodies, extent.requests)]
            used = server.cpu()
            measure(server, batch, connections)
            if kind in {"recorded", "live"}:
                time.sleep(extent.settle)
            if number >= 0:  # the first round only warms up
                costs[kind].append((server.cpu() - used) / extent.requests * 1e6)
    return costs


def ratio(costs: dict[str, list[float]], kind: str, base: str = "floor") -> tuple[float, ...]:
    """Return a candidate's cost over another's, round by round."""
    return tuple(mine / its for mine, its in zip(costs[kind], costs[base], strict=True))


def events_of(server: Server, extent: Extent) -> list[float]:
    """Return microseconds of CPU per streamed event, its share of the request included."""
    bodies, costs, streams = conversations(), [], extent.streams
    for _ in range(max(1, extent.rounds // 2)):
        batch = [request(each, stream=True) for each in islice(bodies, streams)]
        costs.append(measure(server, batch, streams) / (streams * EVENTS) * 1e6)
    return costs


def latency_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure what a client waits longer: for an answer, and for the first event of a stream."""
    with started("proxy", provider) as server:
        asyncio.run(round_trips(server.port, extent))  # to warm up
        answers = added(round_trips, provider, server.port, extent)
        events = added(first_events, provider, server.port, extent)
    return [
        _row("added at one connection, p50", answers[50], 0.35),
        _row("added at one connection, p99", answers[99], 1.0),
        _row("added to the first event, p50", events[50], 5.0),
        _row("added to the first event, p99", events[99], 5.0),
    ]


def _row(title: str, added: list[float], bar: float) -> Row:
    return Row(title, statistics.median(added), bar, "ms", tuple(added))


def added(timed: Timed, direct: int, proxied: int, extent: Extent) -> dict[int, list[float]]:
    """Return by how many milliseconds percentiles differ between two ports, round by round."""
    found: dict[int, list[float]] = {50: [], 99: []}
    for _ in range(extent.rounds):
        without, within = (asyncio.run(timed(port, extent)) for port in (direct, proxied))
        for percent, values in found.items():
            values.append(at(within, percent) - at(without, percent))
    return found


async def round_trips(port: int, extent: Extent) -> list[float]:
    """Return the milliseconds of requests over one connection."""
    bodies = islice(conversations(), extent.requests)
    return await closed_loop(port, [request(each, stream=False) for each in bodies], 1)


async def first_events(port: int, extent: Extent) -> list[float]:
    """Return the milliseconds to the first event of each of many streams, opened 5 ms apart."""
    bodies = islice(conversations(), extent.streams)
    batch = [request(each, stream=True) for each in bodies]
    return await open_loop(port, batch, extent.streams, STREAMS_A_SECOND)


def worker_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure what two workers cost, beside one."""
    with running(provider) as one, running(provider, workers=2) as two:
        workers = two.process.children()
        before = [cpu_of(each) for each in workers]
        costs = costs_of({"one": one, "two": two}, extent, connections=64)
        shares = [cpu_of(each) - used for each, used in zip(workers, before, strict=True)]
    each = ratio(costs, "two", "one")
    most = max(shares) / sum(shares) * 100
    return [
        Row("CPU per request with two workers", statistics.median(each), 1.15, "x one", each),
        Row("share of the busier worker", most, 60, "%"),
    ]
