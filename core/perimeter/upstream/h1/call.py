"""One request on its way over our own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from perimeter.errors import ExchangeError, ProxyError, UpstreamClosed
from perimeter.upstream.arriving import READ_AHEAD, Arriving
from perimeter.upstream.h1.connection import Connection
from perimeter.upstream.protocol import UpstreamRequest


class H1Call(Arriving):
    """
    A request on its way.

    On an open connection it is written at once. Only one that needs a new connection, or has a body
    that comes piece by piece, has a task of its own.

    Attributes:
        bodiless: Whether its response has no body, whatever the head says.
        sent: Whether all of the request is written.
    """

    def __init__(self, request: UpstreamRequest) -> None:
        super().__init__()
        self.bodiless = request.method == "HEAD"
        self.sent = False
        self._request = request
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, connection: Connection, head: bytes) -> None:
        """Write the request on a connection, or as much of it as there is."""
        self._connection = connection
        body = self._request.body
        if isinstance(body, bytes):
            self.sent = True
            connection.begin(self, head, body)
        else:
            connection.begin(self, head)

    def drive(
        self, head: bytes, obtain: Callable[[bool], Awaitable[Connection]]
    ) -> asyncio.Task[None]:
        """Start the task that gets a connection and writes the request on it."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._drive(head, obtain), name="perimeter-upstream")
        return self._task

    # What the data path calls

    def abort(self, error: ExchangeError) -> None:
        """Break the connection at once."""
        if self._done:
            return
        connection = self._connection
        self._chunks.clear()
        self.ended(error)
        if connection is not None:
            connection.discard()

    async def close(self) -> None:
        """Let go of the connection, and wait until that is done."""
        if not self._done:
            self.abort(UpstreamClosed("closed by the proxy"))
        if self._task is not None:
            await asyncio.wait([self._task])

    # What the connection calls

    def received(self, data: bytes) -> None:
        """Take the next bytes of its body."""
        super().received(data)
        if self._held >= READ_AHEAD and self._connection is not None:
            self._connection.pause()

    def ended(self, error: ExchangeError | None) -> None:
        """Take the end of the body, or what has come instead."""
        if self._done:
            return
        self._connection = None  # it may be another call's already
        task = self._task
        if task is not None and not self.sent and task is not asyncio.current_task():
            task.cancel()
        self._finish(error)

    def _go_on(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # How it is sent

    async def _drive(self, head: bytes, obtain: Callable[[bool], Awaitable[Connection]]) -> None:
        try:
            connection = await obtain(self._request.fresh)
            self.begin(connection, head)
            body = self._request.body
            if not isinstance(body, bytes):
                await self._upload(connection, body)
        except asyncio.CancelledError:
            self.abort(UpstreamClosed("closed by the proxy"))
            raise
        except ExchangeError as error:  # no connection, or the client's side of an upload
            self.abort(error)
        except Exception as error:  # noqa: BLE001 - of a body's source
            self.abort(ProxyError(f"{type(error).__name__}: {error}"))

    async def _upload(self, connection: Connection, body: AsyncIterator[bytes]) -> None:
        left = self._request.length
        async for data in body:
            if not data:
                continue
            if left is None:
                await connection.write(b"%x\r\n" % len(data), data, b"\r\n")
                continue
            left -= len(data)
            if left < 0:
                break
            await connection.write(data)
        if left:
            raise ProxyError("the request's body has not the length that was announced")
        if left is None:
            await connection.write(b"0\r\n\r\n")
        self.sent = True
