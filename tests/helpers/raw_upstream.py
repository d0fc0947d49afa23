"""An upstream on a raw socket, which sends whatever a test wants, and transports to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs

from perimeter.errors import ExchangeError
from perimeter.settings import UpstreamSettings
from perimeter.upstream import Transport, UpstreamCall, UpstreamRequest
from perimeter.upstream.httpx_transport import HttpxTransport


GET = UpstreamRequest("GET", "/", ())
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TRANSPORTS = ("httpx", "h1")


@attrs.frozen
class Asked:
    """A request as it came."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    raw: bytes

    @property
    def target(self) -> str:
        """What the request line asks for."""
        return self.line.split(b" ")[1].decode("latin-1")

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> Asked:
        """Read one whole request."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = raw[:-4].split(b"\r\n")
        headers = tuple((name, value) for name, _, value in (f.partition(b": ") for f in fields))
        asked = Asked(line, headers, b"", raw)
        if asked.values(b"transfer-encoding"):
            return attrs.evolve(asked, body=await self._chunks())
        if length := asked.values(b"content-length"):
            return attrs.evolve(asked, body=await self.reader.readexactly(int(length[0])))
        return asked

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def send(self, *pieces: bytes) -> None:
        """Send each piece by itself, and give the other side the time to take it."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await turns()

    async def answer(self, *pieces: bytes) -> Asked:
        """Read a request and send these bytes."""
        asked = await self.request()
        await self.send(*pieces)
        return asked

    async def gone(self) -> bytes:
        """Wait until the other side has closed the connection, and return what it still sent."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                rest += data
        return rest

    def reset(self) -> None:
        """Break the connection without a word."""
        # asyncio's transport fails so where what was left to write has gone out after `close`.
        with contextlib.suppress(AttributeError):
            self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[object]]


class RawUpstream:
    """A server that gives each connection to a handler, and closes it after that."""

    def __init__(self, handler: Handler) -> None:
        self.port = 0
        self.peers: list[Peer] = []
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Start a task for a new connection."""
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        task = asyncio.get_running_loop().create_task(self._serve(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, peer: Peer) -> None:
        try:
            await self._handler(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the transport under test left
        except Exception as error:
            self._errors.append(error)
        finally:
            peer.writer.close()

    async def close(self) -> None:
        """End what still runs; a handler's own error fails the test."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in self.peers:
            peer.reset()
            with contextlib.suppress(Exception):
                await peer.writer.wait_closed()
        if self._errors:
            raise self._errors[0]


@contextlib.asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[RawUpstream]:
    """Run a raw server on loopback."""
    upstream = RawUpstream(handler)
    server = await asyncio.start_server(upstream.accept, "127.0.0.1", 0, **options)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await upstream.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def transport_to(
    kind: str,
    port: int,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    clock: Callable[[], float] | None = None,
    **options: Any,
) -> AsyncIterator[Transport]:
    """Yield a transport to a port on loopback."""
    table = UpstreamSettings(type="raw", base_url=f"{scheme}://{host}:{port}", **options)
    transport = build(kind, table, clock)
    try:
        yield transport
    finally:
        await transport.close()


def build(
    kind: str, table: UpstreamSettings, clock: Callable[[], float] | None = None
) -> Transport:
    """Make a transport of one kind."""
    if kind == "httpx":
        return HttpxTransport(table)
    from perimeter.upstream.h1 import H1Transport

    return H1Transport(table, clock=clock or time.monotonic)


@attrs.frozen
class Result:
    """What a call brought: a head and a body, or as much of them as came before an error."""

    status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    error: ExchangeError | None = None

    @property
    def kind(self) -> type[ExchangeError] | None:
        """The error's class."""
        return type(self.error) if self.error else None


async def ask(transport: Transport, request: UpstreamRequest = GET) -> Result:
    """Send a request, take its whole answer and let go of the connection."""
    return await take(transport.start(request))


async def take(call: UpstreamCall) -> Result:
    """Read a call to its end or its error, and close it."""
    result = Result()
    try:
        head = await call.head()
        result = Result(head.status, tuple(head.headers))
        while data := await call.read():
            result = attrs.evolve(result, body=result.body + data)
    except ExchangeError as error:
        return attrs.evolve(result, error=error)
    finally:
        await call.close()
    return result


async def turns(count: int = 4) -> None:
    """Let the event loop go round, so that what has arrived on loopback is seen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a state that nobody announces."""
    while not condition():
        await asyncio.sleep(0.001)
