"""What was played, and what was not and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from perimeter_plugin_recorders.replay.source import Source


if TYPE_CHECKING:
    from perimeter.model import Exchange


@attrs.define(eq=False)
class Summary:
    """
    Counts what is played.

    Attributes:
        source: Where it comes from.
        left_out: Names of plugins that do not want to see replays.
        outcomes: How many exchanges ended how.
        sessions: Ids of the sessions that they belong to.
        stopped: Whether it was stopped before the end.
    """

    source: Source
    left_out: Sequence[str] = ()
    outcomes: Counter[str] = attrs.field(factory=Counter)
    sessions: set[str] = attrs.field(factory=set)
    stopped: bool = False

    @property
    def played(self) -> int:
        """How many exchanges were played."""
        return self.outcomes.total()

    def count(self, exchange: Exchange) -> None:
        """Note an exchange that is over."""
        self.outcomes[str(exchange.outcome)] += 1
        if exchange.session is not None:
            self.sessions.add(exchange.session.id)

    def lines(self) -> Iterator[str]:
        """Yield the lines that are shown at the end."""
        yield f"played {_many(self.played, 'exchange')} of {_many(len(self.sessions), 'session')}"
        for outcome, number in self.outcomes.most_common():
            yield f"  {outcome}: {number}"
        if self.source.broken_off:
            yield f"  of these without a recorded end: {self.source.broken_off}"
        if self.stopped:
            yield f"stopped before the end: {self.source.total - self.played} were not played"
        if self.source.passed_over:
            yield f"passed over by --since or --session: {self.source.passed_over}"
        if self.left_out:
            yield f"left out: {', '.join(self.left_out)} (not made for replays)"
        yield from self._skipped()

    def _skipped(self) -> Iterator[str]:
        source = self.source
        if not source.skips:
            return
        yield f"skipped: {source.skips}"
        for place, reason in source.skipped:
            yield f"  {place}: {reason}"
        if source.skips > len(source.skipped):
            yield f"  and {source.skips - len(source.skipped)} more"


def _many(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
