"""
Spans of time and the buckets that charts cut them into.

Rollups are kept by the minute, the hour and the day (UTC). A span begins and ends at a bucket, so
that its figures and its charts come from the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

WIDTHS = {"m": MINUTE, "h": HOUR, "d": DAY}
"""How long the buckets of rollups are."""

_STEPS = (
    ("m", MINUTE),
    ("m", 2 * MINUTE),
    ("m", 5 * MINUTE),
    ("h", HOUR),
    ("h", 2 * HOUR),
    ("h", 3 * HOUR),
    ("h", 6 * HOUR),
    ("h", 12 * HOUR),
    ("d", DAY),
    ("d", 2 * DAY),
    ("d", 7 * DAY),
    ("d", 28 * DAY),
    ("d", 364 * DAY),
)
_MOST_BUCKETS = 60


class Span(msgspec.Struct, frozen=True):
    """
    A stretch of time in buckets of one length.

    Attributes:
        from_us: Its first microsecond, the begin of a bucket.
        to_us: The end of its last bucket, not part of it.
        step_us: How long a bucket is.
        size: Which rollups it is read from: `m`, `h` or `d`.
        now_us: When it is looked at; the bucket that this falls in is incomplete.
    """

    from_us: int
    to_us: int
    step_us: int
    size: str
    now_us: int

    @property
    def starts(self) -> range:
        """When its buckets begin."""
        return range(self.from_us, self.to_us, self.step_us)

    @property
    def seen_us(self) -> int:
        """How much of it is over."""
        return max(1, min(self.to_us, self.now_us) - self.from_us)

    def before(self) -> tuple[int, int]:
        """Return begin and end of the equally long time before, as far as this one has come."""
        length = self.to_us - self.from_us
        return self.from_us - length, min(self.to_us, self.now_us) - length


def span_of(from_us: int, to_us: int, now_us: int) -> Span:
    """
    Return the buckets for what happened from a time to another, about 60 at most.

    The last 24 hours begin with the first whole bucket of them; of a time that people chose, the
    buckets at both ends are part.
    """
    length = max(1, to_us - from_us)
    size, step = next((each for each in _STEPS if length <= _MOST_BUCKETS * each[1]), _STEPS[-1])
    if length > 3 * HOUR and size == "m":
        size, step = "h", HOUR
    if length > 8 * DAY and size == "h":
        size, step = "d", DAY
    last = -(-to_us // step) * step
    first = (-(-from_us // step) if to_us >= now_us else from_us // step) * step
    first = max(min(first, last - step), last - 4 * _MOST_BUCKETS * step)
    return Span(first, last, step, size, now_us)


def pieces(from_us: int, to_us: int) -> Iterator[tuple[str, int, int]]:
    """
    Cut a time into parts that whole rollups cover, the longest ones that fit.

    The ends are rounded to minutes: down the first, up the last.
    """
    start, end = from_us // MINUTE * MINUTE, -(-to_us // MINUTE) * MINUTE
    yield from _pieces(start, end, ("d", "h", "m"))


def _pieces(start: int, end: int, sizes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    if start >= end:
        return
    size, rest = sizes[0], sizes[1:]
    width = WIDTHS[size]
    first, last = -(-start // width) * width, end // width * width
    if first >= last:
        yield from _pieces(start, end, rest)
        return
    yield from _pieces(start, first, rest)
    yield size, first, last
    yield from _pieces(last, end, rest)
