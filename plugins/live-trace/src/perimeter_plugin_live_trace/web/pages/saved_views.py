"""Saved views of the list of sessions: made, and forgotten."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from perimeter_plugin_live_trace.queries import views as ask_views
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.web.page import Ask, Redirect, Refused, action


KEPT = ("q", "agent", "status", "sev", "range", "from", "to", "sort", "limit", "cols")
"""What makes up a view: all but the page and what is peeked at."""


@action("/sessions/views")
def save_view(ask: Ask) -> Redirect:
    """
    Give the list as it is a name.

    Raises:
        Refused: It has no name, or there are too many.
    """
    name = " ".join(ask.form.get("name", "").split())[: ask_views.LONGEST_NAME]
    pairs = [(key, value) for key, value in _pairs(ask.form.get("query", "")) if value]
    if not name:
        raise Refused("A view needs a name.")
    known = {view.name for view in ask_views.saved(ask.reader)}
    if len(known) >= ask_views.MOST and name not in known:
        raise Refused(f"There are {ask_views.MOST} views already: delete one first.")
    query = urlencode(pairs)
    ask.writer.change(changes.put_document(ask_views.KIND, name, {"query": query}))
    return Redirect(f"/sessions?{query}" if query else "/sessions", notice=f"View “{name}” saved")


@action("/sessions/views/delete")
def delete_view(ask: Ask) -> Redirect:
    """Forget a view."""
    name = ask.form.get("name", "")
    there = ask.writer.change(changes.delete_document(ask_views.KIND, name))
    return Redirect(
        "/sessions", notice=f"View “{name}” deleted" if there else "There was no such view"
    )


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return [pair for pair in parse_qsl(query[:2000], max_num_fields=50) if pair[0] in KEPT]
    except ValueError:
        return []


routes = (save_view, delete_view)
