"""How often something has happened lately."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Rate:
    """
    Counts events by the second, and forgets them by itself.

    A ring of buckets, each with the second that it counts: one that turns out to be of an earlier
    round is begun anew, so that neither time nor silence needs anything done.

    Attributes:
        clock: Tells the time in seconds; it must not go backwards.
        span: How many seconds are remembered, the one that runs included.
    """

    clock: Callable[[], float]
    span: int = 900
    _seconds: list[int] = attrs.field(init=False)
    _counts: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # No event is in second -1 of a bucket that has none: its count is 0.
        self._seconds = [-1] * self.span
        self._counts = [0] * self.span

    def add(self) -> None:
        """Count one event, now."""
        second = int(self.clock() // 1)
        place = second % self.span
        if self._seconds[place] != second:
            self._seconds[place] = second
            self._counts[place] = 0
        self._counts[place] += 1

    def last(self, seconds: int) -> int:
        """
        Count the events of the last seconds, the one that runs included.

        Args:
            seconds: How many; at most `span`.
        """
        before = int(self.clock() // 1) - seconds
        counted = zip(self._seconds, self._counts, strict=True)
        return sum(count for second, count in counted if second > before)

    def counted(self) -> dict[int, int]:
        """Return the seconds remembered in which there was an event, each with their number."""
        oldest = int(self.clock() // 1) - self.span
        counted = zip(self._seconds, self._counts, strict=True)
        return {second: count for second, count in counted if count and second > oldest}
