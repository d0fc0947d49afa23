"""
The transport on httpx: for HTTP/2, outgoing proxies and custom transports.

It uses `httpx.AsyncHTTPTransport`, not the client object, because the client normalises paths and
adds headers of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from perimeter.errors import (
    ExchangeError,
    ProxyError,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from perimeter.upstream.arriving import READ_AHEAD, Arriving, wake
from perimeter.upstream.environment import proxy_for
from perimeter.upstream.protocol import Body, UpstreamHead, UpstreamRequest
from perimeter.upstream.tls import context_for


if TYPE_CHECKING:
    from perimeter.settings import UpstreamSettings

SAFE_REUSE_SECONDS = 1.0
"""A reused connection that closes this soon without a byte was closed by the pool's idle expiry."""


class HttpxTransport:
    """A pool of connections to one upstream, by httpx."""

    def __init__(
        self, settings: UpstreamSettings, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """
        Prepare the pool; nothing is opened yet.

        Args:
            settings: The upstream's table.
            transport: Used instead of a pool of our own, for tests and embedding.
        """
        self._url = httpx.URL(settings.base_url)
        port = f":{self._url.port}" if self._url.port else ""
        self._host = self._url.raw_host.decode("ascii")
        if ":" in self._host and not self._host.startswith("["):
            self._host = f"[{self._host}]"
        self._host_header = f"{self._host}{port}".encode("ascii")
        self._timeouts = {
            "connect": settings.connect_timeout,
            "pool": settings.pool_timeout,
            "read": None,  # the data path watches these itself, over every transport alike
            "write": None,
        }
        self._transport = transport or _build(settings, self._url)

    def start(self, request: UpstreamRequest) -> HttpxCall:
        """Begin to send a request."""
        headers = [(b"host", self._host_header), *request.headers, *_body_headers(request)]
        call = HttpxCall(self._transport)
        call.begin(
            httpx.Request(
                request.method,
                self._url,
                headers=headers,
                stream=_Stream(request.body),
                extensions={
                    "target": request.target.encode("latin-1"),
                    "timeout": self._timeouts,
                    "trace": call.trace,
                },
            )
        )
        return call

    @property
    def connections(self) -> int:
        """How many connections are open."""
        pool = getattr(self._transport, "_pool", None)
        return len(pool.connections) if pool is not None else 0

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


class HttpxCall(Arriving):
    """
    One request on its way, driven by a task of its own.

    The task makes `abort` possible at any moment: cancelling it makes httpcore close the
    connection, while the request's own task is only told so. It is cancelled by a scope of anyio's,
    because httpcore shields its own cleaning up from those, and not from `Task.cancel`.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Future[None] | None = None
        self._connected_anew = False
        self._task: asyncio.Task[None] | None = None
        self._scope = anyio.CancelScope()

    def begin(self, request: httpx.Request) -> None:
        """Start the task that carries the request."""
        self._task = self._loop.create_task(self._drive(request), name="perimeter-upstream")

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Learn from httpcore whether the connection was made for this request."""
        if event == "connection.connect_tcp.started":
            self._connected_anew = True

    def abort(self, error: ExchangeError) -> None:
        """Break the connection at once."""
        if self._done:
            return
        self._finish(error)
        self._chunks.clear()
        self._scope.cancel()

    async def close(self) -> None:
        """Let go of the connection and wait until that is done."""
        if self._task is None:
            return
        if not self._done:
            self.abort(UpstreamClosed("closed by the proxy"))
        await asyncio.wait([self._task])

    async def _drive(self, request: httpx.Request) -> None:
        started = time.monotonic()
        try:
            with self._scope:
                await self._exchange(request)
            self._finish(None)
        except asyncio.CancelledError:  # the event loop itself is ending
            self._finish(UpstreamClosed("closed by the proxy"))
            raise
        except ExchangeError as error:  # from the client's side of a streamed upload
            self._finish(error)
        except Exception as error:  # every error of the client library becomes one of ours
            quick = time.monotonic() - started < SAFE_REUSE_SECONDS
            unanswered = self._head is None and quick and not self._connected_anew
            self._finish(translate(error, retry_safe=unanswered))

    async def _exchange(self, request: httpx.Request) -> None:
        response = await self._transport.handle_async_request(request)
        try:
            self.answered(_head_of(response))
            await self._receive(response)
        finally:
            await response.aclose()

    async def _receive(self, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - for the types
        async for data in response.stream:
            if not data:
                continue
            self.received(data)
            while self._held >= READ_AHEAD:
                self._writer = self._loop.create_future()
                await self._writer

    def _go_on(self) -> None:
        wake(self._writer)


class _Stream(httpx.AsyncByteStream):
    """A request body for httpx that adds nothing of its own."""

    def __init__(self, body: Body) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self._body, bytes):
            async for data in self._body:
                yield data
        elif self._body:
            yield self._body


def translate(error: Exception, *, retry_safe: bool = False) -> ExchangeError:
    """
    Turn an error of httpx into one of ours.

    Args:
        error: What httpx raised.
        retry_safe: Whether a closed connection was a reused one that closed at once.
    """
    text = str(error) or type(error).__name__
    closed = isinstance(error, httpx.NetworkError) or _is_close(error, text)
    if closed and not isinstance(error, httpx.ConnectError):
        return UpstreamClosed(text, retry_safe=retry_safe)
    for kind, build in _TRANSLATIONS:
        if isinstance(error, kind):
            return build(text)
    return ProxyError(f"{type(error).__name__}: {text}")


_TRANSLATIONS: tuple[tuple[type[Exception], Callable[[str], ExchangeError]], ...] = (
    (httpx.PoolTimeout, lambda _: UpstreamTimeout("no connection was free", phase="pool")),
    (httpx.ConnectTimeout, lambda _: UpstreamTimeout("connecting took too long", phase="connect")),
    (httpx.ConnectError, UpstreamConnectError),
    (httpx.ProxyError, UpstreamConnectError),
    (httpx.UnsupportedProtocol, UpstreamConnectError),
    (httpx.RemoteProtocolError, UpstreamProtocolError),
    (httpx.DecodingError, UpstreamProtocolError),
    (httpx.TransportError, UpstreamError),
)


def _is_close(error: Exception, text: str) -> bool:
    """Tell a closed connection from nonsense; httpx has one class for both."""
    signs = ("disconnected", "peer closed", "ConnectionTerminated")
    return isinstance(error, httpx.RemoteProtocolError) and any(sign in text for sign in signs)


def _head_of(response: httpx.Response) -> UpstreamHead:
    if not 200 <= response.status_code <= 599:
        message = f"the upstream answered with status {response.status_code}"
        raise UpstreamProtocolError(message)
    headers = tuple((name.lower(), value) for name, value in response.headers.raw)
    return UpstreamHead(response.status_code, headers)


def _body_headers(request: UpstreamRequest) -> list[tuple[bytes, bytes]]:
    if not isinstance(request.body, bytes):
        if request.length is None:
            return [(b"transfer-encoding", b"chunked")]
        return [(b"content-length", b"%d" % request.length)]
    if request.body or request.method in {"POST", "PUT", "PATCH"}:
        return [(b"content-length", b"%d" % len(request.body))]
    return []


def _build(settings: UpstreamSettings, url: httpx.URL) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(
        max_connections=settings.max_connections,
        max_keepalive_connections=settings.max_connections,
        keepalive_expiry=settings.keepalive_expiry,
    )
    return httpx.AsyncHTTPTransport(
        verify=context_for(settings),
        http2=settings.http2,
        limits=limits,
        proxy=proxy_for(url.scheme, url.host),
    )
