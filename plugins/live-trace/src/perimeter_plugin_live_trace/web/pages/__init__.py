"""All pages. Each module has `routes`."""

from __future__ import annotations

from perimeter_plugin_live_trace.web.page import Route
from perimeter_plugin_live_trace.web.pages import (
    agent,
    agents,
    api_docs,
    cache,
    compare,
    connect,
    events,
    exports,
    extension,
    findings,
    frame,
    health,
    models,
    overview,
    pii,
    plugins,
    replay,
    reports,
    search,
    session,
    sessions,
    settings,
    tools,
)


ROUTES: tuple[Route, ...] = (
    *frame.routes,
    *overview.routes,
    *sessions.routes,
    *session.routes,
    *cache.routes,
    *replay.routes,
    *events.routes,
    *search.routes,
    *compare.routes,
    *agents.routes,
    *agent.routes,
    *tools.routes,
    *models.routes,
    *findings.routes,
    *pii.routes,
    *reports.routes,
    *exports.routes,
    *plugins.routes,
    *extension.routes,
    *health.routes,
    *connect.routes,
    *settings.routes,
    *api_docs.routes,
)
"""Everything that can be asked, apart from the API and MCP."""
