"""The start page, and the preferences that the top bar changes."""

from __future__ import annotations

from perimeter_plugin_live_trace.web.page import Ask, Redirect, action, page


@page("/", template="pages/start.html")
def start(ask: Ask) -> Redirect:
    """Go to the overview, or to the page that helps to connect while nothing is recorded."""
    found = ask.reader.sql("SELECT 1 FROM sessions LIMIT 1")
    return Redirect(ask.url("/overview") if found else "/connect")


@action("/preferences")
def preferences(ask: Ask) -> Redirect:
    """Keep preferences, and go back."""
    back = ask.form.get("back", "/")
    return Redirect(back, prefs=ask.prefs.changed(dict(ask.form)))


routes = (start, preferences)
