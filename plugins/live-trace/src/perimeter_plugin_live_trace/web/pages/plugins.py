"""Plugins: those of the proxy, how they do, and what they add to the dashboard."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.web.page import Ask, page


class HookCost(msgspec.Struct, frozen=True):
    """What a hook of a plugin has cost since the proxy's workers began."""

    hook: str
    calls: int
    seconds: float
    failures: int

    @property
    def mean_us(self) -> float:
        """How long one call takes."""
        return self.seconds * 1e6 / self.calls if self.calls else 0.0


class Plugin(msgspec.Struct, frozen=True):
    """A plugin of the proxy, as the proxy tells of it."""

    name: str
    version: str
    state: str
    errors: int
    hooks: list[HookCost]
    calls: int
    seconds: float
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
    hooks = _hooks(told)
    return Plugin(
        name=name,
        version=str(told.get("version", "")),
        state=str(told.get("state", "")),
        errors=int(told.get("errors") or 0),
        hooks=hooks,
        calls=sum(each.calls for each in hooks),
        seconds=sum(each.seconds for each in hooks),
        pages=[
            (each.title, ask.url("/x/{plugin}/", plugin=name) + each.path.strip("/"))
            for each in pages
        ],
    )


def _hooks(told: dict[str, Any]) -> list[HookCost]:
    """Return the hooks that a plugin has, those that were never called included."""
    costs = told.get("costs", {})
    return [
        HookCost(hook, *costs.get(hook, (0, 0.0, 0)))
        for hook in dict.fromkeys([*told.get("hooks", ()), *costs])
    ]


routes = (plugins,)
