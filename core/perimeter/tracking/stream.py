"""
Reads a stream on its way: its own copy of the bytes, decoded, cut into events, and parsed.

Events are read several at a time: one that is read alone, after all that passing it on has to do,
costs four times as much. Only what ends a reply is read at once, because the client's next call may
come at any moment, and so is the beginning, for the time of the first token.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from perimeter.calls import LLMReply, ParseError, StreamParser
from perimeter.encoding import DecodeError, Decoder
from perimeter.framing import cutter


BATCH = 8 * 1024
"""Bytes that wait to be read together; half a millisecond's work."""
_SEAM = 32
"""Bytes before a chunk in which what ends a reply may have begun."""
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
        "_ending",
        "_parser",
        "_seam",
        "_stopped",
        "_waiting",
        "_waiting_size",
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
        self._ending: re.Pattern[bytes] | None = getattr(parser, "ending", None)
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._seam = b""
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
        if self._decoder is not None:
            try:
                data = self._decoder.feed(data)
            except DecodeError as error:
                self._read()
                self._stop(error)
                return
        self._waiting.append(data)
        self._waiting_size += len(data)
        if self._waiting_size >= BATCH or self.first_at is None or self._ends(data):
            self._read()

    def finish(self) -> None:
        """Take what is left at the end, which may be a last event without a delimiter."""
        self._read()
        if not self._stopped and (rest := self._cutter.flush()).strip():
            self._take(rest)

    def _ends(self, data: bytes) -> bool:
        """Tell whether these bytes may end the reply; what comes after such bytes may, too."""
        if self._ending is None:
            return True
        if self._ending.search(self._seam + data if self._seam else data):
            self._ending = None  # the event may not be whole yet
            return True
        self._seam = b"" if data.endswith(b"\n") else (self._seam + data)[-_SEAM:]
        return False

    def _read(self) -> None:
        """Read what waits."""
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting, self._waiting_size = [], 0
        try:
            events = self._cutter.feed(data)
        except ValueError as error:
            self._stop(error)
            return
        for event in events:
            self._take(event)
        if self._cutter.pending > LONGEST:
            self._stop(ValueError(f"an event of more than {LONGEST} bytes"))

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come."""
        if self._waiting:
            self._read()
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
