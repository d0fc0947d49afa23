"""
Measure what a client feels: added latency, and how soon its departure reaches the provider.

    python tests/bench/latency.py [--requests 500] [--departures 50]

A small provider on loopback answers at once; requests go to it directly and through the proxy, with
its real transport, in turn, over one connection each. Departures are timed from the client's
reset to the moment the provider sees its own connection end, before and after the response's head.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from load import at, closed_loop, request
from rich.console import Console
from rich.table import Table

from perimeter import application as applications
from perimeter import supervisor
from perimeter.server import bind
from perimeter.settings import ServerSettings, Settings, UpstreamSettings


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: 1\n\n\r\n"
ASKED = request([{"role": "user", "content": "x" * 900}], stream=False)


class Provider:
    """Answers at once, or streams without end and notes when its client is gone."""

    def __init__(self) -> None:
        self.streams = False
        self.starts = False
        self.asked = asyncio.Event()
        self.gone_at = 0.0
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            if not self.streams:
                writer.write(ANSWER)
                continue
            if self.starts:
                writer.write(HEAD + EVENT)
            self.asked.set()
            await reader.read()
            self.gone_at = time.perf_counter()
            self.gone.set()
            break
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[int]:
    """Run a proxy in front of a port, and yield its own."""
    settings = Settings(
        server=ServerSettings(port=0),
        upstreams={"default": UpstreamSettings(type="openai", base_url=f"http://127.0.0.1:{port}")},
    )
    listener = bind("127.0.0.1", 0)
    begun = asyncio.get_running_loop().create_future()
    serving = asyncio.get_running_loop().create_task(
        supervisor.serve(applications.build(settings), listener, started=begun.set_result)
    )
    server = await begun
    yield listener.getsockname()[1]
    server.stop()
    await serving


async def departures(provider: Provider, port: int, number: int, *, starts: bool) -> list[float]:
    """Return the milliseconds from a client's reset to the provider's notice."""
    provider.streams, provider.starts = True, starts
    times = []
    for _ in range(number):
        provider.asked.clear()
        provider.gone.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASKED)
        await provider.asked.wait()
        if starts:
            await reader.readuntil(b"data: 1")
        left = time.perf_counter()
        writer.transport.abort()
        await provider.gone.wait()
        times.append((provider.gone_at - left) * 1000)
    return times


def row(title: str, times: list[float]) -> tuple[str, ...]:
    """Return a table row: median, 99th percentile and largest."""
    return (title, *(f"{value:.2f}" for value in (at(times, 50), at(times, 99), max(times))))


async def measure(number: int, leaving: int) -> None:
    """Measure everything, and print a table."""
    provider = Provider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    direct_port = server.sockets[0].getsockname()[1]
    table = Table("milliseconds", "p50", "p99", "max")
    async with proxied(direct_port) as port:
        await closed_loop(port, [ASKED] * 20, 1)
        direct = await closed_loop(direct_port, [ASKED] * number, 1)
        table.add_row(*row("round trip, direct", direct))
        table.add_row(*row("round trip, proxied", await closed_loop(port, [ASKED] * number, 1)))
        before = await departures(provider, port, leaving, starts=False)
        table.add_row(*row("departure before the head", before))
        inside = await departures(provider, port, leaving, starts=True)
        table.add_row(*row("departure inside a stream", inside))
    server.close()
    Console().print(table)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--departures", type=int, default=50)
    options = parser.parse_args()
    asyncio.run(measure(options.requests, options.departures))


if __name__ == "__main__":
    main()
