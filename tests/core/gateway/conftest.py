"""Real sockets on both sides of the data path: a raw upstream, a running proxy, a raw client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest

from perimeter import application as applications
from perimeter import hookimpl, supervisor
from perimeter.options import option
from perimeter.server import Server, bind
from perimeter.settings import RecordingSettings, ServerSettings, Settings, UpstreamSettings


Handler = Callable[["RawRequest", asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@attrs.define
class RawRequest:
    """A request as an upstream got it, byte for byte."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes
    reader: asyncio.StreamReader

    def header(self, name: str) -> list[str]:
        """Return all values of a header."""
        return [value for key, value in self.headers if key.lower() == name]


class RawUpstream:
    """A provider made of a socket and a handler that writes whatever bytes it likes."""

    def __init__(self) -> None:
        self.handler: Handler = answer(OK)
        self.requests: list[RawRequest] = []
        self.connections = 0
        self.closed = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take requests from one connection until the handler or the peer closes it."""
        self.connections += 1
        try:
            while not writer.is_closing():
                request = await read_request(reader)
                if request is None:
                    break
                self.requests.append(request)
                await self.handler(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            writer.close()


async def read_request(reader: asyncio.StreamReader) -> RawRequest | None:
    """Read one request, or None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    line, *fields = head[:-4].split("\r\n")
    headers = [
        (name, value.strip()) for name, _, value in (field.partition(":") for field in fields)
    ]
    request = RawRequest(line, headers, b"", reader)
    if request.header("transfer-encoding"):
        request.body = await _read_chunked(reader)
    elif length := request.header("content-length"):
        request.body = await reader.readexactly(int(length[0]))
    return request


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def answer(*parts: bytes) -> Handler:
    """Return a handler that writes these bytes and keeps the connection."""

    async def handler(_: RawRequest, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


def answer_and_close(*parts: bytes, reset: bool = False) -> Handler:
    """Return a handler that writes these bytes and closes (or resets) the connection."""

    async def handler(request: RawRequest, writer: asyncio.StreamWriter) -> None:
        await answer(*parts)(request, writer)
        if reset:
            writer.transport.abort()
        else:
            writer.close()

    return handler


def answer_and_wait(*parts: bytes) -> Handler:
    """Return a handler that writes these bytes and then says nothing until the peer leaves."""

    async def handler(request: RawRequest, writer: asyncio.StreamWriter) -> None:
        await answer(*parts)(request, writer)
        await request.reader.read()
        writer.close()

    return handler


def chunked(*parts: bytes, content_type: bytes = b"text/event-stream", end: bool = True) -> bytes:
    """Return a chunked response with one chunk for each part."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: " + content_type + b"\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"transfer-encoding: chunked\r\n\r\n" + body + (b"0\r\n\r\n" if end else b"")


@attrs.define(eq=False)
class HookLog:
    """A plugin that implements every observer and writes down what it sees."""

    @attrs.frozen
    class Config:
        """Nothing to configure."""

        note: str = option("", help="Unused.")

    config: Any
    context: Any
    calls: list[tuple[str, Any]] = attrs.field(factory=list)
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)

    @hookimpl
    def on_request(self, exchange: Any) -> None:
        self.calls.append(("on_request", exchange))

    @hookimpl
    def on_response_start(self, exchange: Any) -> None:
        self.calls.append(("on_response_start", exchange))

    @hookimpl
    def on_chunk(self, exchange: Any, chunk: Any) -> None:
        self.calls.append(("on_chunk", chunk))

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        self.calls.append(("on_response", exchange))
        self.ended.set()

    @hookimpl
    def on_error(self, exchange: Any, error: Exception) -> None:
        self.calls.append(("on_error", exchange))
        self.ended.set()

    @hookimpl
    def on_verdict(self, exchange: Any, plugin: str, verdict: Any) -> None:
        self.calls.append(("on_verdict", (plugin, verdict)))

    @property
    def names(self) -> list[str]:
        """The hooks called so far, in order."""
        return [name for name, _ in self.calls]

    @property
    def endings(self) -> list[Any]:
        """The exchanges that have ended."""
        return [value for name, value in self.calls if name in {"on_response", "on_error"}]


@attrs.define(eq=False)
class Proxy:
    """A proxy that runs on loopback in the test's own event loop."""

    application: applications.Application
    server: Server
    host: str
    port: int
    log: HookLog

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"

    async def request(self, data: bytes) -> bytes:
        """Send raw bytes and return all that comes back until the proxy closes."""
        reader, writer = await self.connect()
        writer.write(data)
        answered = await reader.read()
        writer.close()
        return answered

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a raw connection to it."""
        return await asyncio.open_connection(self.host, self.port)


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    """A raw upstream on loopback."""
    raw = RawUpstream()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await raw.serve(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    raw.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield raw
    server.close()
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await server.wait_closed()


Start = Callable[..., Awaitable[Proxy]]


@pytest.fixture
async def start(upstream: RawUpstream) -> AsyncIterator[Start]:
    """Start proxies in front of the raw upstream; all are drained at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *plugins: type,
            server: dict[str, Any] | None = None,
            upstreams: dict[str, UpstreamSettings] | None = None,
            recording: RecordingSettings | None = None,
            **options: Any,
        ) -> Proxy:
            table = UpstreamSettings(**{"type": "openai", "base_url": upstream.url, **options})
            classes = {plugin.__name__.lower(): plugin for plugin in (*plugins, HookLog)}
            settings = Settings(
                server=ServerSettings(**{"port": 0, "shutdown_timeout": 0.5, **(server or {})}),
                recording=recording or RecordingSettings(),
                upstreams=upstreams or {"default": table},
                plugins={name: {} for name in classes},
            )
            return await stack.enter_async_context(running(settings, classes))

        yield start


@contextlib.asynccontextmanager
async def running(settings: Settings, classes: dict[str, type]) -> AsyncIterator[Proxy]:
    """Run a proxy, and drain it in the end."""
    application = applications.build(settings, plugins=classes)
    listener = bind(settings.server.host, 0)
    loop = asyncio.get_running_loop()
    begun: asyncio.Future[Server] = loop.create_future()
    task = loop.create_task(supervisor.serve(application, listener, started=begun.set_result))
    await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    log = application.registry.plugins["hooklog"].instance
    port = listener.getsockname()[1]
    proxy = Proxy(application, begun.result(), "127.0.0.1", port, log)
    try:
        yield proxy
    finally:
        proxy.server.stop()
        await task
