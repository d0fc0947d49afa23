"""Figures of the overview: how much, how well and how dear, in a span of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.latencies import latency, latency_series
from perimeter_plugin_live_trace.queries.names import AgentName, agent_names
from perimeter_plugin_live_trace.queries.rollups import (
    Of,
    Totals,
    by_agent,
    by_name,
    first_day,
    history,
    summed,
    top,
    total,
    values_of,
)
from perimeter_plugin_live_trace.queries.spans import DAY, MINUTE, Span, span_of
from perimeter_plugin_live_trace.store import Histogram, Reader
from perimeter_plugin_live_trace.store.models import Event, FindingGroup, Session


ACTIVE_US = 5 * MINUTE
"""How long ago something must have happened in a session for it to count as active."""
COUNTED = 10_000
"""More sessions than that are not counted."""


class Figures(msgspec.Struct, frozen=True):
    """The figures of a span of time."""

    calls: int
    errors: int
    error_rate: float | None
    calls_per_min: float
    p50_us: int | None
    p95_us: int | None
    cost_nano: int
    tok_in: int
    tok_out: int
    tok_cached: int


class Now(msgspec.Struct, frozen=True):
    """How things are now."""

    active: int
    critical: int
    high: int


class Bucket(msgspec.Struct, frozen=True):
    """One bucket of the charts."""

    at_us: int
    calls: int
    errors: int
    tok_in: int
    tok_out: int
    tok_cached: int
    cost_nano: int
    p50_us: int | None
    p95_us: int | None


class AgentRow(msgspec.Struct, frozen=True):
    """An agent with what it did."""

    agent: AgentName
    calls: int
    errors: int
    error_rate: float | None
    cost_nano: int


class NameRow(msgspec.Struct, frozen=True):
    """A model or a tool with what it did."""

    name: str
    calls: int
    errors: int
    error_rate: float | None
    cost_nano: int


class EventRow(msgspec.Struct, frozen=True):
    """One of the newest events."""

    id: int
    session: str
    seq: int
    ts_us: int
    kind: str
    name: str
    preview: str
    status: str
    agent: str


def span_for(reader: Reader, from_us: int, to_us: int, now_us: int) -> Span:
    """Return the buckets for a range; one from 0 on begins with the first rollup."""
    if from_us > 0:
        return span_of(from_us, to_us, now_us)
    first = max(first_day(reader), to_us - 5 * 364 * DAY, 0) or to_us - DAY
    span = span_of(first, to_us, now_us)
    missing = max(0, span.from_us - first)
    whole = span.from_us - -(-missing // span.step_us) * span.step_us
    return msgspec.structs.replace(span, from_us=whole)


def now(reader: Reader, now_us: int, agent: int | None = None) -> Now:
    """Return how many sessions are active, and how many bad findings are open."""
    live = Session.last_us >= now_us - ACTIVE_US
    live = live if agent is None else live & (Session.agent_id == agent)
    some = Session.select(Session.id).where(live).limit(COUNTED).alias("some")
    group = FindingGroup
    query = group.select(group.sev, fn.COUNT(group.id)).where(
        group.state.in_(("open", "regressed")) & (group.sev >= 3)
    )
    query = query if agent is None else query.where(group.agent_id == agent)
    worst = dict(reader.rows(query.group_by(group.sev)))
    active = reader.value(some.select_from(fn.COUNT(1)), 0)
    return Now(active, worst.get(4, 0), worst.get(3, 0))


def figures(reader: Reader, start: int, end: int, agent: int | None = None) -> Figures:
    """Return the figures of a span of time."""
    of = Of("llm", agent)
    return _figures(total(reader, of, start, end), latency(reader, of, start, end), end - start)


def _figures(sums: Totals, latencies: Histogram, length_us: int) -> Figures:
    return Figures(
        calls=sums.calls,
        errors=sums.errors,
        error_rate=sums.error_rate,
        calls_per_min=sums.calls / max(1.0, length_us / MINUTE),
        p50_us=latencies.quantile(0.5),
        p95_us=latencies.quantile(0.95),
        cost_nano=sums.cost_nano,
        tok_in=sums.tok_in,
        tok_out=sums.tok_out,
        tok_cached=sums.tok_cached,
    )


class Course(msgspec.Struct, frozen=True):
    """
    How a span of time went.

    Attributes:
        buckets: Bucket by bucket.
        figures: What they add up to.
        costs: What the four dearest models cost in each bucket, and the others together.
        models: What each model did in all of it.
    """

    buckets: list[Bucket]
    figures: Figures
    costs: dict[str, list[int]]
    models: dict[str, Totals]


def course(reader: Reader, span: Span, of: Of) -> Course:
    """Return how a span of time went."""
    models = history(reader, of, span)
    sums, latencies = summed(models.values(), span), latency_series(reader, of, span)
    whole, all_latencies = Totals(), Histogram()
    for each, spent in zip(sums, latencies, strict=True):
        whole.add(each)
        all_latencies.merge(spent)
    rows = [_bucket(*row) for row in zip(span.starts, sums, latencies, strict=True)]
    costs = {name: values_of(row, span, "cost_nano") for name, row in models.items()}
    totals = {name: _whole(row.values()) for name, row in models.items()}
    figures_ = _figures(whole, all_latencies, span.seen_us)
    return Course(rows, figures_, _first_four(costs), totals)


def _whole(parts: Iterable[Totals]) -> Totals:
    whole = Totals()
    for part in parts:
        whole.add(part)
    return whole


def _bucket(at_us: int, sums: Totals, latencies: Histogram) -> Bucket:
    return Bucket(
        at_us=at_us,
        calls=sums.calls,
        errors=sums.errors,
        tok_in=sums.tok_in,
        tok_out=sums.tok_out,
        tok_cached=sums.tok_cached,
        cost_nano=sums.cost_nano,
        p50_us=latencies.quantile(0.5),
        p95_us=latencies.quantile(0.95),
    )


def _first_four(costs: dict[str, list[int]]) -> dict[str, list[int]]:
    found = {name: values for name, values in costs.items() if any(values)}
    first = sorted(found, key=lambda name: (-sum(found[name]), name))
    result = {name: found[name] for name in first[:4]}
    if first[4:]:
        rest = [found[name] for name in first[4:]]
        result["other"] = [sum(values) for values in zip(*rest, strict=True)]
    return result


def dearest_agents(reader: Reader, span: Span, most: int = 5) -> list[AgentRow]:
    """Return the agents that cost most."""
    found = by_agent(reader, Of("llm"), span.from_us, span.to_us)
    first = sorted(found, key=lambda key: (-found[key].cost_nano, -found[key].calls, key))[:most]
    names = agent_names(reader, first)
    return [AgentRow(names[key], *_of_row(found[key])) for key in first]


def worst_tools(reader: Reader, span: Span, most: int = 5) -> list[NameRow]:
    """Return the tools that fail most often; of equal ones those used most."""
    found = by_name(reader, Of("tool"), span.from_us, span.to_us)
    first = sorted(found, key=lambda name: (-(found[name].error_rate or 0), -found[name].calls))
    return [NameRow(name, *_of_row(found[name])) for name in first[:most]]


def dearest_models(found: Mapping[str, Totals], most: int = 5) -> list[NameRow]:
    """Return the models that cost most."""
    return [NameRow(name, *_of_row(found[name])) for name in top(found, "cost_nano", most)]


def _of_row(sums: Totals) -> tuple[Any, ...]:
    return sums.calls, sums.errors, sums.error_rate, sums.cost_nano


def latest_events(reader: Reader, most: int = 10) -> list[EventRow]:
    """Return the newest events, of all agents."""
    query = Event.select(
        Event.id, Event.session_id, Event.seq, Event.ts_us, Event.kind, Event.name, Event.preview,
        Event.status, Event.agent_id,
    ).order_by(Event.id.desc()).limit(most)  # fmt: skip
    rows = reader.rows(query)
    ids = {row.session_id for row in rows if row.session_id}
    sessions = dict(
        reader.rows(Session.select(Session.id, Session.public_id).where(Session.id.in_(list(ids))))
    )
    names = agent_names(reader, [row.agent_id for row in rows])
    return [
        EventRow(
            id=row.id,
            session=sessions.get(row.session_id, ""),
            seq=row.seq,
            ts_us=row.ts_us,
            kind=row.kind,
            name=row.name,
            preview=row.preview,
            status=row.status,
            agent=names[row.agent_id or 0].name if row.agent_id else "",
        )
        for row in rows
    ]


def is_empty(reader: Reader) -> bool:
    """Whether nothing has been recorded yet."""
    return reader.one(Session.select(Session.id).limit(1)) is None
