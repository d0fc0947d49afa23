"""The MCP server of live trace, at `POST /mcp` of the dashboard."""

from __future__ import annotations

from perimeter_plugin_live_trace.mcp.mounting import mount


__all__ = ["mount"]
