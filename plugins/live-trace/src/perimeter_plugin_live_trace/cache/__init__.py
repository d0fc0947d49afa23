"""The prompt-cache view: what providers' caches saved, where they broke, and what that cost."""

from __future__ import annotations

from perimeter_plugin_live_trace.cache.dearest import dearest
from perimeter_plugin_live_trace.cache.report import report


__all__ = ["dearest", "report"]
