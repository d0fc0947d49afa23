"""The upstream's side of an exchange that is played back. No network is ever opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimeter.errors import ExchangeError, ProxyError
from perimeter.gateway import endings
from perimeter.gateway.stream_filter import StreamStopped
from perimeter.playback.failures import failure_of
from perimeter.upstream import UpstreamCall, UpstreamHead, UpstreamRequest
from perimeter.verdicts import Block, Rewrite, Stop


if TYPE_CHECKING:
    from perimeter.playback.flow import PlayedFlow


class Nowhere:
    """The transport of a playback's upstreams, before each exchange gets its tape."""

    connections = 0

    def start(self, request: UpstreamRequest) -> UpstreamCall:
        """Refuse: there is nothing to send to."""
        message = f"nothing is recorded of {request.method} {request.target}"
        raise ProxyError(message)

    async def close(self) -> None:
        """Nothing is open."""


class Tape:
    """
    Transport and call in one, for one exchange: answers when and what it was answered.

    Attributes:
        over: Whether what is recorded of it has been played.
        ending: The last piece of the recorded body, where the proxy had added it itself.
    """

    connections = 0

    def __init__(self, flow: PlayedFlow) -> None:
        self.over = False
        self.ending = b""
        self._flow = flow
        self._request: UpstreamRequest | None = None
        self._error: ExchangeError | None = None
        self._chunks = [piece for piece in flow.recorded.chunks if piece[1]]
        self._next = 0
        self._failure = failure_of(flow.recorded)

    def start(self, request: UpstreamRequest) -> UpstreamCall:
        """Take the request."""
        self._request = request
        return self

    async def head(self) -> UpstreamHead:
        """Return the recorded head at its time, or raise the recorded error."""
        await self._take_body()
        recorded, failure = self._flow.recorded, self._failure
        self._flow.exchange.attempts = max(1, recorded.attempts)
        if recorded.head is None or (recorded.own and failure is not None):
            await self._wait(recorded.ended if recorded.head is None else recorded.head.at)
            self.over = True
            raise failure or ProxyError("no response is recorded")
        await self._wait(recorded.head.at)
        self._rule()
        return UpstreamHead(recorded.head.status, recorded.head.headers)

    async def read(self) -> bytes:
        """Return the next recorded piece at its time; then end as it ended."""
        if self._next < len(self._chunks):
            at, data = self._chunks[self._next]
            self._next += 1
            if self._next < len(self._chunks) or not self._is_ours(data):
                await self._wait(at)
                return data
            self.ending = data
            await self._wait(at)
        else:
            await self._wait(self._flow.recorded.ended)
        return self._end()

    def abort(self, error: ExchangeError) -> None:
        """Give nothing more."""
        self._error = self._error or error

    async def close(self) -> None:
        """Nothing is open."""

    def _end(self) -> bytes:
        recorded, response = self._flow.recorded, self._flow.exchange.response
        self.over = True
        if recorded.partial and response is not None:
            response.truncated = True
        if self._failure is not None:
            raise self._failure
        if stop := self._stop:
            raise StreamStopped(*stop)
        return b""

    def _is_ours(self, data: bytes) -> bool:
        """Whether the proxy had ended the stream with this, after the upstream's last piece."""
        stop = self._stop
        reason = stop[1].reason if stop else str(self._failure or "")
        if not reason:
            return False
        return data == endings.stream_ending(self._flow.exchange, self._flow.last, reason)

    @property
    def _stop(self) -> tuple[str, Stop] | None:
        """What a guard had ended the stream with."""
        found = (each for each in self._flow.recorded.verdicts if isinstance(each[1], Stop))
        return next(((plugin, stop) for plugin, stop in found if isinstance(stop, Stop)), None)

    def _rule(self) -> None:
        """Tell what guards had decided over the response, unless they decide anew."""
        flow = self._flow
        if flow.guarded:
            return
        for plugin, verdict in flow.recorded.verdicts:
            rewrites = isinstance(verdict, Rewrite) and flow.recorded.rewritten is None
            if rewrites or isinstance(verdict, Block):
                flow.rule(plugin, verdict)

    async def _take_body(self) -> None:
        if self._request is not None and not isinstance(self._request.body, bytes):
            async for _ in self._request.body:
                pass

    async def _wait(self, at: float) -> None:
        if self._error is None:
            await self._flow.caller.until(at)
        if self._error is not None:
            raise self._error
