"""Search over everything."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.queries.search import Results
from perimeter_plugin_live_trace.queries.search import search as find
from perimeter_plugin_live_trace.web.page import Ask, page


class SearchView(msgspec.Struct, frozen=True):
    """What was found."""

    title: str
    q: str
    results: Results
    any: bool


@page("/search", template="pages/search.html", nav="search", title="Search")
def search(ask: Ask) -> SearchView:
    """Show what is found for some words, by what it is."""
    text = ask.params.text("q")[:500]
    found = find(ask.reader, text, ask.now_us)
    anything = bool(found.sessions or found.events or found.agents or found.tools)
    return SearchView(f"“{text[:60]}”" if text else "Search", text, found, anything)


routes = (search,)
