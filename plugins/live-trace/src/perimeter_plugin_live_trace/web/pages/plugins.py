"""Plugins: those of the proxy, how they do, and what they add to the dashboard."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.web.page import Ask, page


class Plugin(msgspec.Struct, frozen=True):
    """A plugin of the proxy, as the proxy tells of it."""

    name: str
    version: str
    state: str
    errors: int
    hooks: list[str]
    calls: int | None
    seconds: float | None
    error: str
    pages: list[tuple[str, str]]


class PluginsView(msgspec.Struct, frozen=True):
    """The page."""

    title: str
    plugins: list[Plugin]
    coverage: Coverage
    expected: bool
    connected: int


@page("/plugins", template="pages/plugins.html", nav="plugins", title="Plugins")
def plugins(ask: Ask) -> PluginsView:
    """Show the plugins and the detectors."""
    told = {str(each.get("name", "")): each for each in ask.site.ingest.plugins}
    names = sorted({*told, *ask.site.extensions})
    return PluginsView(
        title="Plugins",
        plugins=[_plugin(ask, name, told.get(name, {})) for name in names],
        coverage=coverage(ask.reader),
        expected=ask.site.ingest.expected,
        connected=ask.site.ingest.connected,
    )


def _plugin(ask: Ask, name: str, told: dict[str, Any]) -> Plugin:
    extension = ask.site.extensions.get(name)
    pages = getattr(extension, "pages", ())
    return Plugin(
        name=name,
        version=str(told.get("version", "")),
        state=str(told.get("state", "")),
        errors=int(told.get("errors") or 0),
        hooks=[str(hook) for hook in told.get("hooks", ())],
        calls=told.get("calls"),
        seconds=told.get("seconds"),
        error=str(told.get("error", "")),
        pages=[
            (each.title, ask.url("/x/{plugin}/", plugin=name) + each.path.strip("/"))
            for each in pages
        ],
    )


routes = (plugins,)
