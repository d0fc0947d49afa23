"""
uvicorn's HTTP/1.1 protocol with what it lacks.

It has no limit on headers and no time limit on their arrival, takes trailers for headers, loses the
body of a request that offers an upgrade, and tells of a departed client only when asked.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from perimeter.gateway.client import EXTENSION


if TYPE_CHECKING:
    from perimeter.settings import ServerSettings

DISCARD_LIMIT = 256 * 1024 * 1024
"""Bytes of a refused request's body that are read and thrown away before the connection is cut."""

BODY_FIELDS = frozenset({b"content-length", b"transfer-encoding"})

LAST = b"content-length: 0\r\nconnection: close\r\n\r\n"
ANSWER_431 = b"HTTP/1.1 431 Request Header Fields Too Large\r\n" + LAST
ANSWER_408 = b"HTTP/1.1 408 Request Timeout\r\n" + LAST
ANSWER_400 = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 30\r\nconnection: close\r\n\r\nInvalid HTTP request received."
)


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

    def unstarted(self) -> None:
        """Forget a head that could not be sent; uvicorn takes it for sent before it looks at it."""
        if self.cycle is not None:
            self.cycle.response_started = False
            self.cycle.chunked_encoding = None
            self.cycle.expected_content_length = 0

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

    def drop(self) -> None:
        """Break the connection at once, whatever the client has not taken yet."""
        self._transport.abort()

    def lost(self) -> None:
        """Note that the connection is gone."""
        if self.cycle is None or self.cycle.response_complete:
            self.cycle = None
            return
        self._lost = True
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        if self._callback is not None:
            self._callback()


class HttpProtocol(HttpToolsProtocol):
    """One client connection."""

    limits: ServerSettings

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._size = 0
        self._silent = 0
        self._in_head = True
        self._refused = False
        self._resuming = False
        self._fed = self._rest = b""
        self._head_timer: asyncio.TimerHandle | None = None
        self._requests: deque[RequestConnection] = deque()

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
        """Parse what came, and wait no longer than allowed for what must follow."""
        while data and not self._refused:
            self._fed, self._rest = data, b""
            self._silent += len(data)
            super().data_received(data)
            data = self._rest
        self._fed = b""
        if self._silent > self.limits.max_header_size:
            self._refuse(ANSWER_431)  # one field, or the padding of a chunk, without an end
        if self._in_head and self._head_timer is None:
            self._await_head()
        elif not self._in_head and self._is_idle():
            self._await_request()

    def on_message_begin(self) -> None:
        """Begin to count a head's size."""
        if self._resuming:
            return
        super().on_message_begin()
        self._size = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request target."""
        if not self._resuming:
            self._count(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field; trailers count alike, and are dropped."""
        if self._resuming:
            return
        self._count(len(name) + len(value) + 4)
        if not self._in_head:
            return
        super().on_header(name, value)
        if len(self.headers) > self.limits.max_headers:
            self._refuse(ANSWER_431)

    def on_headers_complete(self) -> None:
        """Hand the request over, unless its head was refused."""
        if self._resuming:
            return
        self._stop_head_timer()
        if self._refused:
            return
        request = RequestConnection(self.transport)
        self.scope["extensions"] = cast("dict[str, dict[object, object]]", {EXTENSION: request})
        super().on_headers_complete()
        self._in_head = False
        request.cycle = self.cycle
        while self._requests and not _unanswered(self._requests[0]):
            # Its scope leads back to it: let go, or each request waits for the garbage collector.
            self._requests.popleft().cycle = None
        self._requests.append(request)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; of a refused request's body only so much is discarded."""
        self._silent = 0
        if self._refused:
            return
        super().on_body(body)
        if self.cycle.response_complete:
            self._size += len(body)
            if self._size > DISCARD_LIMIT:
                self.transport.abort()

    def on_message_complete(self) -> None:
        """Note the end of a request; where an upgrade is offered, the parser has seen no body."""
        if not self._refused and not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse malformed input."""
        if self._is_busy() and not self._in_head:
            self._requests[-1].bad_request = True
        self._refuse(ANSWER_400)

    def _unsupported_upgrade_warning(self) -> None:
        """
        Go on as if no upgrade had been offered (RFC 9110 §7.8).

        The parser has stopped after the head, taking what follows for another protocol. A new one
        reads on, once a head of the same framing has brought it to the place.
        """
        stopped = sys.exc_info()[1]
        assert isinstance(stopped, httptools.HttpParserUpgrade)  # noqa: S101 - who calls this
        self._rest = self._fed[stopped.args[0] :]
        self._silent = 0
        fields = [b"%s: %s\r\n" % field for field in self.headers if field[0] in BODY_FIELDS]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._resuming = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(fields) + b"\r\n")
        self._resuming = False

    def _count(self, size: int) -> None:
        self._silent = 0
        self._size += size
        if self._size > self.limits.max_header_size:
            self._refuse(ANSWER_431)

    def _is_busy(self) -> bool:
        return bool(self._requests) and _unanswered(self._requests[-1])

    def _is_idle(self) -> bool:
        return not self._is_busy() and self.timeout_keep_alive_task is None

    def _await_request(self) -> None:
        """Close the connection after a while: uvicorn stops its timer at any byte that comes."""
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.limits.header_timeout, self._too_slow)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(ANSWER_408)

    def _refuse(self, answer: bytes) -> None:
        """Take nothing more from this connection, and end it without disturbing an answer."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self._is_busy() and self._in_head:
            self.cycle.keep_alive = False  # earlier requests are answered first
            return
        if not any(map(_unanswered, list(self._requests)[:-1])) and not self._is_answering():
            self.transport.write(answer)
        self.transport.close()

    def _is_answering(self) -> bool:
        return self._is_busy() and self.cycle.response_started


def _unanswered(request: RequestConnection) -> bool:
    return request.cycle is not None and not request.cycle.response_complete
