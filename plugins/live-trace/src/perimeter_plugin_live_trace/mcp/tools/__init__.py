"""The tools of the MCP server, in the order that clients list them in."""

from __future__ import annotations

from typing import Any

from perimeter_plugin_live_trace.mcp.extensions import contributed
from perimeter_plugin_live_trace.mcp.tool import Tool
from perimeter_plugin_live_trace.mcp.tools import agents, events, sessions, totals, views
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.web.page import Changes, Site


OWN: tuple[Tool[Any], ...] = (
    *agents.TOOLS,
    *sessions.TOOLS,
    *events.TOOLS,
    *totals.TOOLS,
    *views.TOOLS,
)
"""Those of live trace itself."""


def all_tools(site: Site, reader: Reader, changes: Changes | None = None) -> list[Tool[Any]]:
    """Return our own tools, and those that other plugins bring."""
    return [*OWN, *contributed(site, reader, changes, {tool.name for tool in OWN})]
