"""Events: the newest as they come, and each alone, with all of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from markupsafe import Markup

from perimeter_plugin_live_trace.queries import curl as ask_curl
from perimeter_plugin_live_trace.queries import events as ask_events
from perimeter_plugin_live_trace.queries.events import KINDS, EventRow, Part
from perimeter_plugin_live_trace.queries.names import AgentName
from perimeter_plugin_live_trace.queries.paging import place
from perimeter_plugin_live_trace.queries.reading import headers
from perimeter_plugin_live_trace.queries.sessions import agents
from perimeter_plugin_live_trace.store.models import Session
from perimeter_plugin_live_trace.web.content import PREVIEW, text_view
from perimeter_plugin_live_trace.web.json_view import json_view, parse, resolve
from perimeter_plugin_live_trace.web.markdown import markdown_view
from perimeter_plugin_live_trace.web.page import Ask, Download, NotFound, Redirect, fragment, page


_LARGEST_TREE = 32 * 1024 * 1024
_PIECE = 256 * 1024


class EventsView(msgspec.Struct, frozen=True):
    """The newest events."""

    title: str
    rows: list[EventRow]
    prev: str
    next: str
    newest: int
    kind: str
    kinds: tuple[str, ...]
    agent: str
    agents: list[AgentName]
    first: bool
    any: bool


class RowsView(msgspec.Struct, frozen=True):
    """Rows alone."""

    rows: list[EventRow]


class BodyView(msgspec.Struct, frozen=True):
    """
    A part of an event.

    Attributes:
        html: What is shown of it.
        shown: Bytes of it, 0 for a tree.
        size: Bytes of all of it.
        before: Bytes that come before what is shown.
    """

    title: str
    id: int
    seq: int
    session: str
    kind: str
    part: str
    parts: list[str]
    form: str
    html: Markup
    shown: int
    size: int
    before: int
    note: str
    problem: str


class CurlView(msgspec.Struct, frozen=True):
    """A call as a command."""

    title: str
    id: int
    seq: int
    session: str
    command: str
    variable: bool


def _query(ask: Ask) -> Any:
    span = ask.range
    return ask_events.tail_query(
        ask.reader,
        kind=ask.params.choice("kind", "", ("", *KINDS)),
        agent=ask.params.text("agent"),
        from_us=span.from_us,
        to_us=span.to_us if span.name == "custom" else None,
    )


@page("/events", template="pages/events.html", nav="events", title="Events")
def events(ask: Ask) -> EventsView:
    """Show the newest events, and those that come while it is looked at."""
    at = place(ask.params, [int])
    found = ask_events.tail(ask.reader, _query(ask), at, ask.prefs.page_size)
    rows = found.rows
    anything = rows or ask.reader.sql("SELECT 1 FROM events LIMIT 1")
    return EventsView(
        title="Events",
        rows=rows,
        prev=found.prev,
        next=found.next,
        newest=max((row.id for row in rows), default=0),
        kind=ask.params.choice("kind", "", ("", *KINDS)),
        kinds=KINDS,
        agent=ask.params.text("agent"),
        agents=agents(ask.reader),
        first=not found.prev,
        any=bool(anything),
    )


@fragment("/events/rows", template="parts/event_rows.html")
def rows(ask: Ask) -> RowsView:
    """Show the events that came after one."""
    after = ask.params.integer("after", 0, 0, 2**62)
    return RowsView(ask_events.newer(ask.reader, _query(ask), after))


def _find(ask: Ask) -> tuple[Any, Any]:
    text = ask.path["id"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0
    event = ask_events.find(ask.reader, number)
    if event is None:
        raise NotFound("There is no such event, or no longer.")
    return event, ask_events.call_of(ask.reader, event)


def _session(ask: Ask, event: Any) -> str:
    if event.session_id is None:
        return ""
    query = Session.select(Session.public_id).where(Session.id == event.session_id)
    return str(ask.reader.value(query, ""))


@page("/events/{id}", template="pages/event.html", nav="events")
def event(ask: Ask) -> Redirect:
    """
    Lead to the event in its session, or to its attributes where it is in none.

    Raises:
        NotFound: There is none, or no longer.
    """
    found, _ = _find(ask)
    public_id = _session(ask, found)
    if not public_id:
        return Redirect(f"/events/{found.id}/body?part=attributes&as=json")
    url = ask.url("/sessions/{id}", id=public_id, at=found.seq, agent=None)
    return Redirect(f"{url}#e{found.seq}")


def _part(ask: Ask, event: Any, call: Any, default: str) -> tuple[str, Part]:
    name = ask.params.text("part") or default
    found = ask_events.part_of(ask.reader, event, call, name)
    if found is None:
        raise NotFound("This event has no such part, or it was not kept.")
    return name, found


@page("/events/{id}/body", template="pages/event.html", nav="events")
def body(ask: Ask) -> BodyView:
    """
    Show a part of an event: as text, as Markdown or as a tree of JSON.

    Raises:
        NotFound: There is no such event or part.
    """
    found, call = _find(ask)
    name, part = _part(ask, found, call, "attributes")
    form = ask.params.choice("as", "json" if part.json else "text", ("text", "md", "json"))
    html, shown, before, problem = _shown(ask, found.id, name, part, form)
    return BodyView(
        title=f"Event {found.seq or found.id}",
        id=found.id,
        seq=found.seq,
        session=_session(ask, found),
        kind=found.kind,
        part=name,
        parts=ask_events.parts_of(found, call),
        form=form,
        html=html,
        shown=shown,
        size=len(part.data),
        before=before,
        note=part.note,
        problem=problem,
    )


def _shown(
    ask: Ask, event_id: int, name: str, part: Part, form: str
) -> tuple[Markup, int, int, str]:
    """Return a part as HTML, how many bytes of it are shown, from where on, and what is wrong."""
    if form == "json":
        html, problem = _tree(ask, event_id, name, part.data)
        if html is not None:
            return html, 0, 0, problem
    else:
        problem = ""
    if form == "md":
        preview = markdown_view(part.data.decode("utf-8", "replace"))
        return preview.html, preview.shown, 0, problem
    offset = ask.params.integer("offset", 0, 0, 2**40)
    preview = text_view(part.data, PREVIEW, offset)
    return preview.html, preview.shown, min(offset, len(part.data)), problem


def _tree(ask: Ask, event_id: int, name: str, data: bytes) -> tuple[Markup | None, str]:
    if len(data) > _LARGEST_TREE:
        return None, "It is too large for a tree, so it is shown as text."
    try:
        value = parse(data)
    except ValueError:
        return None, "It is no JSON, so it is shown as text."
    pointer, skip = ask.params.text("ptr"), ask.params.integer("skip", 0, 0, 2**40)
    try:
        value = resolve(value, pointer)
    except (LookupError, ValueError):
        pointer, problem = "", f"There is nothing at “{pointer[:80]}”."
    else:
        problem = ""

    def more(deeper: str, count: int) -> str:
        query = {"part": name, "as": "json", "ptr": deeper, "skip": count or None}
        return ask.url("/events/{id}/body", id=event_id, agent=None, **query)

    return json_view(value, pointer=pointer, skip=skip, more=more), problem


@page("/events/{id}/raw", template="pages/event.html", nav="events")
def raw(ask: Ask) -> Download:
    """
    Show a part of an event as it is, as plain text in a sandbox.

    Raises:
        NotFound: There is no such event or part.
    """
    found, call = _find(ask)
    default = (
        "attributes"
        if call is None
        else "request"
        if found.kind == "llm.call.start"
        else "response"
    )
    _, part = _part(ask, found, call, default)
    return Download("", "text/plain; charset=utf-8", _pieces(part.data))


def _pieces(data: bytes) -> Iterator[bytes]:
    # Bytes that are no UTF-8 would be whatever the browser takes them for.
    clean = data.decode("utf-8", "replace").encode()
    for start in range(0, len(clean), _PIECE):
        yield clean[start : start + _PIECE]


@page("/events/{id}/curl", template="pages/event_curl.html", nav="events")
def curl(ask: Ask) -> CurlView:
    """
    Show the call of an event as a command.

    Raises:
        NotFound: There is no such event, or it tells of no call.
    """
    found, call = _find(ask)
    if call is None or call.envelope_blob is None:
        raise NotFound("This event tells of no call whose request was kept.")
    fields = headers(ask.reader, call.request_headers_blob)
    proxy = ask.site.proxy_url or "http://127.0.0.1:4000"
    dialect = ask.reader.known.dialect(call.dialect)
    command = ask_curl.curl(call, dialect, ask.reader.body(call), fields, proxy)
    return CurlView(
        title=f"Call {call.number} as curl",
        id=found.id,
        seq=found.seq,
        session=_session(ask, found),
        command=command,
        variable="_API_KEY" in command,
    )


routes = (events, rows, event, body, raw, curl)
