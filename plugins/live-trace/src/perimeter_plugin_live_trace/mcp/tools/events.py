"""Tools that read events, and search in what was said."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from perimeter_plugin_live_trace.api.limits import cursor, read_cursor
from perimeter_plugin_live_trace.api.sessions import (
    LEVELS,
    attributes_of,
    dollars,
    event_of,
    events_page,
    find,
)
from perimeter_plugin_live_trace.mcp.arguments import After, Limit, SessionId
from perimeter_plugin_live_trace.mcp.tool import MOST_TEXT, Arguments, Here, Tool, ToolProblem
from perimeter_plugin_live_trace.mcp.wording import message_json
from perimeter_plugin_live_trace.queries.events import KINDS
from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.queries.reading import reply_of, request_of
from perimeter_plugin_live_trace.store import models
from perimeter_plugin_live_trace.store.search import match_query
from perimeter_plugin_live_trace.web.formats import iso
from perimeter_plugin_live_trace.web.page import NotFound


_KIND = Annotated[str, Meta(min_length=1, max_length=100)]
_SLIM = {
    "llm.call.start": ("llm.request.total_messages", "session.match", "llm.request.params"),
    "llm.call.error": ("error.type", "error.message", "http.status_code"),
    "session.start": ("tools",),
    "session.end": ("session.end_reason", "session.duration_ms"),
    "tool.result": ("tool.status", "tool.execution_time_ms"),
}
"""Attributes that tell most about an event of a kind, besides what its row has."""


class GetSessionEvents(Arguments):
    """Which events."""

    session_id: SessionId
    event_types: Annotated[
        list[_KIND],
        Meta(max_length=20, description="Only of these kinds, such as `llm.call.finish`."),
    ] = msgspec.field(default_factory=list)
    limit: Limit = 50
    after: After = ""


def get_session_events(here: Here, given: GetSessionEvents) -> dict[str, Any]:
    """
    Return a page of a session's events, oldest first, each in a few words.

    Raises:
        ToolProblem: A kind is none that there is.
    """
    session = find(here.reader, given.session_id)
    _check_kinds(here, session.id, given.event_types)
    rows, following = events_page(
        here.reader, session.id, given.limit, given.after or None, given.event_types
    )
    return {
        "session_id": session.public_id,
        "total_events": session.events,
        "events": [_slim(here, row) for row in rows],
        "next": following,
    }


def _check_kinds(here: Here, session_id: int, wanted: Sequence[str]) -> None:
    """Refuse a kind that neither live trace knows nor the session has: plugins have their own."""
    if set(wanted) <= set(KINDS):
        return
    table = models.Event
    query = table.select(table.kind).where(table.session_id == session_id).distinct()
    known = [*KINDS, *sorted({row[0] for row in here.reader.rows(query)} - set(KINDS))]
    unknown = [each for each in wanted if each not in known]
    if unknown:
        named = ", ".join(unknown)
        raise ToolProblem(f"event_types: there is no {named}; kinds are {', '.join(known)}")


def _slim(here: Here, row: Any) -> dict[str, Any]:
    told = {
        "id": row.id,
        "seq": row.seq,
        "name": row.kind,
        "timestamp": iso(row.ts_us),
        "level": LEVELS.get(row.status, "INFO"),
        "text": row.preview,
        "tool_name" if row.kind.startswith("tool.") else "model": row.name,
        "duration_ms": None if row.dur_us is None else row.dur_us / 1000,
        "input_tokens": row.tok_in,
        "output_tokens": row.tok_out,
        "cached_tokens": row.tok_cached,
        "cost_usd": None if row.cost_nano is None else dollars(row.cost_nano),
        "finish_reason": row.finish,
    }
    wanted = _SLIM.get(row.kind, ())
    attributes = attributes_of(here.reader, row) if wanted and row.size < 1_000_000 else {}
    told |= {name: attributes[name] for name in wanted if name in attributes}
    return {name: value for name, value in told.items() if value not in (None, "")}


class GetEvent(Arguments):
    """Which event."""

    session_id: SessionId
    event_id: Annotated[
        int | Annotated[str, Meta(min_length=1, max_length=64)],
        Meta(description="`id` of an event in get_session_events, or its span id."),
    ]


def get_event(here: Here, given: GetEvent) -> dict[str, Any]:
    """Return an event with all that is known of it."""
    session = find(here.reader, given.session_id)
    event_id = str(given.event_id)
    rows = _events(here, session.id, event_id)
    if not rows:
        raise NotFound(f"session {given.session_id[:100]} has no event {event_id}")
    row = rows[0]
    names = agent_names(here.reader, [row.agent_id])
    event = event_of(here.reader, row, session.public_id, names, MOST_TEXT)
    others = [{"id": other.id, "name": other.kind} for other in rows[1:]]
    told = {"event": event, **_said(here, row)}
    return {**told, "others_of_this_span": others} if others else told


def _events(here: Here, session_id: int, event_id: str) -> list[Any]:
    table = models.Event
    query = table.select().where(table.session_id == session_id)
    if re.fullmatch(r"[0-9]{1,15}", event_id):
        found = here.reader.rows(query.where(table.id == int(event_id)))
        if found:
            return found
    # There is no index for spans: a session's events are looked through, within the time limit.
    return here.reader.rows(query.where(table.span == event_id).order_by(table.seq).limit(20))


def _said(here: Here, row: Any) -> dict[str, Any]:
    """Return the messages of a call's event: they are kept with the call."""
    if row.call_id is None or row.kind not in {"llm.call.start", "llm.call.finish"}:
        return {}
    call = here.reader.one(models.Call.select().where(models.Call.id == row.call_id))
    if call is None:
        return {}
    if row.kind == "llm.call.finish":
        reply = reply_of(here.reader, call)
        message = reply.message if reply is not None else None
        return {"reply": message_json(message)} if message is not None else {}
    request = request_of(here.reader, call, only_new=True)
    if request is None:
        return {}
    return {
        "carried_messages": call.carried,
        "new_messages": [message_json(message) for message in request.messages],
    }


