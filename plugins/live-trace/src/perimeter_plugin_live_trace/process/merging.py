"""What the workers of a proxy say of its plugins, put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perimeter_plugin_live_trace.records import State


def merged(states: Iterable[State]) -> list[dict[str, Any]]:
    """Return the plugins of workers: what their hooks cost is added up, a failure is not hidden."""
    found: dict[str, dict[str, Any]] = {}
    for state in states:
        for told in state.plugins:
            known = found.setdefault(told["name"], {**told, "costs": {}, "errors": 0})
            if told["state"] == "failed":
                known["state"] = "failed"
            for hook, cost in told.get("costs", {}).items():
                before = known["costs"].get(hook, (0, 0.0, 0))
                known["costs"][hook] = tuple(map(sum, zip(before, cost, strict=True)))
                known["errors"] += cost[2]
    return list(found.values())
