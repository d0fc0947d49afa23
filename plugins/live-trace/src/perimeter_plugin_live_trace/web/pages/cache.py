"""Prompt caching: which sessions lost most for want of a cache, and where in a session it broke."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.api.limits import BadCursor, cursor, read_cursor
from perimeter_plugin_live_trace.api.sessions import find
from perimeter_plugin_live_trace.cache import dearest, report
from perimeter_plugin_live_trace.cache.dearest import CANDIDATES
from perimeter_plugin_live_trace.cache.views import Report, Row, Sums
from perimeter_plugin_live_trace.queries.names import agent_by_key
from perimeter_plugin_live_trace.web.page import Ask, page


_PAGE = 50


class CacheView(msgspec.Struct, frozen=True, kw_only=True):
    """
    The list.

    Attributes:
        looked_at: How many sessions are looked at, at most.
        calm: Whether there are sessions that a cache could have helped with at all.
        whole: What the sessions that are shown add up to.
        prices_of: The day that the prices are from.
    """

    rows: list[Row]
    whole: Sums
    looked_at: int
    calm: bool
    agent: str
    prices_of: str


@page("/cache", template="pages/cache.html", nav="cache", title="Prompt cache")
def cache(ask: Ask) -> CacheView:
    """Show the sessions that lost most."""
    key = ask.params.text("agent")
    agent = agent_by_key(ask.reader, key) if key else None
    if key and agent is None:
        ask.params.problems.append(f"There is no agent “{key[:80]}”.")
    found = dearest(
        ask.reader,
        ask.range.from_us,
        ask.range.to_us + 1,
        agent=agent.id if agent else None,
        limit=_PAGE,
    )
    rows = [row for row in found if row.sums.lost_tokens or row.sums.breaks]
    whole = Sums()
    for row in rows:
        for name in Sums.__struct_fields__:
            setattr(whole, name, getattr(whole, name) + getattr(row.sums, name))
    return CacheView(
        rows=rows,
        whole=whole,
        looked_at=CANDIDATES,
        calm=bool(found),
        agent=agent.name if agent else "",
        prices_of=ask.reader.known.prices.as_of,
    )


class SessionCacheView(msgspec.Struct, frozen=True, kw_only=True):
    """A session: its calls one after the other, as the cache saw them."""

    title: str
    session: str
    session_title: str
    report: Report
    prices_of: str
    first: bool
    next: str


@page("/sessions/{id}/cache", template="pages/session_cache.html", nav="sessions")
def session_cache(ask: Ask) -> SessionCacheView:
    """Show a session's calls."""
    session = find(ask.reader, ask.path["id"])
    start = 0
    if after := ask.params.text("after"):
        try:
            (start,) = read_cursor(after, 1)
        except BadCursor:
            ask.params.problems.append(
                "“after” is no place in this list, so its beginning is shown."
            )
    found = report(ask.reader, session.id, start=start, limit=_PAGE)
    more = len(found.steps) == _PAGE and found.sums.calls > _PAGE
    return SessionCacheView(
        title="Prompt cache",
        session=session.public_id,
        session_title=session.title,
        report=found,
        prices_of=ask.reader.known.prices.as_of,
        first=not start,
        next=cursor(found.steps[-1].number) if more else "",
    )


routes = (cache, session_cache)
