"""Two sessions side by side."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries import compare as ask_compare
from perimeter_plugin_live_trace.queries import session as ask_session
from perimeter_plugin_live_trace.queries.compare import Delta, Row
from perimeter_plugin_live_trace.queries.sessions import Filter, SessionRow, filtered, rows_of
from perimeter_plugin_live_trace.store.models import Session
from perimeter_plugin_live_trace.web.page import Ask, NotFound, page


SUGGESTED = 12
_LONG = 4000
"""Characters of a message that are shown."""


class CompareView(msgspec.Struct, frozen=True):
    """
    Two sessions, or one and what it could be compared with.

    Attributes:
        suggestions: Sessions to choose from, where one is missing.
        same: How many messages are alike.
        cut: Whether only the first calls are compared.
    """

    title: str
    a: SessionRow | None
    b: SessionRow | None
    suggestions: list[SessionRow]
    deltas: list[Delta]
    rows: list[Row]
    same: int
    only: bool
    cut: bool
    longest: int


@page("/compare", template="pages/compare.html", nav="compare", title="Compare")
def compare(ask: Ask) -> CompareView:
    """
    Show two sessions side by side.

    Raises:
        NotFound: One of them is not there.
    """
    chosen = [*(ask.params.text(name) for name in ("a", "b")), *ask.params.many("s")]
    ids = [each for each in chosen if each][:2]
    found = [_find(ask, each) for each in ids]
    shown = [rows_of(ask.reader, [row], ask.now_us)[0] for row in found]
    only = ask.params.flag("only")
    if len(found) < 2:
        return CompareView("Compare", shown[0] if shown else None, None, _suggested(ask, found),
                           [], [], 0, only, cut=False, longest=_LONG)  # fmt: skip
    sides = [ask_compare.entries(ask.reader, row, ask.now_us) for row in found]
    rows = ask_compare.align(*sides)
    return CompareView(
        title="Compare",
        a=shown[0],
        b=shown[1],
        suggestions=[],
        deltas=ask_compare.deltas(*shown),
        rows=[row for row in rows if row.kind != "same"] if only else rows,
        same=sum(row.kind == "same" for row in rows),
        only=only,
        cut=any(row.turns > ask_compare.CALLS for row in found),
        longest=_LONG,
    )


def _find(ask: Ask, public_id: str) -> Any:
    try:
        return ask_session.find(ask.reader, public_id)
    except ask_session.Missing as missing:
        raise NotFound(str(missing)) from None


def _suggested(ask: Ask, found: list[Any]) -> list[SessionRow]:
    """Return sessions to compare with: of the same agent where there is one."""
    query = filtered(ask.reader, Filter(), ask.now_us)
    if found:
        query = query.where(Session.id != found[0].id)
        if found[0].agent_id:
            query = query.where(Session.agent_id == found[0].agent_id)
    rows = ask.reader.rows(
        query.order_by(Session.last_us.desc(), Session.id.desc()).limit(SUGGESTED)
    )
    return rows_of(ask.reader, rows, ask.now_us)


routes = (compare,)
