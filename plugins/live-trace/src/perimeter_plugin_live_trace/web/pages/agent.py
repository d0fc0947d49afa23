"""One agent: its figures, sessions, findings, tools and prompts."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries import agents as ask_agents
from perimeter_plugin_live_trace.queries import findings as ask_findings
from perimeter_plugin_live_trace.queries import prompts
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.names import AgentName, agent_name
from perimeter_plugin_live_trace.queries.overview import (
    Bucket,
    Figures,
    course,
    figures,
    span_for,
)
from perimeter_plugin_live_trace.queries.rollups import Of
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.store.models import Agent, Session
from perimeter_plugin_live_trace.web.drawn import drawn
from perimeter_plugin_live_trace.web.page import Ask, NotFound, Redirect, Refused, action, page
from perimeter_plugin_live_trace.web.paged import Page, paged
from perimeter_plugin_live_trace.web.pages.overview import Change, change


TABS = ("overview", "sessions", "findings", "tools", "prompts", "behaviour")
_MOST_NAME = 120


class AgentView(msgspec.Struct):
    """The page: what is known of the agent, and what the chosen tab shows."""

    title: str
    tab: str
    agent: AgentName
    named: bool
    workflow: str
    first_us: int
    last_us: int
    sessions_all: int
    models: list[str]
    offered: int
    span: Span
    figures: Figures
    changes: dict[str, Change]
    coverage: Coverage
    found: int | None
    sev: int
    buckets: list[Bucket] = []
    costs: dict[str, list[int]] = {}
    sessions: list[ask_agents.SessionRow] = []
    groups: list[ask_findings.Group] = []
    tools: list[ask_agents.ToolRow] = []
    versions: list[prompts.Version] = []
    page: Page = Page()
    charts: Any = None


@page("/agents/{key}", template="pages/agent.html", nav="agents")
def agent(ask: Ask) -> AgentView:
    """
    Show an agent.

    Raises:
        NotFound: There is none with that id.
    """
    row = ask.reader.one(Agent.select().where(Agent.key == ask.path["key"]))
    if row is None:
        raise NotFound(f"There is no agent “{ask.path['key'][:80]}”, or no longer.")
    view = _view(ask, row)
    _FILL[view.tab](ask, row, view)
    return view


def _view(ask: Ask, row: Any) -> AgentView:
    reader, name = ask.reader, agent_name(row.id, row.key, row.name)
    span = span_for(reader, ask.range.from_us, ask.range.to_us, ask.now_us)
    now = figures(reader, span.from_us, min(span.to_us, span.now_us), row.id)
    before = figures(reader, *span.before(), row.id)
    said = coverage(reader)
    count, sev = ask_agents.findings_by_agent(reader).get(row.id, (0, 0))
    return AgentView(
        title=name.name,
        tab=ask.params.choice("tab", TABS[0], TABS),
        agent=name,
        named=bool(row.name),
        workflow=row.workflow,
        first_us=row.first_us,
        last_us=row.last_us,
        sessions_all=row.sessions,
        models=ask_agents.models_used(reader, row.id),
        offered=len(ask_agents.tool_names(row.tools)),
        span=span,
        figures=now,
        changes={
            "calls": change(now.calls, before.calls),
            "errors": change(now.error_rate, before.error_rate, good="down", points=True),
            "p95": change(now.p95_us, before.p95_us, good="down"),
            "cost": change(now.cost_nano, before.cost_nano, good="down"),
        },
        coverage=said,
        found=count if count or said.tested else None,
        sev=sev,
    )


def _overview(ask: Ask, row: Any, view: AgentView) -> None:
    found = course(ask.reader, view.span, Of("llm", row.id))
    view.buckets, view.costs = found.buckets, found.costs
    if not ask.json:
        view.charts = drawn(ask, view.span, view.buckets, view.costs, view.figures, agent=row.key)


def _sessions(ask: Ask, row: Any, view: AgentView) -> None:
    query = ask_agents.sessions_query(row.id, ask.range.from_us)
    rows, view.page = paged(ask, query, (Session.last_us, Session.id), "-last")
    names = ask_agents.SessionRow.__struct_fields__
    view.sessions = [
        ask_agents.SessionRow(*(getattr(each, name) for name in names)) for each in rows
    ]


def _findings(ask: Ask, row: Any, view: AgentView) -> None:
    query = ask_findings.groups_query(state="all", agent=row.id)
    rows, view.page = paged(ask, query, ask_findings.URGENCY, "-urgency")
    view.groups = ask_findings.groups(ask.reader, rows, ask.now_us)


def _tools(ask: Ask, row: Any, view: AgentView) -> None:
    view.tools = ask_agents.declared_tools(ask.reader, row, view.span)


def _prompts(ask: Ask, row: Any, view: AgentView) -> None:
    view.versions = prompts.versions(ask.reader, row.id)


def _behaviour(ask: Ask, row: Any, view: AgentView) -> None:
    """Nothing to add: what can be said is in the coverage."""


_FILL = {
    "overview": _overview,
    "sessions": _sessions,
    "findings": _findings,
    "tools": _tools,
    "prompts": _prompts,
    "behaviour": _behaviour,
}


@action("/agents/{key}/rename")
def rename(ask: Ask) -> Redirect:
    """
    Give an agent another name; an empty one takes it away.

    Raises:
        NotFound: There is no such agent.
        Refused: The name is too long.
    """
    row = ask.reader.one(Agent.select(Agent.id).where(Agent.key == ask.path["key"]))
    if row is None:
        raise NotFound("There is no such agent, or no longer.")
    name = " ".join(ask.form.get("name", "").split())
    if len(name) > _MOST_NAME:
        raise Refused(f"A name has {_MOST_NAME} characters at most.")
    ask.writer.change(changes.rename_agent(row.id, name))
    return Redirect(ask.url("/agents/{key}", key=ask.path["key"]), "The name was changed.")


routes = (agent, rename)
