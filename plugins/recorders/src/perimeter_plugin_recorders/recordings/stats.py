"""Numbers about recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

from perimeter_plugin_recorders.recordings.indexing import Entry


@attrs.define
class Stats:
    """
    What there is in recordings.

    Attributes:
        exchanges: How many exchanges there are.
        incomplete: How many of them are not recorded whole.
        sessions: Ids of their conversations.
        counts: How many there are, by what and by which.
        asked: Bytes of the requests' bodies.
        answered: Bytes of the responses' bodies.
        chunks: How many pieces those came in.
        first: Unix time of the first beginning, or None.
        last: Unix time of the last end, or None.
        durations: Seconds that those took that have an end.
        first_bytes: Seconds until the first byte.
    """

    exchanges: int = 0
    incomplete: int = 0
    sessions: set[str] = attrs.field(factory=set)
    counts: dict[str, Counter[str]] = attrs.field(
        factory=lambda: {name: Counter() for name in ("upstream", "model", "status", "outcome")}
    )
    asked: int = 0
    answered: int = 0
    chunks: int = 0
    first: float | None = None
    last: float | None = None
    durations: list[float] = attrs.field(factory=list)
    first_bytes: list[float] = attrs.field(factory=list)

    def add(self, entry: Entry) -> None:
        """Count an exchange."""
        self.exchanges += 1
        self.incomplete += not entry.complete
        if entry.session:
            self.sessions.add(entry.session)
        self.counts["upstream"][entry.upstream or "-"] += 1
        self.counts["model"][entry.model or "-"] += 1
        self.counts["status"]["-" if entry.status is None else str(entry.status)] += 1
        self.counts["outcome"][entry.outcome or "no end recorded"] += 1
        self.asked += entry.asked
        self.answered += entry.size
        self.chunks += entry.pieces
        self.first = min(self.first or entry.started_at, entry.started_at)
        self.last = max(self.last or entry.ended_at, entry.ended_at)
        if entry.outcome:
            self.durations.append(entry.ended_at - entry.started_at)
        if entry.first_byte is not None and entry.framing:
            self.first_bytes.append(entry.first_byte)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "exchanges": self.exchanges,
            "incomplete": self.incomplete,
            "sessions": len(self.sessions),
            **{name: dict(counter.most_common()) for name, counter in self.counts.items()},
            "request_bytes": self.asked,
            "response_bytes": self.answered,
            "chunks": self.chunks,
            "first": self.first,
            "last": self.last,
            "duration": spread(self.durations),
            "first_byte_of_streams": spread(self.first_bytes),
        }


def stats(entries: Iterable[Entry]) -> Stats:
    """Count what there is."""
    made = Stats()
    for entry in entries:
        made.add(entry)
    return made


def spread(values: list[float]) -> dict[str, float] | None:
    """Return median, 95th percentile and largest of some numbers; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    places = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[round(last * share)], 6) for name, share in places.items()}
