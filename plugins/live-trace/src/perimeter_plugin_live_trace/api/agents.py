"""Agents as the API tells of them: in the dashboard's list, and one with its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import Tuple, fn

from perimeter_plugin_live_trace.api.agent_shapes import (
    Agent,
    AgentDetail,
    AgentSummary,
    AnalysisSummary,
    Behaviour,
    Dashboard,
)
from perimeter_plugin_live_trace.api.limits import cursor, read_cursor
from perimeter_plugin_live_trace.api.risk import risk_of_agent
from perimeter_plugin_live_trace.api.sessions import dollars, sessions_page, summaries
from perimeter_plugin_live_trace.api.usage import analytics, patterns, whole
from perimeter_plugin_live_trace.queries.agents import findings_by_agent, tool_names
from perimeter_plugin_live_trace.queries.coverage import coverage
from perimeter_plugin_live_trace.queries.rollups import (
    Of,
    Totals,
    by_agent,
    by_name,
    names_by_agent,
)
from perimeter_plugin_live_trace.queries.spans import DAY
from perimeter_plugin_live_trace.store import Reader, models
from perimeter_plugin_live_trace.web.formats import ago, iso
from perimeter_plugin_live_trace.web.page import NotFound


UNASSIGNED = "unassigned"
"""The workflow of agents that have none."""
_REFRESH = 2
_MOST = 100
"""Tools that are listed with their numbers."""


def find(reader: Reader, key: str) -> Any:
    """
    Return the row of an agent.

    Raises:
        NotFound: There is none.
    """
    row = reader.one(models.Agent.select().where(models.Agent.key == key))
    if row is None:
        raise NotFound(f"there is no agent {key[:100]}")
    return row


def agents_page(
    reader: Reader, workflow: str | None, limit: int, after: str | None
) -> tuple[list[Any], str | None]:
    """Return rows of agents, newest activity first, and the cursor of the next page."""
    table = models.Agent
    query = table.select()
    if workflow:
        query = query.where(table.workflow == ("" if workflow == UNASSIGNED else workflow))
    if after:
        query = query.where(Tuple(table.last_us, table.id) < Tuple(*read_cursor(after, 2)))
    rows = reader.rows(query.order_by(table.last_us.desc(), table.id.desc()).limit(limit + 1))
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], cursor(more.last_us, more.id) if more else None


def dashboard(
    reader: Reader, workflow: str | None, limit: int, after: str | None, now_us: int
) -> Dashboard:
    """Return a page of agents, and what is the newest."""
    rows, following = agents_page(reader, workflow, limit, after)
    table = models.Agent
    counted = table.select(fn.COALESCE(fn.SUM(table.sessions), 0))
    condition = None
    if workflow:
        name = "" if workflow == UNASSIGNED else workflow
        counted = counted.where(table.workflow == name)
        condition = models.Session.workflow == name
    newest, _ = sessions_page(reader, condition, 1, None)
    return Dashboard(
        agents=agent_summaries(reader, rows, now_us),
        sessions_count=reader.value(counted, 0),
        latest_session=next(iter(summaries(reader, newest)), None),
        agent_workflow_id=workflow,
        last_updated=iso(now_us),
        refresh_interval=_REFRESH,
        next=following,
    )


def agent_summaries(reader: Reader, rows: list[Any], now_us: int) -> list[AgentSummary]:
    """Return agents as they stand in lists."""
    if not rows:
        return []
    start = min(row.first_us for row in rows)
    calls = by_agent(reader, Of("llm"), start, now_us + DAY)
    tools = by_agent(reader, Of("tool"), start, now_us + DAY)
    used = names_by_agent(reader, Of("tool"), start, now_us + DAY)
    active = _active(reader)
    tested = coverage(reader).tested
    found = findings_by_agent(reader) if tested else {}
    return [
        AgentSummary(
            **_common(row, active.get(row.id, 0), calls.get(row.id), tools.get(row.id)),
            id_short=row.key[:12],
            last_seen_relative=ago(row.last_us, now_us),
            unique_tools=len(used.get(row.id, ())),
            **_risk(row, found.get(row.id, (0, 0)), tested=tested, active=active.get(row.id, 0)),
        )
        for row in rows
    ]


def _common(row: Any, active: int, calls: Totals | None, tools: Totals | None) -> dict[str, Any]:
    """Return what both the list and the detail say of an agent."""
    return {
        "id": row.key,
        "display_name": row.name or row.key,
        "agent_workflow_id": row.workflow or None,
        "first_seen": iso(row.first_us),
        "last_seen": iso(row.last_us),
        "total_sessions": row.sessions,
        "active_sessions": min(active, row.sessions),
        "completed_sessions": max(row.sessions - active, 0),
        "total_messages": row.calls,
        "total_tokens": row.tok_in + row.tok_out,
        "total_tools": tools.calls if tools else 0,
        "total_errors": row.errors,
        "total_cost_usd": dollars(row.cost_nano),
        "avg_response_time_ms": calls.lat_us / calls.calls / 1000
        if calls and calls.calls
        else None,
    }


def _risk(row: Any, found: tuple[int, int], *, tested: bool, active: int) -> dict[str, Any]:
    count, worst = found
    completed = max(row.sessions - active, 0)
    return {
        "risk_status": ("warning" if worst >= 3 else "ok") if tested else None,
        "current_sessions": completed,
        "min_sessions_required": 1,
        "analysis_summary": AnalysisSummary(
            failed_checks=count if tested else None,
            warnings=0 if tested else None,
            behavioral=Behaviour(),
            action_required=worst >= 3,
            completed_sessions=completed,
            total_sessions=row.sessions,
        ),
    }


def _active(reader: Reader) -> dict[int, int]:
    """Return how many sessions of each agent have not ended."""
    table = models.Session
    query = table.select(table.agent_id, fn.COUNT(table.id)).where(table.status == "active")
    return dict(reader.rows(query.group_by(table.agent_id)))


def agent_detail(
    reader: Reader, key: str, limit: int, after: str | None, now_us: int
) -> AgentDetail:
    """
    Return an agent with its numbers and a page of its sessions.

    Raises:
        NotFound: There is no such agent.
        BadCursor: `after` is none of ours.
    """
    row = find(reader, key)
    rows, following = sessions_page(reader, models.Session.agent_id == row.id, limit, after)
    end = max(now_us, row.last_us) + DAY
    calls = by_name(reader, Of("llm", row.id), row.first_us, end)
    tools = by_name(reader, Of("tool", row.id), row.first_us, end)
    return AgentDetail(
        agent=_agent(row, _active(reader).get(row.id, 0), calls, tools),
        patterns=patterns(reader, row.id),
        analytics=analytics(reader, row, calls, tools, now_us),
        risk_analysis=risk_of_agent(reader, row.id),
        sessions=summaries(reader, rows),
        last_updated=iso(now_us),
        next=following,
    )


def _agent(
    row: Any, active: int, calls: Mapping[str, Totals], tools: Mapping[str, Totals]
) -> Agent:
    offered = tool_names(row.tools)
    used = sorted(name for name, each in tools.items() if each.calls)
    known = set(offered)
    share = len(known.intersection(used)) / len(known) * 100 if known else None
    return Agent(
        **_common(row, active, whole(calls), whole(tools)),
        avg_messages_per_session=row.calls / row.sessions if row.sessions else None,
        error_rate=row.errors / row.calls if row.calls else None,
        tool_usage_details={name: tools[name].calls for name in used[:_MOST]},
        available_tools=offered[:500],
        used_tools=used[:500],
        tools_utilization_percent=share,
    )
