"""The HTTP API: `/api/dashboard`, `/api/agent/{id}`, `/api/session/{id}`, and its documentation."""

from __future__ import annotations

from perimeter_plugin_live_trace.api.handlers import handlers


__all__ = ["handlers"]
