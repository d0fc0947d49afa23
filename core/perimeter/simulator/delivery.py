"""Sending a reply at a model's pace, with the faults that were asked for."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from random import Random

import attrs
import msgspec

from perimeter.simulator.faults import Faults
from perimeter.simulator.settings import SimulatorSettings
from perimeter.simulator.wire import Reply, Send, Sleep


_PROCESSING_FAILED = "The server had an error while processing your request."


class Cut(Exception):
    """The connection is to be cut here."""


@attrs.frozen
class Pace:
    """How fast the simulated model talks."""

    settings: SimulatorSettings
    sleep: Sleep
    random: Random = attrs.field(init=False)

    @random.default
    def _seeded(self) -> Random:
        return Random(self.settings.seed)  # noqa: S311 - repeatable pauses, no secret

    async def pause(self, seconds: float) -> None:
        """Wait, if there is anything to wait for."""
        if seconds > 0:
            await self.sleep(seconds)

    async def first(self) -> None:
        """Wait as long as a model does before its first token."""
        await self.pause(self.settings.first_token_delay)

    async def generate(self, tokens: int) -> None:
        """Wait as long as a model takes for so many tokens."""
        jitter = self.settings.jitter
        share = self.random.uniform(1 - jitter, 1 + jitter)
        await self.pause(tokens / self.settings.tokens_per_second * share)


@attrs.define
class Delivery:
    """One reply on its way."""

    reply: Reply
    faults: Faults
    headers: list[tuple[str, str]]
    pace: Pace
    send: Send

    async def run(self) -> None:
        """
        Send everything.

        Raises:
            Cut: When the connection is to be cut.
        """
        await self.pace.pause(self.faults.slow_head)
        if self.faults.hang == -1:
            await self._hang()
        if self.reply.events is None:
            await self._run_plain()
        else:
            await self._run_stream()

    async def _run_plain(self) -> None:
        if self.reply.tokens:
            await self.pace.first()
            await self.pace.generate(self.reply.tokens)
        body = msgspec.json.encode(self.reply.payload)
        if self.faults.malformed:
            body = body[: len(body) // 2]
        if self.faults.gzip:
            body = _compress(body)
        await self._head("application/json", len(body))
        await self.pace.pause(self.faults.delay)
        for limit, act in ((self.faults.cut, self._cut), (self.faults.hang, self._hang)):
            if limit is not None:
                await self._part(body[:limit])
                await act()
        await self._part(body, last=True)

    async def _run_stream(self) -> None:
        await self._head("text/event-stream; charset=utf-8")
        coder = zlib.compressobj(wbits=31) if self.faults.gzip else None
        async for data in self._events():
            coded = coder.compress(data) + coder.flush(zlib.Z_SYNC_FLUSH) if coder else data
            await self._part(coded)
        await self._part(coder.flush() if coder else b"", last=True)

    async def _events(self) -> AsyncIterator[bytes]:
        """Yield the stream's events, paced, up to the fault that ends it."""
        started = False
        for number, event in enumerate(self.reply.events or ()):
            if event.tokens and not started:
                started = True
                await self.pace.first()
            await self.pace.generate(event.tokens)
            await self.pace.pause(self.faults.delay)
            if number == self.faults.error and self.reply.failure:
                yield self.reply.failure(_PROCESSING_FAILED, number)
                return
            await self._interrupt(number)
            yield _broken(event.data) if self.faults.malformed and number == 1 else event.data

    async def _interrupt(self, number: int) -> None:
        if number == self.faults.cut:
            await self._cut()
        if number == self.faults.hang:
            await self._hang()

    async def _cut(self) -> None:
        raise Cut

    async def _hang(self) -> None:
        await asyncio.Event().wait()

    async def _head(self, content_type: str, length: int | None = None) -> None:
        headers = [("content-type", content_type)]
        if length is not None:
            headers.append(("content-length", str(length)))
        if self.faults.gzip:
            headers.append(("content-encoding", "gzip"))
        pairs = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers + self.headers]
        await self.send(
            {"type": "http.response.start", "status": self.reply.status, "headers": pairs}
        )

    async def _part(self, data: bytes, *, last: bool = False) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})


def _compress(body: bytes) -> bytes:
    coder = zlib.compressobj(wbits=31)
    return coder.compress(body) + coder.flush()


def _broken(event: bytes) -> bytes:
    """Cut an event's JSON in half but keep the event's own end."""
    return event[: len(event) // 2].rstrip(b"\n") + b"\n\n"
