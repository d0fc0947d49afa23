"""
What needs attention: the few things somebody should look at now, the most urgent first.

Each source is one bounded query, however large the database is: rollups, the open groups of
findings, the newest tool executions, the dearest sessions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.queries.rollups import Of, by_agent, by_name, total
from perimeter_plugin_live_trace.queries.spans import HOUR, MINUTE, Span
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Event, FindingGroup, Session


MOST = 8
LOOP = 5
"""Times that a tool is called with the same arguments in a session before it looks like a loop."""
STALLED_US = 10 * MINUTE
"""How long nothing has happened in a session of which a call is still under way."""
OUTLIER = 8
"""How many times the mean cost a session must cost to be one."""

_NEWEST_TOOLS = 1000
_BURST_ERRORS = 5
_BURST_SHARE = 0.2
_LEAST_COST = 10_000_000
"""A cent, in billionths of a dollar: what costs less is no outlier worth a look."""
_EACH = 20
"""How many things of one kind are looked at."""


class Item(msgspec.Struct, frozen=True):
    """
    Something that needs attention.

    Attributes:
        kind: `finding`, `errors`, `loop`, `stalled`, `cost` or `health`.
        sev: How bad it is, 1 to 4.
        title: What it is.
        detail: What is known of it, in a line.
        path: The page to look at.
        params: The parameters of that page.
        at_us: When it happened last.
        count: How often.
        rank: The larger, the more urgent.
    """

    kind: str
    sev: int
    title: str
    detail: str
    path: str
    params: dict[str, str]
    at_us: int
    count: int
    rank: float


def attention(reader: Reader, span: Span, faults: list[Item] | None = None) -> list[Item]:
    """
    Return what needs attention in a span of time, the most urgent first.

    Args:
        reader: The database.
        span: Only what happened in it counts.
        faults: What else is wrong, such as plugins that fail.
    """
    items = [*(faults or []), *_findings(reader, span), *_bursts(reader, span)]
    items += [*_loops(reader, span), *_stalled(reader, span), *_dear(reader, span)]
    return sorted(items, key=lambda item: -item.rank)[:MOST]


def make(kind: str, sev: int, title: str, detail: str, **other: Any) -> Item:
    """Return an item with its rank: severity first, then how new it is and how often it was."""
    age_h = max(0, other.pop("now_us") - other["at_us"]) / HOUR
    count = other.setdefault("count", 1)
    rank = sev**2 * (1 + 0.5 / (1 + age_h)) * (1 + min(2, math.log10(max(1, count))) / 8)
    return Item(kind, sev, title, detail, rank=round(rank, 4), **{"params": {}, **other})


def _findings(reader: Reader, span: Span) -> Iterator[Item]:
    group = FindingGroup
    query = (
        group.select(group.id, group.title, group.rule, group.sev, group.count, group.sessions,
                     group.last_us, group.agent_id, group.state)
        .where(group.state.in_(("open", "regressed")) & (group.sev >= 2))
        .where(group.last_us >= span.from_us)
        .order_by(group.sev.desc(), group.last_us.desc())
        .limit(_EACH)
    )  # fmt: skip
    rows = reader.rows(query)
    names = agent_names(reader, [row.agent_id for row in rows])
    for row in rows:
        again = "came back after it was fixed · " if row.state == "regressed" else ""
        detail = f"{again}{names[row.agent_id].name} · {_many(row.count, 'finding')}"
        yield make(
            "finding",
            row.sev,
            row.title or row.rule,
            f"{detail} in {_many(row.sessions, 'session')}",
            path="/findings/{id}",
            params={"id": str(row.id)},
            at_us=row.last_us,
            count=row.count,
            now_us=span.now_us,
        )


def _bursts(reader: Reader, span: Span) -> Iterator[Item]:
    """Yield agents and tools that failed often in the last hour of the span."""
    end = min(span.to_us, span.now_us)
    start = max(span.from_us, end - HOUR)
    agents = by_agent(reader, Of("llm"), start, end)
    names = agent_names(reader, agents)
    calls = {names[key].name: (names[key].key, each) for key, each in agents.items()}
    tools = {name: ("", each) for name, each in by_name(reader, Of("tool"), start, end).items()}
    for what, found in (("calls", calls), ("uses", tools)):
        for name, (key, each) in found.items():
            share = each.error_rate or 0
            if each.errors < _BURST_ERRORS or share < _BURST_SHARE:
                continue
            title = f"{name}: {each.errors:,} of {each.calls:,} {what} failed"
            yield make(
                "errors",
                3 if share >= 0.5 else 2,
                title,
                f"{share:.0%} in the last hour",
                path="/sessions",
                params={"agent": key, "q": "errors:>0"} if key else {"q": f'tool:"{name}"'},
                at_us=end,
                count=each.errors,
                now_us=span.now_us,
            )


def _loops(reader: Reader, span: Span) -> Iterator[Item]:
    """
    Yield sessions that called a tool with the same arguments over and over.

    Previews are cut, so that long arguments count as the same only when their sizes are, too.
    """
    newest = (
        Event.select(Event.session_id, Event.name, Event.preview, Event.size, Event.ts_us)
        .where(Event.kind == "tool.execution")
        .order_by(Event.id.desc())
        .limit(_NEWEST_TOOLS)
        .alias("newest")
    )
    column, times = newest.c, fn.COUNT(1)
    query = (
        newest.select_from(
            column.session_id, column.name, column.preview, times, fn.MAX(column.ts_us)
        )
        .where((column.ts_us >= span.from_us) & (column.ts_us < span.to_us))
        .group_by(column.session_id, column.name, column.preview, column.size)
        .having(times >= LOOP)
        .order_by(times.desc())
        .limit(_EACH)
    )
    rows = reader.rows(query)
    sessions = _titles(reader, {row[0] for row in rows})
    for session, tool, preview, count, at in rows:
        if session not in sessions:
            continue
        public, title = sessions[session]
        yield make(
            "loop",
            3 if count >= 4 * LOOP else 2,
            f"{tool} called {count:,} times with the same arguments",
            f"{title} · {preview}",
            path="/sessions/{id}",
            params={"id": public},
            at_us=at,
            count=count,
            now_us=span.now_us,
        )


def _titles(reader: Reader, ids: set[int | None]) -> dict[int, tuple[str, str]]:
    query = Session.select(Session.id, Session.public_id, Session.title)
    rows = reader.rows(query.where(Session.id.in_([each for each in ids if each])))
    return {row.id: (row.public_id, row.title or row.public_id) for row in rows}


def _stalled(reader: Reader, span: Span) -> Iterator[Item]:
    query = (
        Session.select(Session.public_id, Session.title, Session.last_us, Session.running)
        .where((Session.status == "active") & (Session.running > 0))
        .where(Session.last_us.between(span.from_us, span.now_us - STALLED_US))
        .order_by(Session.last_us.desc())
        .limit(_EACH)
    )
    for row in reader.rows(query):
        minutes = (span.now_us - row.last_us) // MINUTE
        yield make(
            "stalled",
            2,
            "A call has not ended",
            f"{row.title or row.public_id} · nothing for {minutes:,} min",
            path="/sessions/{id}",
            params={"id": row.public_id},
            at_us=row.last_us,
            count=row.running,
            now_us=span.now_us,
        )


def _dear(reader: Reader, span: Span) -> Iterator[Item]:
    """Yield sessions that cost many times what sessions of the span cost on average."""
    inside = (Session.last_us >= span.from_us) & (Session.last_us < span.to_us)
    dearest = (
        Session.select(Session.public_id, Session.title, Session.last_us, Session.cost_nano)
        .where(Session.cost_nano > _LEAST_COST)
        .order_by(Session.cost_nano.desc(), Session.id.desc())
        .limit(_EACH)
    )
    rows = [row for row in reader.rows(dearest) if span.from_us <= row.last_us < span.to_us]
    if not rows:
        return
    many = reader.value(Session.select(fn.COUNT(Session.id)).where(inside), 0) or 1
    mean = max(1.0, total(reader, Of("llm"), span.from_us, span.to_us).cost_nano / many)
    for row in rows:
        if row.cost_nano < OUTLIER * mean:
            continue
        yield make(
            "cost",
            2 if row.cost_nano >= 3 * OUTLIER * mean else 1,
            f"A session cost ${row.cost_nano / 1e9:,.2f}",
            f"{row.title or row.public_id} · {row.cost_nano / mean:,.0f} times the average",
            path="/sessions/{id}",
            params={"id": row.public_id},
            at_us=row.last_us,
            now_us=span.now_us,
        )


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
