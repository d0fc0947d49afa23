"""Agents: the list."""

from __future__ import annotations

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.agents import (
    SORT_COLUMNS,
    SORTS,
    AgentRow,
    agent_rows,
    agents_query,
)
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.overview import span_for
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.store.models import Agent
from perimeter_plugin_live_trace.web.page import Ask, page
from perimeter_plugin_live_trace.web.paged import Page, paged


class AgentsView(msgspec.Struct, frozen=True):
    """The page."""

    title: str
    span: Span
    rows: list[AgentRow]
    page: Page
    sort: str
    text: str
    found: int
    all: int
    coverage: Coverage


@page("/agents", template="pages/agents.html", nav="agents", title="Agents")
def agents(ask: Ask) -> AgentsView:
    """Show the agents that called in the span of time."""
    reader = ask.reader
    orders = tuple(order for key in SORTS for order in (f"-{key}", key))
    sort, text = ask.params.choice("sort", "-last", orders), ask.params.text("q")
    span = span_for(reader, ask.range.from_us, ask.range.to_us, ask.now_us)
    query = agents_query(ask.range.from_us, text)
    keys = (SORT_COLUMNS[sort.removeprefix("-")], Agent.id)
    rows, where = paged(ask, query, keys, sort)
    said = coverage(reader)
    return AgentsView(
        title="Agents",
        span=span,
        rows=agent_rows(reader, rows, span, tested=said.tested),
        page=where,
        sort=sort,
        text=text,
        found=reader.value(query.select(fn.COUNT(Agent.id)), 0),
        all=reader.value(Agent.select(fn.COUNT(Agent.id)), 0),
        coverage=said,
    )


routes = (agents,)
