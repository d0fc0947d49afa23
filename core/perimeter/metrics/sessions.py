"""What is counted about sessions, and the statistics made of it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from perimeter.metrics.numbers import Distribution
from perimeter.metrics.rates import Rate


SCORE_BUCKETS = tuple(tenths / 10 for tenths in range(1, 11))
"""How alike two conversations are, from 0 to 1."""
MINUTE = 60
QUARTER = 15 * MINUTE


class Sessions:
    """Numbers about sessions; used from the event loop only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.created = 0
        self.recent = Rate(clock, QUARTER)
        self.expired: Tally[str] = Tally()
        self.lookups: Tally[tuple[str, str]] = Tally()
        self.scores = Distribution(SCORE_BUCKETS)
        self.fuzzy = {"matched": 0, "rejected": 0}
        self.store_timeouts = 0

    def create(self) -> None:
        """Count a session that began."""
        self.created += 1
        self.recent.add()

    def lookup(self, method: str, score: float | None, tried_fuzzy: bool, hit: bool) -> None:
        """Count a call that was placed; see `Metrics.lookup`."""
        self.lookups["hit" if hit else "miss", method] += 1
        if tried_fuzzy:
            self.scores.add(score or 0.0)
            self.fuzzy["matched" if method == "fuzzy" else "rejected"] += 1

    def found(self, result: str) -> int:
        """Return how many lookups had a result: `hit` or `miss`."""
        return sum(count for (each, _), count in self.lookups.items() if each == result)


@attrs.frozen(kw_only=True)
class SessionNumbers:
    """
    What the session statistics of one process, or of several, are made of.

    Only numbers that can be added up; shares and means are worked out at the end.

    Attributes:
        active: Sessions that have not ended.
        created: Sessions that began.
        created_1m: Of these, in the last minute.
        created_15m: Of these, in the last 15 minutes.
        expired: Sessions that ended.
        hits: Calls that went on with a session.
        misses: Calls that began one.
        fuzzy_matched: Comparisons by likeness that found a session.
        fuzzy_rejected: Comparisons by likeness that found nothing like it.
        score_sum: The best scores of all these comparisons.
        requests_in_flight: Exchanges under way.
        input: Tokens; the kinds are those of `perimeter.calls.Usage`.
        output: Tokens.
        cache_read: Tokens.
        cache_write: Tokens.
        reasoning: Tokens.
        cost_usd: US dollars.
    """

    active: int = 0
    created: int = 0
    created_1m: int = 0
    created_15m: int = 0
    expired: int = 0
    hits: int = 0
    misses: int = 0
    fuzzy_matched: int = 0
    fuzzy_rejected: int = 0
    score_sum: float = 0.0
    requests_in_flight: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost_usd: float = 0.0

    def merge(self, others: Iterable[SessionNumbers]) -> SessionNumbers:
        """Return these numbers and those of other processes together."""
        everyone = (self, *others)
        names = attrs.fields_dict(SessionNumbers)
        return SessionNumbers(
            **{name: sum(getattr(each, name) for each in everyone) for name in names}
        )

    def document(self) -> dict[str, Any]:
        """Return the statistics as `GET /metrics` shows them in JSON."""
        return {
            "sessions": self._sessions(),
            "requests_in_flight": self.requests_in_flight,
            "tokens": {
                "input": self.input,
                "output": self.output,
                "cache_read": self.cache_read,
                "cache_write": self.cache_write,
                "reasoning": self.reasoning,
            },
            "cost_usd_total": self.cost_usd,
        }

    def _sessions(self) -> dict[str, Any]:
        lookups = self.hits + self.misses
        tried = self.fuzzy_matched + self.fuzzy_rejected
        return {
            "active": self.active,
            "created_total": self.created,
            "expired_total": self.expired,
            "lookups": lookups,
            "hit_rate": _share(self.hits, lookups),
            "miss_rate": _share(self.misses, lookups),
            "created_per_minute": {
                "1m": float(self.created_1m),
                "15m": self.created_15m * MINUTE / QUARTER,
            },
            "fuzzy": {
                "tried": tried,
                "matched": self.fuzzy_matched,
                "rejected": self.fuzzy_rejected,
                "mean_score": _share(self.score_sum, tried),
            },
        }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
