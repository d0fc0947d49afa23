"""
Totals of spans of time, and how they went, read from rollups only.

These queries are made of text, not of peewee: a page has dozens of them, and to put one together
would take longer than to run it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.spans import Span, pieces
from perimeter_plugin_live_trace.store import Reader


class Totals(msgspec.Struct):
    """What calls (or uses of tools) add up to."""

    calls: int = 0
    errors: int = 0
    tok_in: int = 0
    tok_out: int = 0
    tok_cached: int = 0
    cost_nano: int = 0
    lat_us: int = 0

    def add(self, other: Totals) -> None:
        """Add others to these."""
        self.calls += other.calls
        self.errors += other.errors
        self.tok_in += other.tok_in
        self.tok_out += other.tok_out
        self.tok_cached += other.tok_cached
        self.cost_nano += other.cost_nano
        self.lat_us += other.lat_us

    @property
    def error_rate(self) -> float | None:
        """The share of calls that failed, None where there are none."""
        return self.errors / self.calls if self.calls else None

    @property
    def mean_us(self) -> int | None:
        """How long they took on average."""
        return self.lat_us // self.calls if self.calls else None


_NAMES = Totals.__struct_fields__
_SUMS = ", ".join(f"coalesce(sum({name}), 0)" for name in _NAMES)
_START = "(bucket_us - ?) / ? * ? + ?"
"""The begin of the chart's bucket that a rollup falls in."""


class Of(msgspec.Struct, frozen=True):
    """
    Which rollups are meant.

    Attributes:
        kind: `llm` or `tool`.
        agent: The row of an agent, or None for all.
        name: A model or a tool, or None for all.
    """

    kind: str = "llm"
    agent: int | None = None
    name: str | None = None

    def rows(self, size: str, start: int, end: int, by: str = "") -> tuple[str, list[Any]]:
        """
        Return what follows `SELECT`: the rollups of one size from a time to another.

        Args:
            size: Their size.
            start: Where the first one begins.
            end: Where the last one ends.
            by: The column that they are grouped by; agents have rollups of their own.
        """
        each = self.agent is not None or by == "agent_id"
        text = f"FROM {'rollups' if each else 'rollups_of_all'}"
        text += " WHERE size = ? AND kind = ? AND bucket_us >= ? AND bucket_us < ?"
        params: list[Any] = [size, self.kind, start, end]
        if self.agent is not None:
            text, params = f"{text} AND agent_id = ?", [*params, self.agent]
        if self.name is not None:
            text, params = f"{text} AND name = ?", [*params, self.name]
        return text, params


def first_day(reader: Reader) -> int:
    """Return where the first day begins that anything is known of; 0 where nothing is."""
    query = "SELECT min(bucket_us) FROM rollups_of_all WHERE size = 'd' AND kind = ?"
    found = [reader.sql(query, (kind,))[0][0] for kind in ("llm", "tool")]
    return min((day for day in found if day is not None), default=0)


def total(reader: Reader, of: Of, start: int, end: int) -> Totals:
    """Return what everything from a time to another adds up to."""
    whole = Totals()
    for piece in pieces(start, end):
        rows, params = of.rows(*piece)
        for row in reader.sql(f"SELECT {_SUMS} {rows}", params):
            whole.add(Totals(*row))
    return whole


def by_name(reader: Reader, of: Of, start: int, end: int) -> dict[str, Totals]:
    """Return totals per model or tool."""
    return _grouped(reader, "name", of, start, end)


def by_agent(reader: Reader, of: Of, start: int, end: int) -> dict[int, Totals]:
    """Return totals per agent; 0 is none."""
    return _grouped(reader, "agent_id", of, start, end)


def _grouped(reader: Reader, column: str, of: Of, start: int, end: int) -> dict[Any, Totals]:
    found: dict[Any, Totals] = {}
    for piece in pieces(start, end):
        rows, params = of.rows(*piece, column)
        query = f"SELECT {column}, {_SUMS} {rows} GROUP BY {column}"
        for key, *sums in reader.sql(query, params):
            found.setdefault(key, Totals()).add(Totals(*sums))
    return found


def history(reader: Reader, of: Of, span: Span) -> dict[str, dict[int, Totals]]:
    """Return totals per model or tool and bucket of a span; buckets without any are left out."""
    rows, params = of.rows(span.size, span.from_us, span.to_us)
    query = f"SELECT name, {_START} AS at, {_SUMS} {rows} GROUP BY name, at"
    found: dict[str, dict[int, Totals]] = {}
    for name, at, *sums in reader.sql(query, [*_steps(span), *params]):
        found.setdefault(name, {})[at] = Totals(*sums)
    return found


def series(reader: Reader, of: Of, span: Span) -> list[Totals]:
    """Return one total for each bucket of a span."""
    return summed(history(reader, of, span).values(), span)


def summed(rows: Iterable[Mapping[int, Totals]], span: Span) -> list[Totals]:
    """Return one total for each bucket of a span, over all models or tools of a history."""
    found = {at: Totals() for at in span.starts}
    for row in rows:
        for at, each in row.items():
            found[at].add(each)
    return list(found.values())


def values_of(row: Mapping[int, Totals], span: Span, column: str) -> list[int]:
    """Return how one of the totals went, of one model or tool of a history."""
    return [getattr(row[at], column) if at in row else 0 for at in span.starts]


def series_by_agent(
    reader: Reader, of: Of, span: Span, column: str = "calls"
) -> dict[int, list[int]]:
    """Return how one of the totals went, per agent."""
    rows, params = of.rows(span.size, span.from_us, span.to_us, "agent_id")
    query = f"SELECT agent_id, {_START} AS at, sum({column}) {rows} GROUP BY agent_id, at"
    count = len(span.starts)
    found: dict[int, list[int]] = {}
    for agent, at, value in reader.sql(query, [*_steps(span), *params]):
        values = found.setdefault(agent, [0] * count)
        values[(at - span.from_us) // span.step_us] += value
    return found


def _steps(span: Span) -> list[int]:
    return [span.from_us, span.step_us, span.step_us, span.from_us]


def names_by_agent(reader: Reader, of: Of, start: int, end: int) -> dict[int, list[str]]:
    """Return which models or tools agents used, most used ones first."""
    found: dict[int, dict[str, int]] = {}
    for piece in pieces(start, end):
        rows, params = of.rows(*piece, "agent_id")
        query = f"SELECT agent_id, name, sum(calls) {rows} GROUP BY 1, 2"
        for agent, name, calls in reader.sql(query, params):
            counts = found.setdefault(agent, {})
            counts[name] = counts.get(name, 0) + calls
    return {agent: _most_first(counts) for agent, counts in found.items()}


def _most_first(counts: Mapping[str, int]) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))


def top(totals: Mapping[str, Totals], column: str, most: int) -> Sequence[str]:
    """Return the names with the most of something, the rest left out."""
    return sorted(totals, key=lambda name: (-getattr(totals[name], column), name))[:most]
