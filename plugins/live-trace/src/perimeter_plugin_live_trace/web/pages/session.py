"""A session: its conversation, timeline, raw events, findings and what is technically known."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries import conversation as ask_turns
from perimeter_plugin_live_trace.queries import session as ask_session
from perimeter_plugin_live_trace.queries.conversation import Conversation
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.paging import Page, Place, place
from perimeter_plugin_live_trace.queries.session import Info, Missing, Seen
from perimeter_plugin_live_trace.queries.sessions import SORTS, SessionRow, rows_of
from perimeter_plugin_live_trace.queries.timeline import SHOWS, Minimap, Timeline, minimap, timeline
from perimeter_plugin_live_trace.queries.turns import Turn
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.web.page import (
    Ask,
    NotFound,
    Redirect,
    Refused,
    action,
    fragment,
    page,
)
from perimeter_plugin_live_trace.web.pages.saved_views import KEPT
from perimeter_plugin_live_trace.web.pages.sessions import read_filter


VIEWS = ("conversation", "timeline", "events", "findings", "pii", "info")
_MOST_EVENTS = 200


class SessionView(msgspec.Struct, frozen=True):
    """A session; of the parts only the one that is looked at is there."""

    title: str
    view: str
    session: SessionRow
    workflow: str
    run: str
    ended_us: int
    idle_us: int
    at: int
    above: str
    below: str
    listed: dict[str, str]
    conversation: Conversation | None = None
    timeline: Timeline | None = None
    true_time: bool = False
    events: Page | None = None
    kinds: list[str] = []
    kind: str = ""
    findings: list[Seen] = []
    coverage: Coverage | None = None
    info: Info | None = None


class MoreView(msgspec.Struct, frozen=True):
    """What is new in a conversation."""

    session: SessionRow
    turns: list[Turn]


def _find(ask: Ask) -> Any:
    try:
        return ask_session.find(ask.reader, ask.path["id"])
    except Missing as missing:
        raise NotFound(str(missing)) from None


@page("/sessions/{id}", template="pages/session.html", nav="sessions")
def session(ask: Ask) -> SessionView:
    """
    Show a session.

    Raises:
        NotFound: There is none, or no longer.
    """
    row, params = _find(ask), ask.params
    view = params.choice("view", "conversation", VIEWS)
    shown = rows_of(ask.reader, [row], ask.now_us)[0]
    sort = params.choice("sort", "-last", [mark + name for name in SORTS for mark in ("-", "")])
    above, below = ask_session.neighbours(ask.reader, row, read_filter(ask), sort, ask.now_us)
    at = params.integer("at", 0, 0, 2**31)
    return SessionView(
        title=row.title or row.public_id,
        view=view,
        session=shown,
        workflow=row.workflow,
        run=row.run,
        ended_us=row.last_us,
        idle_us=max(shown.dur_us - row.llm_us - row.tool_us, 0),
        at=at,
        above=above,
        below=below,
        listed={name: params.text(name) for name in KEPT if params.text(name)},
        **_PARTS[view](ask, row, at),
    )


def _conversation(ask: Ask, row: Any, at: int) -> dict[str, Any]:
    number = ask_turns.page_of(ask.reader, row.id, at) if at else 1
    number = ask.params.integer("page", number, 1, 1_000_000)
    return {"conversation": ask_turns.conversation(ask.reader, row, number, ask.now_us)}


def _timeline(ask: Ask, row: Any, at: int) -> dict[str, Any]:
    show, true_time = ask.params.choice("show", "all", SHOWS), ask.params.flag("true")
    where = place(ask.params, [int]) or _before(at)
    return {
        "timeline": timeline(ask.reader, row, show, where, true_time=true_time),
        "true_time": true_time,
    }


def _events(ask: Ask, row: Any, at: int) -> dict[str, Any]:
    kinds, kind = ask_session.kinds(ask.reader, row.id), ask.params.text("kind")
    where = place(ask.params, [int]) or _before(at)
    return {
        "events": ask_session.raw_events(ask.reader, row.id, kind, where, _MOST_EVENTS),
        "kinds": kinds,
        "kind": kind,
    }


def _before(at: int) -> Any:
    """Return the place of a page that begins a little before an event."""
    return Place((max(at - 20, 0),)) if at > 20 else None


def _findings(ask: Ask, row: Any, _: int) -> dict[str, Any]:
    found = ask_session.findings(ask.reader, row.id, pii=False)
    return {"findings": found, "coverage": coverage(ask.reader)}


def _pii(ask: Ask, row: Any, _: int) -> dict[str, Any]:
    found = ask_session.findings(ask.reader, row.id, pii=True)
    return {"findings": found, "coverage": coverage(ask.reader)}


def _info(ask: Ask, row: Any, _: int) -> dict[str, Any]:
    return {"info": ask_session.info(ask.reader, row)}


_PARTS = {
    "conversation": _conversation,
    "timeline": _timeline,
    "events": _events,
    "findings": _findings,
    "pii": _pii,
    "info": _info,
}


@fragment("/sessions/{id}/more", template="parts/turns.html")
def more(ask: Ask) -> MoreView:
    """
    Show the turns that something happened in after an event.

    Raises:
        NotFound: There is no such session, or no longer.
    """
    row = _find(ask)
    after = ask.params.integer("after", 0, 0, 2**31)
    found = ask_turns.find_turns(ask.reader, row, after, ask.now_us)
    return MoreView(rows_of(ask.reader, [row], ask.now_us)[0], list(found))


@page("/sessions/{id}/map", template="pages/session.html", nav="sessions")
def session_map(ask: Ask) -> Minimap | Redirect:
    """
    Return all of a session in short, for its map; asked for as JSON.

    Raises:
        NotFound: There is no such session, or no longer.
    """
    row = _find(ask)
    return (
        minimap(ask.reader, row)
        if ask.json
        else Redirect(ask.url("/sessions/{id}", id=row.public_id))
    )


@action("/sessions/{id}/delete")
def delete(ask: Ask) -> Redirect:
    """
    Delete a session with everything that is only its own.

    Raises:
        Refused: It was not confirmed.
    """
    row = _find(ask)
    if ask.form.get("confirm", "").strip().lower() != "delete":
        raise Refused("Nothing was deleted: type “delete” to confirm.")
    ask.writer.change(changes.delete_sessions([row.id], "deleted by hand"))
    return Redirect("/sessions", notice="Session deleted")


routes = (session, more, session_map, delete)
