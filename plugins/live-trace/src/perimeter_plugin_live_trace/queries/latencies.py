"""
Quantiles of how long calls took, from the histograms of rollups.

To merge the histograms of many agents and models costs more than all else on a page, and those of
past hours no longer change: what they were merged to is kept, and known again by how many calls
there were.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perimeter_plugin_live_trace.queries.rollups import Of
from perimeter_plugin_live_trace.queries.spans import Span, pieces
from perimeter_plugin_live_trace.store import Histogram, Reader


_MOST_KEPT = 5000
_ALL = "NULL"
"""What rollups are grouped by where all of a bucket are meant: nothing."""


class _Merged:
    """The histograms that were merged lately."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, tuple[int, Histogram]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, calls: int) -> Histogram | None:
        with self._lock:
            known = self._kept.get(key)
            if known is None or known[0] != calls:
                return None
            self._kept.move_to_end(key)
            return known[1]

    def put(self, key: Any, calls: int, merged: Histogram) -> None:
        with self._lock:
            self._kept[key] = (calls, merged)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)


_merged = _Merged()
Buckets = dict[tuple[int, Any], Histogram]


def latency(reader: Reader, of: Of, start: int, end: int) -> Histogram:
    """Return the latencies of everything from a time to another."""
    whole = Histogram()
    for piece in pieces(start, end):
        for each in _buckets(reader, of, _ALL, piece).values():
            whole.merge(each)
    return whole


def latency_by_name(
    reader: Reader, of: Of, start: int, end: int, names: Sequence[str]
) -> dict[str, Histogram]:
    """Return the latencies of some models or tools."""
    return _grouped(reader, "name", of, (start, end), names)


def latency_by_agent(
    reader: Reader, of: Of, start: int, end: int, agents: Sequence[int]
) -> dict[int, Histogram]:
    """Return the latencies of some agents."""
    return _grouped(reader, "agent_id", of, (start, end), agents)


def _grouped(
    reader: Reader, column: str, of: Of, span: tuple[int, int], keys: Sequence[Any]
) -> dict[Any, Histogram]:
    found: dict[Any, Histogram] = {key: Histogram() for key in keys}
    for piece in pieces(*span) if keys else ():
        for (_, key), each in _buckets(reader, of, column, piece, found).items():
            found[key].merge(each)
    return found


def latency_series(reader: Reader, of: Of, span: Span) -> list[Histogram]:
    """Return the latencies of each bucket of a span."""
    found = [Histogram() for _ in span.starts]
    buckets = _buckets(reader, of, _ALL, (span.size, span.from_us, span.to_us))
    for (at, _), each in buckets.items():
        found[(at - span.from_us) // span.step_us].merge(each)
    return found


def _buckets(
    reader: Reader,
    of: Of,
    column: str,
    piece: tuple[str, int, int],
    wanted: Mapping[Any, Any] | None = None,
) -> Buckets:
    """Return the latencies of each bucket of rollups, as a whole or per model, tool or agent."""
    rows, params = of.rows(*piece, column)
    query = f"SELECT bucket_us, {column}, sum(calls) {rows} GROUP BY 1, 2"
    counts = {
        (at, key): calls
        for at, key, calls in reader.sql(query, params)
        if wanted is None or key in wanted
    }
    path, size = str(reader.path), piece[0]
    found: Buckets = {}
    for place, calls in counts.items():
        known = _merged.get((path, size, of, column, *place), calls)
        if known is not None:
            found[place] = known
    for place, each in _read(reader, of, column, size, counts.keys() - found.keys()).items():
        _merged.put((path, size, of, column, *place), counts[place], each)
        found[place] = each
    return found


def _read(
    reader: Reader, of: Of, column: str, size: str, places: Iterable[tuple[int, Any]]
) -> Buckets:
    """Merge the histograms of some places."""
    found: Buckets = {place: Histogram() for place in places}
    if not found:
        return found
    starts = {at for at, _ in found}
    rows, params = of.rows(size, min(starts), max(starts) + 1, column)
    query = f"SELECT bucket_us, {column}, hist {rows}"
    if len(starts) <= 200:
        query += f" AND bucket_us IN ({', '.join('?' * len(starts))})"
        params += sorted(starts)
    for at, key, data in reader.sql(query, params):
        place = found.get((at, key))
        if place is not None:
            place.merge(Histogram.from_bytes(data))
    return found
