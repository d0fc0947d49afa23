"""The client's side of one exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from perimeter.errors import ClientDisconnected, ExchangeError, RequestRejected
from perimeter.gateway.headers import content_length


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

EXTENSION = "perimeter.connection"
"""Name of the ASGI extension by which our own server offers a `Connection`."""


class Connection(Protocol):
    """What our own server can do beyond ASGI, for the request that it carries."""

    bad_request: bool
    """Whether the server itself has refused the rest of the request as malformed."""

    def on_lost(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at once when the client leaves before its response is complete."""

    def unstarted(self) -> None:
        """The response's head could not be sent; another one may follow."""

    def bodiless(self) -> None:
        """The response's head announces a body that HTTP forbids to send (304 with a length)."""

    def unframed(self) -> None:
        """The response ends with the connection: an HTTP/1.0 client knows no chunks."""

    def last(self, size: int) -> None:
        """An unframed response ends after so many more bytes."""

    def cut(self) -> None:
        """Break the connection, so that the client sees that the response is not complete."""

    def drop(self) -> None:
        """Break the connection at once, whatever the client has not taken yet."""


class Client:
    """
    Sends to the client, and tells when it leaves.

    With our own server a departure costs nothing to watch. Elsewhere a task waits for the
    disconnect message.
    """

    __slots__ = (
        "_connection",
        "_old",
        "_receive",
        "_unframed",
        "_watcher",
        "finished",
        "head_sent",
        "send",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.send = send
        self.head_sent = False
        self.finished = False
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        extensions = scope.get("extensions")
        self._connection: Connection | None = extensions and extensions.get(EXTENSION)
        self._unframed: Connection | None = None
        self._old = scope.get("http_version") == "1.0"

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once if the client leaves. The request's body must have been read."""
        if self._connection is not None:
            self._connection.on_lost(on_gone)
        elif self._watcher is None:
            loop = asyncio.get_running_loop()
            self._watcher = loop.create_task(self._wait(on_gone), name="perimeter-client")

    def cause_of(self, error: ExchangeError) -> ExchangeError:
        """Tell a departure from the end of a connection whose request the server has refused."""
        refused = self._connection is not None and self._connection.bad_request
        if refused and isinstance(error, ClientDisconnected):
            return RequestRejected(400, "bad_request", "the body is malformed")
        return error

    async def head(
        self, status: int, headers: Sequence[tuple[bytes, bytes]], *, bodiless: bool = False
    ) -> None:
        """
        Send the response's head.

        Raises:
            Exception: The server takes it for no valid head; another one can be sent.
        """
        if self._old and self._connection is not None and content_length(headers) is None:
            self._unframed = self._connection
            self._unframed.unframed()
        try:
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
        except Exception:
            self._unframed = None
            if self._connection is not None:
                self._connection.unstarted()
            raise
        self.head_sent = True
        if bodiless and self._connection is not None:
            self._connection.bodiless()

    async def finish(self, data: bytes = b"") -> None:
        """Send the last of the body."""
        self.finished = True
        if self._unframed is not None:
            self._unframed.last(len(data))
        await self.send({"type": "http.response.body", "body": data, "more_body": False})

    def cut(self) -> None:
        """Leave the response visibly incomplete."""
        if self._connection is not None and not self.finished:
            self._connection.cut()
        # Elsewhere, returning without the final body has the same effect.

    def drop(self) -> None:
        """Leave a client that takes nothing any more; what it has not taken yet is lost."""
        if self._connection is not None:
            self._connection.drop()

    def release(self) -> None:
        """Stop watching."""
        if self._connection is not None:
            self._connection.on_lost(None)
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    async def _wait(self, on_gone: Callable[[], None]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            on_gone()
