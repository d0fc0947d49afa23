"""The http recorder: keeps the traffic itself, so that it can be looked at and played back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from perimeter import hookimpl
from perimeter_plugin_recorders import lines
from perimeter_plugin_recorders.config import HttpRecorderConfig
from perimeter_plugin_recorders.observed import Asked, End, Head
from perimeter_plugin_recorders.sink import Sink, open_journal
from perimeter_plugin_recorders.tape import Tape


if TYPE_CHECKING:
    from perimeter import Chunk, Exchange, PluginContext


@attrs.define(eq=False)
class HttpRecorder:
    """
    Record requests, heads, chunks and ends of exchanges, one line each.

    Hooks only put references into a queue; everything else happens in a thread.
    """

    Config: ClassVar[type[HttpRecorderConfig]] = HttpRecorderConfig
    replays: ClassVar[bool] = False
    """What is played back is recorded already."""

    config: HttpRecorderConfig
    context: PluginContext
    _sink: Sink = attrs.field(init=False)
    _limit: int = attrs.field(init=False)
    _name: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.config.max_body_size
        self._name = self.context.name

    @hookimpl
    def startup(self) -> None:
        """Start the thread that writes."""
        journal = open_journal(self.context, self.config, "recording", lines.FORMAT)
        self._sink = Sink(self.context, self.config, journal)
        self._sink.start()

    @hookimpl
    async def shutdown(self) -> None:
        """Write what waits."""
        await self._sink.stop()

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Record the request."""
        if exchange.recorded:
            self._begin(exchange)

    @hookimpl
    def on_response_start(self, exchange: Exchange) -> None:
        """Record the head."""
        response = exchange.response
        if not exchange.recorded or response is None:
            return
        tape = exchange.state.get(self._name) or self._begin(exchange)
        came = exchange.head_at
        at = (self.context.clock.monotonic() if came is None else came) - exchange.started
        head = Head(at, response.status, response.headers, response.framing)
        self._sink.put_needed(0, tape.head_lines, head)

    @hookimpl
    def on_chunk(self, exchange: Exchange, chunk: Chunk) -> None:
        """Record a piece of the body."""
        tape: Tape | None = exchange.state.get(self._name)
        if tape is None:
            return
        length = len(chunk.data)
        if tape.size > self._limit:
            tape.over = True
        elif tape.lost:  # with a hole in it, nothing behind that can be decoded or masked
            tape.lost += 1
            self._sink.miss()
        elif not self._sink.put(length, tape.chunk_lines, chunk):
            tape.lost = 1
        tape.size += length

    @hookimpl
    def on_response(self, exchange: Exchange) -> None:
        """Record the end."""
        self._end(exchange, None)

    @hookimpl
    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Record the end, and why it came."""
        self._end(exchange, error)

    def _begin(self, exchange: Exchange) -> Tape:
        redact = self.context.redact
        tape = Tape(exchange.id, redact=redact, limit=self._limit)
        exchange.state[self._name] = tape
        original, sent = exchange.original.body or b"", exchange.request.body or b""
        weight = len(original) + (len(sent) if sent is not original else 0)
        bodies = self._sink.has_room(weight)
        if not bodies:
            self._sink.miss()
        asked = Asked.of(exchange, bodies=bodies)
        self._sink.put_needed(weight if bodies else 0, tape.request_lines, asked)
        return tape

    def _end(self, exchange: Exchange, error: Exception | None) -> None:
        if exchange.recorded:
            tape = exchange.state.pop(self._name, None) or self._begin(exchange)
            exchange.state.pop(self._name, None)
            self._sink.put_needed(
                0, tape.end_lines, End.of(exchange, error, lost=tape.lost, over=tape.over)
            )
