"""Reads a stream on its way: its own copy of the bytes, decoded, cut into events, and parsed."""

from __future__ import annotations

from collections.abc import Callable

from perimeter.calls import LLMReply, ParseError, StreamParser
from perimeter.encoding import DecodeError, Decoder
from perimeter.framing import cutter


LONGEST = 16 * 1024 * 1024
"""An event of more bytes is not waited for: the rest of the stream is not read."""


class StreamReader:
    """
    Reads one stream.

    Attributes:
        problem: Why it could not be read, or not all of it; "" if it could.
        first_at: When the first event with data came; None before.
        count: How many events came.
    """

    __slots__ = (
        "_clock",
        "_cutter",
        "_decoder",
        "_parser",
        "_stopped",
        "count",
        "first_at",
        "problem",
    )

    def __init__(
        self, parser: StreamParser, framing: str, encoding: str, clock: Callable[[], float]
    ) -> None:
        """
        Prepare.

        Args:
            parser: Of the dialect.
            framing: How events are divided.
            encoding: The content-encoding header's value, "" for none.
            clock: Monotonic seconds.
        """
        self._parser = parser
        self._cutter = cutter(framing)
        self._clock = clock
        self._stopped = False
        self.count = 0
        self.first_at: float | None = None
        self.problem = ""
        try:
            self._decoder = Decoder(encoding) if encoding else None
        except DecodeError as error:
            self._stop(error)

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Never raises."""
        if self._stopped:
            return
        try:
            if self._decoder is not None:
                data = self._decoder.feed(data)
            events = self._cutter.feed(data)
        except (DecodeError, ValueError) as error:
            self._stop(error)
            return
        for event in events:
            self._take(event)
        if self._cutter.pending > LONGEST:
            self._stop(ValueError(f"an event of more than {LONGEST} bytes"))

    def finish(self) -> None:
        """Take what is left at the end, which may be a last event without a delimiter."""
        if not self._stopped and (rest := self._cutter.flush()).strip():
            self._take(rest)

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come."""
        return self._parser.reply()

    @property
    def finished(self) -> bool:
        """Whether the model has said all that it will say."""
        return self._parser.finished

    def _take(self, event: bytes) -> None:
        self.count += 1
        if self.first_at is None and not event.startswith((b":", b"event: ping")):
            self.first_at = self._clock()
        try:
            self._parser.feed(event)
        except ParseError as error:
            self.problem = self.problem or str(error)

    def _stop(self, error: Exception) -> None:
        self._stopped = True
        self._decoder = None
        self.problem = str(error)
