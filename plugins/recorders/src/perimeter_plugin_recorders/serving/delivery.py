"""Sends a recorded response, as it came or faster, with the faults that were asked for."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import attrs

from perimeter.dialects import Dialect
from perimeter.framing import cutter
from perimeter.simulator import Faults
from perimeter_plugin_recorders.recordings import Recording


Send = Callable[[dict[str, Any]], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]

_DROPPED = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "x-perimeter-exchange-id"}
)
_FAILED = "The server had an error while processing your request."


class Cut(Exception):
    """The connection is to be cut here."""


@attrs.define
class Delivery:
    """
    One response on its way.

    Attributes:
        recording: What is sent.
        dialect: Says how a stream reports an error.
        faults: What is to go wrong.
        speed: How many times faster than it was; None for as fast as possible.
        send: The server's.
        sleep: Waits so many seconds.
    """

    recording: Recording
    dialect: Dialect
    faults: Faults
    speed: float | None
    send: Send
    sleep: Sleep
    _begun: float = attrs.field(init=False, default=0.0)

    async def run(self) -> None:
        """
        Send everything.

        Raises:
            Cut: The connection is to be cut.
        """
        self._begun = asyncio.get_running_loop().time()
        await self._pause(self.faults.slow_head)
        if self.faults.hang == -1:
            await asyncio.Event().wait()
        head = self.recording.head
        if head is None:
            raise Cut
        await self._until(head.at)
        pieces = list(self._pieces())
        plain = head.framing is None
        await self.send(
            {
                "type": "http.response.start",
                "status": head.status,
                "headers": self._headers(sum(len(data) for _, data in pieces) if plain else None),
            }
        )
        if plain:
            await self._pause(self.faults.delay)
        coder = zlib.compressobj(wbits=31) if self.faults.gzip else None
        async for data in self._paced(pieces, plain=plain):
            coded = coder.compress(data) + coder.flush(zlib.Z_SYNC_FLUSH) if coder else data
            await self._body(coded)
        await self._body(coder.flush() if coder else b"", last=True)

    def _headers(self, length: int | None) -> list[tuple[bytes, bytes]]:
        """Return the recorded header fields, but those that would not be true."""
        head, dropped = self.recording.head, set(_DROPPED)
        if self.faults.gzip or (head and head.decoded):
            dropped.add("content-encoding")
        fields = [(k, v) for k, v in (head.headers if head else []) if k.lower() not in dropped]
        if self.faults.gzip:
            fields.append(("content-encoding", "gzip"))
        elif length is not None:
            fields.append(("content-length", str(length)))
        fields.append(("x-perimeter-recording", self.recording.id))
        return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in fields]

    def _pieces(self) -> Iterator[tuple[float, bytes]]:
        """Yield what is sent and when: chunks as recorded; events, where a fault counts those."""
        head, faults, chunks = self.recording.head, self.faults, self.recording.chunks
        interrupted = faults.cut is not None or faults.hang is not None or faults.error is not None
        if not (interrupted or faults.delay or faults.malformed or faults.gzip):
            yield from ((chunk.at, chunk.data) for chunk in chunks)
        elif head is None or head.framing is None:
            body = self.recording.content() if faults.gzip else self.recording.body
            body = body[: len(body) // 2] if faults.malformed else body
            yield chunks[-1].at if chunks else 0.0, body
        else:
            yield from self._events(head.framing)

    def _events(self, framing: str) -> Iterator[tuple[float, bytes]]:
        cut, at = cutter(framing), 0.0
        for chunk in self.recording.chunks:
            at = chunk.at
            yield from ((at, event) for event in cut.feed(chunk.data))
        if rest := cut.flush():
            yield at, rest

    async def _paced(
        self, pieces: list[tuple[float, bytes]], *, plain: bool
    ) -> AsyncIterator[bytes]:
        """Yield what is sent, each at its time, up to the fault that ends it."""
        faults = self.faults
        for number, (at, data) in enumerate(pieces):
            await self._until(at)
            if plain:
                yield await self._interrupted(data)
                continue
            await self._pause(faults.delay)
            if number == faults.error:
                yield self.dialect.end_stream(_FAILED)
                return
            await self._interrupt(number)
            yield _broken(data) if faults.malformed and number == 1 else data

    async def _interrupted(self, body: bytes) -> bytes:
        """Return a plain body, of which a fault may only let a part through."""
        for limit in (self.faults.cut, self.faults.hang):
            if limit is not None:
                await self._body(body[:limit])
                await self._stop(cut=limit == self.faults.cut)
        return body

    async def _interrupt(self, number: int) -> None:
        if number in {self.faults.cut, self.faults.hang}:
            await self._stop(cut=number == self.faults.cut)

    async def _stop(self, *, cut: bool) -> None:
        if cut:
            raise Cut
        await asyncio.Event().wait()

    async def _until(self, at: float) -> None:
        """Wait until a moment of the recording."""
        if self.speed is not None:
            passed = asyncio.get_running_loop().time() - self._begun
            await self._pause(at / self.speed - passed)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self.sleep(seconds)

    async def _body(self, data: bytes, *, last: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})


def _broken(event: bytes) -> bytes:
    """Cut an event's JSON in half but keep the event's own end."""
    return event[: len(event) // 2].rstrip(b"\n") + b"\n\n"
