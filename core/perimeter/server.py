"""Our own start-up of uvicorn: stricter limits, a watch on departures, and a drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from perimeter.errors import ShuttingDown
from perimeter.gateway.client import EXTENSION


if TYPE_CHECKING:
    from perimeter.application import Application
    from perimeter.settings import ServerSettings

log = logging.getLogger("perimeter.server")

DISCARD_LIMIT = 256 * 1024 * 1024
"""Bytes of a refused request's body that are read and thrown away before the connection is cut."""

FORCE_SECONDS = 1.0
"""What clients get after the shutdown deadline to take the last bytes."""

STATUS_431 = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
STATUS_408 = b"HTTP/1.1 408 Request Timeout\r\n"


class RequestConnection:
    """The connection as one request sees it (see `gateway.client.Connection`)."""

    __slots__ = ("_callback", "_lost", "_transport", "bad_request", "cycle")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.bad_request = False
        self.cycle: RequestResponseCycle | None = None
        self._transport = transport
        self._callback: Callable[[], None] | None = None
        self._lost = False

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the client leaves before its response is complete."""
        self._callback = callback
        if self._lost and callback is not None:
            callback()

    def bodiless(self) -> None:
        """Do not insist on the announced length: HTTP forbids this response a body."""
        if self.cycle is not None:
            self.cycle.expected_content_length = 0

    def unframed(self) -> None:
        """End the response with the connection, for which uvicorn has no way of its own."""
        if self.cycle is not None:
            self.cycle.chunked_encoding = False
            self.cycle.expected_content_length = sys.maxsize

    def last(self, size: int) -> None:
        """Let an unframed response end after so many more bytes."""
        if self.cycle is not None:
            self.cycle.expected_content_length = size

    def cut(self) -> None:
        """Break the connection, once what was written has gone out."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        self._transport.close()

    def lost(self) -> None:
        """Note that the connection is gone."""
        if self.cycle is None or self.cycle.response_complete:
            return
        self._lost = True
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self._callback is not None:
            self._callback()


class HttpProtocol(HttpToolsProtocol):
    """
    uvicorn's HTTP/1.1 protocol with limits that it lacks.

    It has no limit on headers and no time limit on their arrival, and tells an application of a
    departed client only when asked.
    """

    limits: ServerSettings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._size = 0
        self._in_head = True
        self._refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._requests: list[RequestConnection] = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Accept a connection; its first request must come within the time limit."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection that is not answered yet."""
        super().connection_lost(exc)
        self._stop_head_timer()
        for request in self._requests:
            request.lost()

    def data_received(self, data: bytes) -> None:
        """Parse what came, and wait no longer than allowed for the rest of a head."""
        if self._refused:
            return
        super().data_received(data)
        if self._in_head and self._head_timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin to count a head's size."""
        super().on_message_begin()
        self._size = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field (or a trailer, which counts alike)."""
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)
        if len(self.headers) > self.limits.max_headers:
            self._refuse(STATUS_431)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head was refused."""
        self._in_head = False
        self._stop_head_timer()
        if self._refused:
            return
        request = RequestConnection(self.transport)
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", {EXTENSION: request})
        super().on_headers_complete()
        request.cycle = self.cycle
        waiting = [each for each in self._requests if _unanswered(each)]
        self._requests = [*waiting, request]

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; of a refused request's body only so much is discarded."""
        if self._refused:
            return
        super().on_body(body)
        if self.cycle.response_complete:
            self._size += len(body)
            if self._size > DISCARD_LIMIT:
                self.transport.abort()

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        if not self._refused:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed input, and cut a response that has already begun."""
        for request in self._requests:
            request.bad_request = True
        if self._requests and self.cycle.response_started:
            self.transport.close()
        elif not self.transport.is_closing():
            super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: the data path answers upgrades itself."""

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self.limits.max_header_size:
            self._refuse(STATUS_431)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.header_timeout, self._too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(STATUS_408)

    def _refuse(self, status_line: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self.transport.write(status_line + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class Server(uvicorn.Server):
    """Serves one application until it is told to stop, then drains."""

    def __init__(self, application: Application) -> None:
        settings = application.settings.server
        protocol = type("LimitedHttpProtocol", (HttpProtocol,), {"limits": settings})
        config = uvicorn.Config(
            cast("Any", application.asgi),
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=max(1, round(settings.keep_alive)),
        )
        super().__init__(config)
        self._application = application
        self._drainer: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals ourselves: the first one drains, the second one hurries."""
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        except (NotImplementedError, ValueError, RuntimeError):
            # Windows, or not the main thread: uvicorn's own way.
            with super().capture_signals():
                yield
            return
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin to drain; called again, give up what is in flight at once."""
        if self._drainer is None:
            loop = asyncio.get_running_loop()
            self._drainer = loop.create_task(self._drain(), name="perimeter-drain")
        else:
            self._application.gateway.interrupt_all(ShuttingDown("the proxy was told to hurry"))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting; what still comes over open connections is answered 503."""
        self._application.gateway.closed = True
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        settings = self._application.settings.server
        gateway = self._application.gateway
        self._application.draining = True
        log.info("draining: %d exchanges in flight", gateway.in_flight)
        await asyncio.sleep(settings.drain_delay)
        self.should_exit = True  # uvicorn stops accepting and waits for what is in flight
        if await _within(settings.shutdown_timeout, gateway.wait_idle()):
            return
        log.warning("cutting %d exchanges: the shutdown deadline passed", gateway.in_flight)
        gateway.interrupt_all(ShuttingDown("the proxy is shutting down"))
        await _within(FORCE_SECONDS, gateway.wait_idle())
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


async def _within(seconds: float, waiting: Any) -> bool:
    """Wait for something, and tell whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


def _unanswered(request: RequestConnection) -> bool:
    return request.cycle is not None and not request.cycle.response_complete


def bind(host: str, port: int) -> socket.socket:
    """
    Open the listening socket.

    Raises:
        OSError: The address can't be had, for instance because it is in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_REUSEADDR"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
