"""Models and tools: how often they were used, how well and how fast they worked, and the cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.latencies import latency_by_name
from perimeter_plugin_live_trace.queries.rollups import Of, Totals, by_name, history, values_of
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.store import Histogram, Reader


MOST = 100
"""Rows of a table; the others are left out, and the page says so."""
SORTS = ("calls", "errors", "rate", "p95", "cost", "tokens", "name")


class Usage(msgspec.Struct, frozen=True):
    """
    One model or tool.

    Attributes:
        trend: Calls per bucket.
        costs: Costs per bucket.
        failed: Errors per bucket.
    """

    name: str
    calls: int
    errors: int
    error_rate: float | None
    tok_in: int
    tok_out: int
    tok_cached: int
    cost_nano: int
    mean_us: int | None
    p50_us: int | None
    p95_us: int | None
    trend: list[int]
    costs: list[int]
    failed: list[int]


class Table(msgspec.Struct, frozen=True):
    """Models or tools, and how many there are."""

    rows: list[Usage]
    found: int
    whole: Totals


def usage(reader: Reader, of: Of, span: Span, sort: str = "-calls", text: str = "") -> Table:
    """
    Return the models or tools of a span of time.

    Args:
        reader: The database.
        of: Models (`llm`) or tools (`tool`), of all agents or of one.
        span: The span of time.
        sort: One of `SORTS`, with `-` for the largest first.
        text: Only names that contain it.
    """
    found = by_name(reader, of, span.from_us, span.to_us)
    wanted = text.casefold()
    found = {name: each for name, each in found.items() if wanted in name.casefold()}
    whole = Totals()
    for each in found.values():
        whole.add(each)
    names = sorted(found, key=lambda name: (-found[name].calls, name))[:MOST]
    latencies = latency_by_name(reader, of, span.from_us, span.to_us, names)
    course = history(reader, of, span)
    rows = [_row(name, found[name], latencies[name], course.get(name, {}), span) for name in names]
    return Table(_sorted(rows, sort), len(found), whole)


def _row(
    name: str, sums: Totals, latencies: Histogram, course: Mapping[int, Totals], span: Span
) -> Usage:
    return Usage(
        name=name,
        calls=sums.calls,
        errors=sums.errors,
        error_rate=sums.error_rate,
        tok_in=sums.tok_in,
        tok_out=sums.tok_out,
        tok_cached=sums.tok_cached,
        cost_nano=sums.cost_nano,
        mean_us=sums.mean_us,
        p50_us=latencies.quantile(0.5),
        p95_us=latencies.quantile(0.95),
        trend=values_of(course, span, "calls"),
        costs=values_of(course, span, "cost_nano"),
        failed=values_of(course, span, "errors"),
    )


_KEYS: dict[str, Callable[[Usage], Any]] = {
    "calls": lambda row: row.calls,
    "errors": lambda row: row.errors,
    "rate": lambda row: row.error_rate or 0,
    "p95": lambda row: row.p95_us or 0,
    "cost": lambda row: row.cost_nano,
    "tokens": lambda row: row.tok_in + row.tok_out,
    "name": lambda row: row.name.casefold(),
}


def _sorted(rows: Sequence[Usage], sort: str) -> list[Usage]:
    key = _KEYS.get(sort.removeprefix("-"), _KEYS["calls"])
    return sorted(rows, key=key, reverse=sort.startswith("-"))
