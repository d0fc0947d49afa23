"""Tools for findings and for the prompt cache."""

from __future__ import annotations

from typing import Any, Literal

from peewee import Tuple

from perimeter_plugin_live_trace.api import agents as api_agents
from perimeter_plugin_live_trace.api.limits import cursor, read_cursor
from perimeter_plugin_live_trace.api.risk import COMPLETE, NOT_TESTED
from perimeter_plugin_live_trace.api.sessions import dollars, find
from perimeter_plugin_live_trace.cache import dearest, report
from perimeter_plugin_live_trace.mcp.arguments import (
    After,
    AgentId,
    Days,
    Limit,
    WorkflowId,
    days_us,
    plain,
)
from perimeter_plugin_live_trace.mcp.tool import Arguments, Here, Tool
from perimeter_plugin_live_trace.queries.coverage import coverage
from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.store import models
from perimeter_plugin_live_trace.web.formats import SEVERITIES, iso


Severity = Literal["", "low", "medium", "high", "critical"]
State = Literal["", "open", "acknowledged", "fixed", "ignored", "muted", "regressed"]
_NOT_TESTED = (
    "No detector looks at the traffic, so an empty list says nothing. The security plugin brings"
    " detectors."
)


class GetFindings(Arguments):
    """Which findings."""

    agent_workflow_id: WorkflowId = ""
    agent_id: AgentId = ""
    session_id: str = ""
    severity: Severity = ""
    status: State = ""
    limit: Limit = 50
    after: After = ""


def get_findings(here: Here, given: GetFindings) -> dict[str, Any]:
    """Return findings, newest first."""
    table, group = models.Finding, models.FindingGroup
    query = (
        table.select(
            table.id, table.rule, table.owasp, table.sev, table.title, table.detector,
            table.confidence, table.created_us, table.event_id, table.agent_id, table.session_id,
            group.state, group.note,
        )
        .join(group, on=(group.id == table.group_id))
        .where(_condition(here, given))
    )  # fmt: skip
    if given.after:
        before = Tuple(*read_cursor(given.after, 2))
        query = query.where(Tuple(table.created_us, table.id) < before)
    query = query.order_by(table.created_us.desc(), table.id.desc()).limit(given.limit + 1)
    rows = here.reader.rows(query)
    shown = rows[: given.limit]
    last = shown[-1] if len(rows) > len(shown) else None
    tested = coverage(here.reader).tested
    return {
        "evaluation_status": COMPLETE if tested else NOT_TESTED,
        **({} if tested else {"note": _NOT_TESTED}),
        "findings": _findings(here, shown),
        "next": cursor(last.created_us, last.id) if last is not None else None,
    }


def _condition(here: Here, given: GetFindings) -> Any:
    table, group = models.Finding, models.FindingGroup
    condition = table.id > 0
    if given.session_id:
        condition &= table.session_id == find(here.reader, given.session_id).id
    if given.agent_id:
        condition &= table.agent_id == api_agents.find(here.reader, given.agent_id).id
    if given.agent_workflow_id:
        workflow, agents = given.agent_workflow_id, models.Agent
        workflow = "" if workflow == api_agents.UNASSIGNED else workflow
        condition &= table.agent_id.in_(agents.select(agents.id).where(agents.workflow == workflow))
    if given.severity:
        condition &= table.sev == SEVERITIES.index(given.severity)
    return condition & (group.state == given.status) if given.status else condition


def _findings(here: Here, rows: list[Any]) -> list[dict[str, Any]]:
    names = agent_names(here.reader, [row.agent_id for row in rows])
    table = models.Session
    ids = {row.session_id for row in rows if row.session_id}
    query = table.select(table.id, table.public_id).where(table.id.in_(list(ids)))
    sessions = dict(here.reader.rows(query)) if ids else {}
    return [
        {
            "id": row.id,
            "rule": row.rule,
            "title": row.title,
            "severity": SEVERITIES[row.sev] if row.sev in range(5) else str(row.sev),
            "owasp": row.owasp or None,
            "status": row.state,
            "note": row.note or None,
            "detector": row.detector,
            "confidence": row.confidence,
            "found_at": iso(row.created_us),
            "agent_id": names[row.agent_id or 0].key or None,
            "session_id": sessions.get(row.session_id),
            "event_id": row.event_id,
        }
        for row in rows
    ]


class GetPromptCacheReport(Arguments):
    """Of one session, or of those that lost most."""

    session_id: str = ""
    agent_id: AgentId = ""
    days: Days = 7
    limit: Limit = 20
    after: After = ""


def get_prompt_cache_report(here: Here, given: GetPromptCacheReport) -> dict[str, Any]:
    """Return what prompt caches saved, and where they broke."""
    return _of_session(here, given) if given.session_id else _dearest(here, given)


def _of_session(here: Here, given: GetPromptCacheReport) -> dict[str, Any]:
    session = find(here.reader, given.session_id)
    start = read_cursor(given.after, 1)[0] if given.after else 0
    found = report(here.reader, session.id, start=start, limit=given.limit)
    last = found.steps[-1].number if found.steps else start
    return {
        "session_id": session.public_id,
        "total": _sums(found.sums),
        "notes": found.notes,
        "calls": [_step(step) for step in found.steps],
        "next": cursor(last) if len(found.steps) == given.limit and last < session.turns else None,
    }


def _step(step: Any) -> dict[str, Any]:
    told: dict[str, Any] = plain(step)
    told["at"] = iso(told.pop("at_us"))
    told["gap_ms"] = told.pop("gap_us") / 1000
    lost = told.pop("lost_nano")
    told["lost_usd"] = None if lost is None else dollars(lost)
    return {name: value for name, value in told.items() if value is not None}


def _sums(sums: Any) -> dict[str, Any]:
    told: dict[str, Any] = plain(sums)
    told["lost_usd"] = dollars(told.pop("lost_nano"))
    told["cached_share"] = sums.share
    return told


def _dearest(here: Here, given: GetPromptCacheReport) -> dict[str, Any]:
    start, end = days_us(given.days, here.now_us)
    agent = api_agents.find(here.reader, given.agent_id).id if given.agent_id else None
    rows = dearest(here.reader, start, end, agent=agent, limit=given.limit)
    return {
        "days": given.days,
        "note": "Of the sessions with the most input that was not cached, those that lost most.",
        "sessions": [
            {
                "session_id": row.public_id,
                "title": row.title,
                "agent_id": row.agent or None,
                "models": row.models,
                "last_activity": iso(row.last_us),
                **_sums(row.sums),
            }
            for row in rows
        ],
    }


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "get_findings",
        "Findings",
        "What security detectors found, newest first, by workflow, agent, session, severity and"
        " status. Says NOT_TESTED while no detector runs.",
        GetFindings,
        get_findings,
    ),
    Tool(
        "get_prompt_cache_report",
        "Prompt caching",
        "With session_id: for each call whether its prompt came from the provider's cache, why not,"
        " which message broke it, and what that cost. Without: the sessions that lost most money.",
        GetPromptCacheReport,
        get_prompt_cache_report,
    ),
)
