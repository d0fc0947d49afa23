"""Tools: how often they are used, how often they fail, and how long they take."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.names import agent_by_key
from perimeter_plugin_live_trace.queries.overview import span_for
from perimeter_plugin_live_trace.queries.rollups import Of
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.queries.usage import MOST, SORTS, Table, usage
from perimeter_plugin_live_trace.web.drawn import drawn_usage
from perimeter_plugin_live_trace.web.page import Ask, page


class UsageView(msgspec.Struct):
    """A table of models or tools."""

    title: str
    kind: str
    span: Span
    table: Table
    sort: str
    text: str
    agent: str
    most: int
    charts: Any = None


@page("/tools", template="pages/usage.html", nav="tools", title="Tools")
def tools(ask: Ask) -> UsageView:
    """Show the tools that were used."""
    return usage_view(ask, "tool", "Tools")


def usage_view(ask: Ask, kind: str, title: str) -> UsageView:
    """Return the table of one kind, as the address asks for it."""
    orders = tuple(order for key in SORTS for order in (f"-{key}", key))
    sort, text = ask.params.choice("sort", "-calls", orders), ask.params.text("q")
    key = ask.params.text("agent")
    agent = agent_by_key(ask.reader, key) if key else None
    span = span_for(ask.reader, ask.range.from_us, ask.range.to_us, ask.now_us)
    of = Of(kind, agent.id if agent else None)
    table = usage(ask.reader, of, span, sort, text)
    name = agent.name if agent else ""
    view = UsageView(title, kind, span, table, sort, text, name, MOST)
    if not ask.json:
        uses = {row.name: row.trend for row in table.rows}
        other = {row.name: row.costs if kind == "llm" else row.failed for row in table.rows}
        view.charts = drawn_usage(ask, span, kind, uses, other)
    return view


routes = (tools,)
