"""
What it costs to understand calls: reading them, finding their sessions, telling events, counting.

That is the difference between a proxy that does so and one that passes everything on unread, in the
same run; both answer from memory and tell every observer.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from itertools import count, islice

from bench import measure, per_event, per_request
from extent import MEGA, Extent
from load import at, conversations, read_response, request
from processes import Server, started
from provider import EVENT_SECONDS
from rows import Row


KINDS = ("floor", "unread", "proxy")
CHARACTERS = 2000
"""Of a message in a long history."""

STREAMS = 20
EVERY = 0.1
"""Seconds between one large body's answer and the next one."""


def reading_rows(_: int, extent: Extent) -> list[Row]:
    """Measure what reading adds."""
    return [*_cost_rows(extent), *_late_rows(extent)]


def _cost_rows(extent: Extent) -> Iterator[Row]:
    with started("floor") as floor, started("unread") as unread, started("proxy") as proxy:
        servers = dict(zip(KINDS, (floor, unread, proxy), strict=True))
        costs = per_request(servers, extent.rounds, extent.requests)
        each = _added(costs, "floor")
        yield Row("reading, a request", statistics.median(each), 1.3, "x bare app", each)
        for model, title in (("bench/burst", "in a burst"), ("bench", "every 20 ms")):
            events = per_event(servers, max(1, extent.rounds // 2), model)
            each = _added(events)
            yield Row(f"reading, an event {title}", statistics.median(each), 10, "µs", each)
        each = _added(_per_megabyte(servers, extent))
        yield Row("reading, a megabyte of history", statistics.median(each), 6, "ms", each)


def _added(costs: dict[str, list[float]], base: str | None = None) -> tuple[float, ...]:
    """Return what reading adds, round by round; over a candidate's cost where one is named."""
    rounds = zip(costs["proxy"], costs["unread"], costs[base or "unread"], strict=True)
    return tuple((read - unread) / (over if base else 1.0) for read, unread, over in rounds)


def _per_megabyte(servers: dict[str, Server], extent: Extent) -> dict[str, list[float]]:
    """Return milliseconds of CPU per megabyte of long histories, round by round."""
    number, numbers = max(2, extent.requests // 200), count()
    costs: dict[str, list[float]] = {kind: [] for kind in ("unread", "proxy")}
    for _ in range(extent.rounds):
        for kind, found in costs.items():
            bodies = [long_history(MEGA, next(numbers)) for _ in range(number)]
            used = measure(servers[kind], bodies, 1)
            found.append(used * 1000 / (sum(map(len, bodies)) / MEGA))
    return costs


def long_history(size: int, number: int) -> bytes:
    """Return a request of about so many bytes, like no other one."""
    text = "The history of an agent that has worked for long. " * (CHARACTERS // 50)
    roles = ("user", "assistant")
    messages = [
        {"role": roles[place % 2], "content": f"{number}/{place} {text}"}
        for place in range(size // CHARACTERS | 1)
    ]
    return request(messages, stream=False)


def _late_rows(extent: Extent) -> Iterator[Row]:
    """Measure how much later events of streams come while bodies of 2 MB are read."""
    found: dict[int, list[float]] = {50: [], 99: []}
    with started("proxy") as server:
        asyncio.run(_gaps(server.port, extent.watched / 3))  # to warm up
        for _ in range(extent.rounds):
            without = asyncio.run(_gaps(server.port, extent.watched))
            within = asyncio.run(_gaps_beside_bodies(server.port, extent.watched))
            for percent, values in found.items():
                values.append(at(within, percent) - at(without, percent))
    for percent, values in found.items():
        title = f"an event is later beside bodies of 2 MB, p{percent}"
        yield Row(title, statistics.median(values), 5, "ms", tuple(values))


async def _gaps_beside_bodies(port: int, seconds: float) -> list[float]:
    bodies = [long_history(2 * MEGA, number) for number in range(int(seconds / EVERY))]
    sending = asyncio.get_running_loop().create_task(_send_large(port, bodies))
    try:
        return await _gaps(port, seconds)
    finally:
        sending.cancel()


async def _send_large(port: int, bodies: list[bytes]) -> None:
    """Send one large body after the other, until cancelled."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for body in bodies:
            writer.write(body)
            await read_response(reader)
            await asyncio.sleep(EVERY)
    finally:
        writer.close()


async def _gaps(port: int, seconds: float) -> list[float]:
    """Return by how many milliseconds events of streams came later than they are due."""
    late: list[float] = []
    until = time.perf_counter() + seconds
    bodies = islice(conversations(), STREAMS)
    await asyncio.gather(*(_watch(port, request(b, stream=True), until, late) for b in bodies))
    return late


async def _watch(port: int, data: bytes, until: float, late: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        writer.write(data)
        await reader.readuntil(b"\r\n\r\n")
        before = None
        while (size := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            await reader.readexactly(size + 2)
            now = time.perf_counter()
            if before is not None:
                late.append((now - before - EVENT_SECONDS) * 1000)
            before = now
        await reader.readexactly(2)
    writer.close()
