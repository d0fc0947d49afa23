"""One connection: requests go out on it one after the other, and their responses come in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from perimeter.errors import ExchangeError, UpstreamClosed, UpstreamError, UpstreamProtocolError
from perimeter.upstream.h1.chunked import ChunkedBody
from perimeter.upstream.h1.wire import ResponseHead, response_head
from perimeter.upstream.protocol import UpstreamHead


SAFE_REUSE_SECONDS = 1.0
"""A reused connection that closes this soon without a byte was closed by the other's expiry."""

JOINED = 64 * 1024
"""Bodies up to this size are written together with their head, in one packet where it fits."""


class Receiver(Protocol):
    """Who waits for the response of a connection."""

    bodiless: bool
    sent: bool

    def answered(self, head: UpstreamHead) -> None:
        """Take the response's head."""

    def received(self, data: bytes) -> None:
        """Take the next bytes of its body."""

    def ended(self, error: ExchangeError | None) -> None:
        """Take the end of the body, or what has come instead."""


class Owner(Protocol):
    """Whose connections they are."""

    clock: Callable[[], float]

    def give_back(self, connection: Connection) -> None:
        """Take a connection that may be used again."""

    def forget(self, connection: Connection) -> None:
        """Learn that a connection is gone."""


class Connection(asyncio.Protocol):
    """
    A connection to an upstream.

    Attributes:
        opened: When it was made, on the owner's clock.
        freed: When it was last given back.
        gone: Whether it can't be used any more.
    """

    def __init__(self, owner: Owner) -> None:
        self.opened = self.freed = owner.clock()
        self.gone = False
        self._owner = owner
        self._receiver: Receiver | None = None
        self._take: Callable[[bytes], None] = self._take_head
        self._data = b""
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._keep_alive = False
        self._used = False
        self._touched = False
        self._unasked = False
        self._asked = 0.0
        self._room: asyncio.Future[None] | None = None
        self._paused = False

    def begin(self, receiver: Receiver, head: bytes, body: bytes = b"") -> None:
        """Write a request, or the first part of it, and expect its response."""
        self._receiver = receiver
        self._take = self._take_head
        self._touched = False
        self._asked = self._owner.clock()
        if self.gone:
            receiver.ended(self._gone_before())
        elif len(body) <= JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)

    async def write(self, *parts: bytes) -> None:
        """Write more of a request once there is room for it."""
        if self._room is not None:
            await self._room
        if not self.gone:
            self._transport.writelines(parts)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused and not self.gone:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.gone:
            self._paused = False
            self._transport.resume_reading()

    def discard(self) -> None:
        """Break the connection at once."""
        if not self.gone:
            self.gone = True
            self._receiver = self._chunks = None
            self._transport.abort()
            self.resume_writing()
            self._owner.forget(self)

    def fail(self, error: ExchangeError) -> None:
        """Break the connection at once, and give the reason to who waits for its response."""
        receiver = self._receiver
        self.discard()
        if receiver is not None:
            receiver.ended(error)

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the wire."""
        if self._receiver is None:  # nobody has asked for anything
            self._unasked = True
            self.discard()
            return
        self._touched = True
        try:
            self._take(data)
        except UpstreamProtocolError as error:
            self.fail(error)

    def eof_received(self) -> None:
        """Take the end of what comes; a half-closed connection is of no use."""
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        self._lost(exc)

    def pause_writing(self) -> None:
        """Learn that the other side does not take what is written."""
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Learn that there is room again."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # The response, part by part

    def _take_head(self, data: bytes) -> None:
        seen = len(self._data)
        data = self._data + data if seen else data
        found = response_head(data, seen)
        if found is None:
            self._data = data
            return
        self._data = b""
        rest = data[found.size :]
        status = found.head.status
        if 100 <= status < 200 and status != 101:  # the answer itself is still to come
            if rest:
                self._take_head(rest)
            return
        if not 200 <= status <= 599:
            raise UpstreamProtocolError(f"the upstream answered with status {status}")
        self._begin_body(found, rest)

    def _begin_body(self, found: ResponseHead, data: bytes) -> None:
        receiver = cast("Receiver", self._receiver)
        self._keep_alive = found.keep_alive
        receiver.answered(found.head)
        if receiver.bodiless or found.head.status in {204, 304} or found.length == 0:
            self._complete(overrun=bool(data))
            return
        if found.chunked:
            self._chunks = ChunkedBody(receiver.received)
            self._take = self._take_chunks
        elif found.length is not None:
            self._left = found.length
            self._take = self._take_counted
        else:
            self._take = receiver.received
        if data:
            self._take(data)

    def _take_counted(self, data: bytes) -> None:
        receiver, left = cast("Receiver", self._receiver), self._left
        self._left = left - len(data)
        if self._left > 0:
            receiver.received(data)
            return
        receiver.received(data if self._left == 0 else data[:left])
        self._complete(overrun=self._left < 0)

    def _take_chunks(self, data: bytes) -> None:
        chunks = cast("ChunkedBody", self._chunks)
        chunks.feed(data)
        if chunks.complete:
            self._complete(overrun=chunks.overrun)

    # The end of it

    def _complete(self, *, overrun: bool) -> None:
        receiver = cast("Receiver", self._receiver)
        self._chunks = None
        if self._keep_alive and receiver.sent and not overrun and not self.gone:
            self._receiver = None
            self._used = True
            self.resume()
            self._owner.give_back(self)
        else:
            self.discard()
        receiver.ended(None)

    def _lost(self, reason: Exception | None) -> None:
        receiver = self._receiver
        if receiver is None:
            self.discard()
        elif reason is None and self._take == receiver.received:
            self._keep_alive = False
            self._complete(overrun=False)  # it was to end so
        else:
            self.fail(self._closed(reason))

    def _gone_before(self) -> UpstreamError:
        if self._unasked and not self._used:
            return UpstreamProtocolError("the upstream answered before it was asked")
        message = "the upstream closed the connection before the request"
        return UpstreamClosed(message, retry_safe=True)

    def _closed(self, reason: Exception | None) -> UpstreamClosed:
        soon = self._owner.clock() - self._asked < SAFE_REUSE_SECONDS
        when = "in the middle of its response" if self._touched else "without a response"
        why = f": {reason}" if reason is not None and str(reason) else ""
        return UpstreamClosed(
            f"the upstream closed the connection {when}{why}",
            retry_safe=self._used and not self._touched and soon,
        )
