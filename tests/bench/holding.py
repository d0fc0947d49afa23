"""What memory is held: idle, by open streams, and after very many exchanges."""

from __future__ import annotations

import asyncio
from itertools import islice

from bench import CONNECTIONS, measure
from extent import Extent
from load import closed_loop, conversations, request
from processes import Server, running, started
from rows import NO_BAR, Row


WARM = 20_000
"""Exchanges after which all that has a limit is full: sessions, and 4,096 agents' names."""
BATCH = 1000
READINGS = 10


def memory_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure memory: idle, and of open streams."""
    streams = extent.streams
    with running(provider) as server:
        idle = server.memory()
        batch = _streams(streams)
        asyncio.run(closed_loop(server.port, batch, streams))  # what is loaded once is no stream's
        before = server.memory()
        grown = asyncio.run(_held(server, 2 * streams)) - before
    each = grown * 1024 / (2 * streams)
    return [Row("idle", idle, 60, "MiB"), Row("an open stream", each, 32, "KiB")]


def _streams(number: int) -> list[bytes]:
    return [request(each, stream=True) for each in islice(conversations(), number)]


async def _held(server: Server, streams: int) -> float:
    """Return the memory while many streams are open."""
    opened = []
    for data in _streams(streams):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        opened.append((reader, writer))
    for reader, _ in opened:
        await reader.readuntil(b"data: ")
    held = server.memory()
    for _, writer in opened:
        writer.transport.abort()
    return held


def soak_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure how memory grows while observers and sinks fail, after a tenth of the exchanges."""
    bodies, held, exchanges = conversations(), [], extent.soak
    with started("failing", provider) as server:
        for _ in range(READINGS):
            for start in range(0, exchanges // READINGS, BATCH):
                count = min(BATCH, exchanges // READINGS - start)
                batch = [request(each, stream=False) for each in islice(bodies, count)]
                measure(server, batch, CONNECTIONS)
            held.append(server.memory())
    title = f"growth after {exchanges // READINGS:,} of {exchanges:,} exchanges"
    bar = 2.0 if exchanges >= READINGS * WARM else NO_BAR
    return [Row(title, held[-1] - held[0], bar, "MiB", tuple(held))]
