"""Tools that list agents and workflows."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from peewee import fn

from perimeter_plugin_live_trace.api.agents import UNASSIGNED, agent_summaries, agents_page
from perimeter_plugin_live_trace.api.limits import shortened
from perimeter_plugin_live_trace.api.sessions import sessions_page, summaries
from perimeter_plugin_live_trace.mcp.arguments import After, Limit, Nothing, WorkflowId, plain
from perimeter_plugin_live_trace.mcp.tool import MOST_TEXT, Arguments, Here, Tool
from perimeter_plugin_live_trace.store import models
from perimeter_plugin_live_trace.web.formats import iso
from perimeter_plugin_live_trace.web.page import NotFound


_MOST_WORKFLOWS = 100
_UNLINKED = "unlinked"


class GetAgents(Arguments):
    """Which agents."""

    agent_workflow_id: Annotated[
        str,
        Meta(max_length=512, description="Only of this workflow; `unlinked` for those of none."),
    ] = ""
    include_stats: Annotated[bool, Meta(description="With totals, or only with names.")] = True
    limit: Limit = 50
    after: After = ""


def get_agents(here: Here, given: GetAgents) -> dict[str, Any]:
    """Return a page of agents."""
    workflow = given.agent_workflow_id
    workflow = UNASSIGNED if workflow == _UNLINKED else workflow
    rows, following = agents_page(here.reader, workflow or None, given.limit, given.after or None)
    return {"agents": _agents(here, rows, stats=given.include_stats), "next": following}


def _agents(here: Here, rows: list[Any], *, stats: bool) -> list[dict[str, Any]]:
    if stats:
        listed: list[dict[str, Any]] = plain(agent_summaries(here.reader, rows, here.now_us))
        return listed
    return [
        {
            "id": row.key,
            "display_name": row.name or row.key,
            "agent_workflow_id": row.workflow or None,
            "last_seen": iso(row.last_us),
        }
        for row in rows
    ]


class GetWorkflowAgents(Arguments):
    """Which workflow."""

    workflow_id: WorkflowId
    include_system_prompts: Annotated[bool, Meta(description="With each system prompt.")] = True
    limit: Limit = 20
    after: After = ""


def get_workflow_agents(here: Here, given: GetWorkflowAgents) -> dict[str, Any]:
    """Return the agents of a workflow, and what they did last."""
    rows, following = agents_page(here.reader, given.workflow_id, given.limit, given.after or None)
    if not rows and not given.after:
        raise NotFound(f"there is no workflow {given.workflow_id[:100]}; see list_workflows")
    agents = _agents(here, rows, stats=True)
    for agent, row in zip(agents, rows, strict=True):
        if given.include_system_prompts:
            agent["system_prompt"] = _prompt(here, row)
    workflow = "" if given.workflow_id == UNASSIGNED else given.workflow_id
    recent, _ = sessions_page(here.reader, models.Session.workflow == workflow, 10, None)
    return {
        "workflow_id": given.workflow_id,
        "agents": agents,
        "recent_sessions": plain(summaries(here.reader, recent)),
        "next": following,
    }


def _prompt(here: Here, row: Any) -> str | None:
    if row.prompt_blob is None:
        return None
    text = here.reader.blob(row.prompt_blob).decode("utf-8", "replace")
    return shortened(text, MOST_TEXT)


def list_workflows(here: Here, _: Nothing) -> dict[str, Any]:
    """Return all workflows, newest activity first."""
    table = models.Agent
    query = (
        table.select(
            table.workflow,
            fn.COUNT(table.id).alias("agents"),
            fn.SUM(table.sessions).alias("sessions"),
            fn.SUM(table.calls).alias("calls"),
            fn.MAX(table.last_us).alias("last_us"),
        )
        .group_by(table.workflow)
        .order_by(fn.MAX(table.last_us).desc(), table.workflow)
        .limit(_MOST_WORKFLOWS + 1)
    )
    rows = here.reader.rows(query)
    return {
        "workflows": [
            {
                "id": row.workflow or UNASSIGNED,
                "agent_count": row.agents,
                "session_count": row.sessions,
                "call_count": row.calls,
                "last_activity": iso(row.last_us),
            }
            for row in rows[:_MOST_WORKFLOWS]
        ],
        "truncated": len(rows) > _MOST_WORKFLOWS,
    }


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "list_workflows",
        "List workflows",
        "All workflows (groups of agents) with how many agents, sessions and calls they have."
        " `unassigned` stands for agents of no workflow.",
        Nothing,
        list_workflows,
    ),
    Tool(
        "get_agents",
        "List agents",
        "Agents, newest activity first: id, name, workflow, and with include_stats their sessions,"
        " calls, tokens, cost, tools, errors and response time.",
        GetAgents,
        get_agents,
    ),
    Tool(
        "get_workflow_agents",
        "Agents of a workflow",
        "The agents of one workflow with their totals and system prompts, and the ten newest"
        " sessions of the workflow.",
        GetWorkflowAgents,
        get_workflow_agents,
    ),
)
