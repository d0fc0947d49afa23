"""Models: how often they are called, how well and fast they answer, and what they cost."""

from __future__ import annotations

from perimeter_plugin_live_trace.web.page import Ask, page
from perimeter_plugin_live_trace.web.pages.tools import UsageView, usage_view


@page("/models", template="pages/usage.html", nav="models", title="Models")
def models(ask: Ask) -> UsageView:
    """Show the models that were called."""
    return usage_view(ask, "llm", "Models")


routes = (models,)