class Search(Arguments):
    """What to look for."""

    query: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=500,
            description='Words that must all be there; "phrases"; beginnings with a star: inv*.',
        ),
    ]
    limit: Limit = 20
    after: After = ""


_FOUND = """
    SELECT events.id, events.seq, events.ts_us, events.kind, events.name, events.preview,
           sessions.public_id, sessions.title
    FROM fts JOIN events ON events.id = fts.rowid
    LEFT JOIN sessions ON sessions.id = events.session_id
    WHERE fts MATCH ? AND fts.rowid < ? ORDER BY fts.rowid DESC LIMIT ?
"""
_LAST = 2**62


def search(here: Here, given: Search) -> dict[str, Any]:
    """Return events in which something was said, newest first."""
    query = match_query(given.query)
    if not query:
        raise ToolProblem("query: there is no word in it that could be searched for")
    before = read_cursor(given.after, 1)[0] if given.after else _LAST
    rows = here.reader.sql(_FOUND, (query, before, given.limit + 1))
    shown = rows[: given.limit]
    return {
        "results": [_hit(row) for row in shown],
        "next": cursor(shown[-1][0]) if len(rows) > len(shown) else None,
    }


def _hit(row: tuple[Any, ...]) -> dict[str, Any]:
    names = ("event_id", "seq", "timestamp", "name", "of", "text", "session_id", "session_title")
    told = dict(zip(names, row, strict=True))
    return {**told, "timestamp": iso(told["timestamp"])}


TOOLS: tuple[Tool[Any], ...] = (
    Tool(
        "search",
        "Search",
        "Searches what users, models and tools said, newest first. Returns events with their"
        " session; read one with get_event.",
        Search,
        search,
    ),
    Tool(
        "get_session_events",
        "Events of a session",
        "The events of a session in order, each with a line of what was said, model or tool,"
        " duration, tokens and cost. Read the whole of one with get_event.",
        GetSessionEvents,
        get_session_events,
    ),
    Tool(
        "get_event",
        "One event",
        "An event with all attributes, and for calls the new messages or the reply. Long texts are"
        " cut and say so.",
        GetEvent,
        get_event,
    ),
)
