"""What an agent did, in numbers: its sessions, models, tools and days."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from peewee import Case, fn

from perimeter_plugin_live_trace.api.agent_shapes import (
    Analytics,
    Day,
    ModelUsage,
    Patterns,
    TokenSummary,
    ToolDay,
    ToolUsage,
)
from perimeter_plugin_live_trace.api.sessions import dollars
from perimeter_plugin_live_trace.queries.latencies import latency_by_name
from perimeter_plugin_live_trace.queries.rollups import Of, Totals, series
from perimeter_plugin_live_trace.queries.spans import DAY, Span
from perimeter_plugin_live_trace.store import Histogram, Reader, models


_NEWEST = 1000
"""Sessions that patterns are made of."""
_DAYS = 90
_MOST = 100
"""Models and tools of an agent."""
_MINUTE_US = 60_000_000


def whole(totals: Mapping[str, Totals]) -> Totals:
    """Return what all totals add up to."""
    sums = Totals()
    for each in totals.values():
        sums.add(each)
    return sums


def patterns(reader: Reader, agent_id: int) -> Patterns:
    """Return what the newest sessions of an agent are like."""
    table = models.Session
    newest = (
        table.select(
            table.public_id, table.started_us, table.last_us, table.turns, table.tools, table.errors
        )
        .where(table.agent_id == agent_id)
        .order_by(table.last_us.desc(), table.id.desc())
        .limit(_NEWEST)
    ).alias("newest")
    column = newest.c
    span = column.last_us - column.started_us
    query = newest.select_from(
        fn.COUNT(column.public_id),
        fn.AVG(span),
        fn.MAX(span),
        fn.AVG(column.turns),
        fn.MAX(column.turns),
        fn.AVG(column.tools),
        fn.SUM(Case(None, [(column.tools > 0, 1)], 0)),
        fn.SUM(Case(None, [(column.errors > 0, 1)], 0)),
    )
    count, mean, longest, turns, most, tools, with_tools, failed = reader.rows(query)[0]
    busiest = newest.select_from(column.public_id, column.tools).order_by(column.tools.desc())
    best = reader.one(busiest.limit(1))
    return Patterns(
        sessions_looked_at=count,
        avg_session_duration_minutes=mean / _MINUTE_US if mean is not None else None,
        max_session_duration_minutes=longest / _MINUTE_US if longest is not None else None,
        avg_messages_per_session=turns,
        max_messages_per_session=most,
        avg_tools_per_session=tools,
        tool_usage_rate=with_tools / count * 100 if count else None,
        sessions_with_errors=failed or 0,
        most_productive_session=best.public_id if best and best.tools else None,
    )


def analytics(
    reader: Reader,
    row: Any,
    calls: Mapping[str, Totals],
    tools: Mapping[str, Totals],
    now_us: int,
) -> Analytics:
    """Return everything that is kept of an agent, added up."""
    sums = whole(calls)
    last = (max(now_us, row.last_us) // DAY + 1) * DAY
    span = Span(last - _DAYS * DAY, last, DAY, "d", now_us)
    return Analytics(
        token_summary=TokenSummary(
            total=sums.tok_in + sums.tok_out,
            input=sums.tok_in,
            output=sums.tok_out,
            cached=sums.tok_cached,
            total_cost=dollars(sums.cost_nano),
            models_used=len(calls),
            pricing_last_updated=reader.known.prices.as_of,
        ),
        models=model_usage(reader, Of("llm", row.id), calls, row.first_us, last),
        tools=tool_usage(reader, Of("tool", row.id), tools, row.first_us, last),
        timeline=_days(span, series(reader, Of("llm", row.id), span)),
        tool_timeline=_tool_days(span, series(reader, Of("tool", row.id), span)),
    )


def model_usage(
    reader: Reader, of: Of, totals: Mapping[str, Totals], start: int, end: int
) -> list[ModelUsage]:
    """Return models, most used first."""
    names = sorted(totals, key=lambda name: (-totals[name].calls, name))[:_MOST]
    latencies = latency_by_name(reader, of, start, end, names)
    return [_model(name, totals[name], latencies[name]) for name in names]


def _model(name: str, sums: Totals, latencies: Histogram) -> ModelUsage:
    return ModelUsage(
        model=name,
        requests=sums.calls,
        input_tokens=sums.tok_in,
        output_tokens=sums.tok_out,
        total_tokens=sums.tok_in + sums.tok_out,
        cached_tokens=sums.tok_cached,
        avg_response_time_ms=sums.lat_us / sums.calls / 1000 if sums.calls else None,
        p95_response_time_ms=_ms(latencies.quantile(0.95)),
        errors=sums.errors,
        cost=dollars(sums.cost_nano),
    )


def tool_usage(
    reader: Reader, of: Of, totals: Mapping[str, Totals], start: int, end: int
) -> list[ToolUsage]:
    """Return tools, most used first."""
    names = sorted(totals, key=lambda name: (-totals[name].calls, name))[:_MOST]
    latencies = latency_by_name(reader, of, start, end, names)
    return [_tool(name, totals[name], latencies[name]) for name in names]


def _tool(name: str, sums: Totals, latencies: Histogram) -> ToolUsage:
    ended = len(latencies)  # a tool that never came back has no time
    return ToolUsage(
        tool=name,
        executions=sums.calls,
        avg_duration_ms=sums.lat_us / ended / 1000 if ended else None,
        max_duration_ms=_ms(latencies.quantile(1.0)),
        failures=sums.errors,
        successes=max(sums.calls - sums.errors, 0),
        failure_rate=sums.errors / sums.calls if sums.calls else None,
    )


def _ms(us: int | None) -> float | None:
    return None if us is None else us / 1000


def _date(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d")


def _days(span: Span, totals: list[Totals]) -> list[Day]:
    return [
        Day(
            date=_date(at),
            requests=each.calls,
            errors=each.errors,
            tokens=each.tok_in + each.tok_out,
            input_tokens=each.tok_in,
            output_tokens=each.tok_out,
            cost=dollars(each.cost_nano),
        )
        for at, each in zip(span.starts, totals, strict=True)
        if each.calls
    ]


def _tool_days(span: Span, totals: list[Totals]) -> list[ToolDay]:
    return [
        ToolDay(date=_date(at), executions=each.calls, failures=each.errors)
        for at, each in zip(span.starts, totals, strict=True)
        if each.calls or each.errors
    ]
