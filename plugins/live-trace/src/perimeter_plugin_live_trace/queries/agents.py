"""Agents: the list, and what is known of one."""

from __future__ import annotations

from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.findings import UNRESOLVED
from perimeter_plugin_live_trace.queries.latencies import latency_by_agent
from perimeter_plugin_live_trace.queries.names import AgentName, agent_name
from perimeter_plugin_live_trace.queries.rollups import (
    Of,
    Totals,
    by_agent,
    by_name,
    names_by_agent,
    series_by_agent,
)
from perimeter_plugin_live_trace.queries.spans import DAY, Span
from perimeter_plugin_live_trace.queries.usage import usage
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, FindingGroup, Rollup, Session


SORTS = ("last", "sessions", "calls", "errors", "cost", "name")
MOST_TOOLS = 500


class AgentRow(msgspec.Struct, frozen=True):
    """
    An agent in the list.

    Attributes:
        agent: What it is called.
        sessions: All that are kept.
        last_us: When it called last.
        calls: In the span of time, as are all figures that follow.
        findings: Undecided ones; None where nothing is tested.
        sev: The worst of them.
    """

    agent: AgentName
    workflow: str
    sessions: int
    last_us: int
    models: list[str]
    tools_used: int
    tools_offered: int
    calls: int
    errors: int
    error_rate: float | None
    p95_us: int | None
    cost_nano: int
    tok_in: int
    tok_out: int
    findings: int | None
    sev: int
    trend: list[int]


def agents_query(from_us: int, text: str = "") -> Any:
    """Return the query for the agents that called since a time; without order."""
    query = Agent.select(
        Agent.id, Agent.key, Agent.name, Agent.workflow, Agent.sessions, Agent.last_us,
        Agent.tools, Agent.calls, Agent.errors, Agent.cost_nano,
    ).where(Agent.last_us >= from_us)  # fmt: skip
    if text:
        query = query.where(Agent.name.contains(text) | Agent.key.contains(text))
    return query


SORT_COLUMNS: dict[str, Any] = {
    "last": Agent.last_us,
    "sessions": Agent.sessions,
    "calls": Agent.calls,
    "errors": Agent.errors,
    "cost": Agent.cost_nano,
    "name": Agent.name,
}


def agent_rows(reader: Reader, rows: list[Any], span: Span, *, tested: bool) -> list[AgentRow]:
    """Return agents with what they did in a span of time."""
    ids = [row.id for row in rows]
    start, end = span.from_us, span.to_us
    sums = by_agent(reader, Of("llm"), start, end)
    latencies = latency_by_agent(reader, Of("llm"), start, end, ids)
    models = names_by_agent(reader, Of("llm"), start, end)
    tools = names_by_agent(reader, Of("tool"), start, end)
    trends = series_by_agent(reader, Of("llm"), span)
    found = findings_by_agent(reader)
    return [
        _row(
            row,
            sums.get(row.id, Totals()),
            p95_us=latencies[row.id].quantile(0.95),
            models=models.get(row.id, []),
            tools_used=len(tools.get(row.id, [])),
            trend=trends.get(row.id, [0] * len(span.starts)),
            findings=found.get(row.id, (0, 0))[0] if tested or row.id in found else None,
            sev=found.get(row.id, (0, 0))[1],
        )
        for row in rows
    ]


def _row(row: Any, sums: Totals, **others: Any) -> AgentRow:
    return AgentRow(
        agent=agent_name(row.id, row.key, row.name),
        workflow=row.workflow,
        sessions=row.sessions,
        last_us=row.last_us,
        tools_offered=len(tool_names(row.tools)),
        calls=sums.calls,
        errors=sums.errors,
        error_rate=sums.error_rate,
        cost_nano=sums.cost_nano,
        tok_in=sums.tok_in,
        tok_out=sums.tok_out,
        **others,
    )


def tool_names(text: str) -> list[str]:
    """Return the names of the tools that were offered, from their column."""
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        return []


def findings_by_agent(reader: Reader) -> dict[int, tuple[int, int]]:
    """Return how many undecided findings agents have, and how bad the worst is."""
    group = FindingGroup
    query = (
        group.select(group.agent_id, fn.SUM(group.count), fn.MAX(group.sev))
        .where(group.state.in_(UNRESOLVED))
        .group_by(group.agent_id)
    )
    return {agent: (count, sev) for agent, count, sev in reader.rows(query)}


class ToolRow(msgspec.Struct, frozen=True):
    """
    A tool of an agent.

    Attributes:
        declared: Whether it was offered to the model.
        unused: Whether it was offered, and never used.
    """

    name: str
    declared: bool
    unused: bool
    calls: int
    errors: int
    error_rate: float | None
    p95_us: int | None
    trend: list[int]


def declared_tools(reader: Reader, agent: Any, span: Span) -> list[ToolRow]:
    """Return the tools that an agent was offered or used: used ones first, most used first."""
    used = {row.name: row for row in usage(reader, Of("tool", agent.id), span).rows}
    ever = by_name(reader, Of("tool", agent.id), agent.first_us // DAY * DAY, span.now_us)
    offered = tool_names(agent.tools)
    names = [*used, *(name for name in offered if name not in used)]
    rows = []
    for name in names[:MOST_TOOLS]:
        row = used.get(name)
        rows.append(
            ToolRow(
                name=name,
                declared=name in offered,
                unused=name not in ever,
                calls=row.calls if row else 0,
                errors=row.errors if row else 0,
                error_rate=row.error_rate if row else None,
                p95_us=row.p95_us if row else None,
                trend=row.trend if row else [0] * len(span.starts),
            )
        )
    return rows


class SessionRow(msgspec.Struct, frozen=True):
    """A session of the agent."""

    public_id: str
    title: str
    status: str
    last_us: int
    started_us: int
    turns: int
    tok_in: int
    tok_out: int
    cost_nano: int
    errors: int
    p95_us: int
    sev: int
    models: str


def sessions_query(agent: int, from_us: int) -> Any:
    """Return the query for an agent's sessions since a time; without order."""
    columns = [getattr(Session, name) for name in ("id", *SessionRow.__struct_fields__)]
    return Session.select(*columns).where(
        (Session.agent_id == agent) & (Session.last_us >= from_us)
    )


def models_used(reader: Reader, agent: int) -> list[str]:
    """Return the models that an agent ever used."""
    query = Rollup.select(Rollup.name).where(
        (Rollup.size == "d") & (Rollup.kind == "llm") & (Rollup.agent_id == agent)
    )
    return [row[0] for row in reader.rows(query.distinct().limit(50))]
