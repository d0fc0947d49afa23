"""Tools that add up: usage, cost, tools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from perimeter_plugin_live_trace.api.agents import UNASSIGNED, find
from perimeter_plugin_live_trace.api.sessions import dollars
from perimeter_plugin_live_trace.api.usage import model_usage, tool_usage, whole
from perimeter_plugin_live_trace.mcp.arguments import AgentId, Days, WorkflowId, days_us, plain
from perimeter_plugin_live_trace.mcp.tool import Arguments, Here, Tool
from perimeter_plugin_live_trace.queries.agents import tool_names
from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.queries.rollups import Of, Totals, by_agent, by_name, series
from perimeter_plugin_live_trace.queries.spans import DAY, Span
from perimeter_plugin_live_trace.store import models


_MOST = 100
_MOST_AGENTS = 500
"""Agents of a workflow that are added up."""


class GetUsageSummary(Arguments):
    """Which usage, and how it is grouped."""

    by: Annotated[
        Literal["model", "agent", "day"], Meta(description="What each row stands for.")
    ] = "model"
    days: Days = 7
    agent_id: AgentId = ""


def get_usage_summary(here: Here, given: GetUsageSummary) -> dict[str, Any]:
    """Return calls, tokens and cost."""
    start, end = days_us(given.days, here.now_us)
    agent = find(here.reader, given.agent_id).id if given.agent_id else None
    of = Of("llm", agent)
    models_ = by_name(here.reader, of, start, end)
    groups = {"model": _by_model, "agent": _by_agent, "day": _by_day}
    rows = groups[given.by](here, of, models_, start, end)
    return {
        "by": given.by,
        "days": given.days,
        "total": _sums(whole(models_)),
        "rows": rows[:_MOST],
        "truncated": len(rows) > _MOST,
        "note": "Costs are list prices; calls of models without a known price count as nothing.",
    }


def _sums(totals: Totals) -> dict[str, Any]:
    return {
        "calls": totals.calls,
        "errors": totals.errors,
        "input_tokens": totals.tok_in,
        "output_tokens": totals.tok_out,
        "cached_tokens": totals.tok_cached,
        "cost_usd": dollars(totals.cost_nano),
        "avg_response_time_ms": totals.lat_us / totals.calls / 1000 if totals.calls else None,
    }


def _by_model(
    here: Here, of: Of, found: Mapping[str, Totals], start: int, end: int
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = plain(model_usage(here.reader, of, found, start, end))
    return rows


def _by_agent(
    here: Here, of: Of, _: Mapping[str, Totals], start: int, end: int
) -> list[dict[str, Any]]:
    found = by_agent(here.reader, of, start, end)
    ids = sorted(found, key=lambda each: (-found[each].cost_nano, -found[each].calls))[: _MOST + 1]
    names = agent_names(here.reader, ids)
    return [
        {"agent_id": names[each].key, "display_name": names[each].name, **_sums(found[each])}
        for each in ids
    ]


def _by_day(
    here: Here, of: Of, _: Mapping[str, Totals], start: int, end: int
) -> list[dict[str, Any]]:
    span = Span(start, end, DAY, "d", here.now_us)
    totals = zip(span.starts, series(here.reader, of, span), strict=True)
    rows = [{"date": _date(at), **_sums(each)} for at, each in totals if each.calls]
    return rows[::-1]


def _date(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d")


class GetToolUsageSummary(Arguments):
    """Whose tools."""

    agent_workflow_id: WorkflowId = ""
    agent_id: AgentId = ""
    days: Days = 30


def get_tool_usage_summary(here: Here, given: GetToolUsageSummary) -> dict[str, Any]:
    """Return which tools are used, and which of those that are offered are not."""
    start, end = days_us(given.days, here.now_us)
    agents = _agents(here, given)
    narrow = bool(given.agent_id or given.agent_workflow_id)
    usage = _usage(here, agents if narrow else None, start, end)
    used = {name for name, each in usage.items() if each.calls}
    offered = {name for agent in agents for name in tool_names(agent.tools)}
    unused = sorted(offered - used)
    of = Of("tool", agents[0].id if given.agent_id else None)
    shown = tool_usage(here.reader, of, usage, start, end)
    return {
        "days": given.days,
        "tool_usage": plain(shown),
        "tools_defined": sorted(offered)[:_MOST],
        "tools_used": sorted(used)[:_MOST],
        "tools_unused": unused[:_MOST],
        "coverage_percent": len(offered & used) / len(offered) * 100 if offered else None,
        "truncated": max(len(offered), len(usage)) > _MOST or len(agents) >= _MOST_AGENTS,
    }


def _agents(here: Here, given: GetToolUsageSummary) -> list[Any]:
    if given.agent_id:
        return [find(here.reader, given.agent_id)]
    table = models.Agent
    query = table.select().order_by(table.last_us.desc(), table.id.desc()).limit(_MOST_AGENTS)
    if given.agent_workflow_id:
        name = "" if given.agent_workflow_id == UNASSIGNED else given.agent_workflow_id
        query = query.where(table.workflow == name)
    return here.reader.rows(query)


def _usage(here: Here, agents: list[Any] | None, start: int, end: int) -> dict[str, Totals]:
    if agents is None:
        return by_name(here.reader, Of("tool"), start, end)
    found: dict[str, Totals] = {}
    for agent in agents:
        for name, each in by_name(here.reader, Of("tool", agent.id), start, end).items():
            found.setdefault(name, Totals()).add(each)
    return found


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "get_usage_summary",
        "Usage and cost",
        "Calls, errors, tokens, cached tokens, cost and response time of the last days, by model,"
        " by agent or by day, with the total.",
        GetUsageSummary,
        get_usage_summary,
    ),
    Tool(
        "get_tool_usage_summary",
        "Usage of tools",
        "Which tools were executed, how often, how fast and with how many failures; which were"
        " offered to models and never used; how much of what is offered is used.",
        GetToolUsageSummary,
        get_tool_usage_summary,
    ),
)
