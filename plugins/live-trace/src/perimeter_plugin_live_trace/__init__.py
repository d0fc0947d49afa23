"""Live trace: what agents and models say, in a dashboard, an API and an MCP server."""

from perimeter_plugin_live_trace.plugin import LiveTrace


__all__ = ["LiveTrace"]
