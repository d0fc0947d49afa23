"""Single events, the parts of the calls that they tell of, and the newest events of all."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter.calls import Message, Thinking, ToolCall, ToolResult
from perimeter.calls import Text as Words
from perimeter_plugin_live_trace.queries.evidence import personal_of
from perimeter_plugin_live_trace.queries.names import AgentName, agent_by_key, agent_names
from perimeter_plugin_live_trace.queries.paging import Page, Place, page
from perimeter_plugin_live_trace.queries.reading import (
    header,
    headers,
    reply_of,
    request_of,
    system_of,
)
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Event, Session


KINDS = ("llm.call.start", "llm.call.finish", "llm.call.error", "tool.execution", "tool.result",
         "security.finding", "session.start", "session.end")  # fmt: skip
"""What can be filtered by; other kinds are shown among all."""
PARTS = ("attributes", "request", "response", "request-headers", "response-headers", "system")
"""Of an event and its call, beside `message-<i>-<j>` and `reply-<j>`."""
_EDGE = 100


class EventRow(msgspec.Struct, frozen=True):
    """An event as a row of the live tail."""

    id: int
    session_id: int | None
    public_id: str
    seq: int
    ts_us: int
    kind: str
    name: str
    agent: AgentName
    dur_us: int | None
    tok_in: int | None
    tok_out: int | None
    cost_nano: int | None
    status: str
    finish: str
    preview: str


class Part(msgspec.Struct, frozen=True):
    """
    A part of an event or its call.

    Attributes:
        data: Its bytes.
        json: Whether that is JSON.
        note: What is to be known of it, such as that it was cut.
    """

    data: bytes
    json: bool
    note: str = ""


_COLUMNS = (Event.id, Event.session_id, Event.seq, Event.ts_us, Event.kind, Event.name,
            Event.agent_id, Event.dur_us, Event.tok_in, Event.tok_out, Event.cost_nano,
            Event.status, Event.finish, Event.preview)  # fmt: skip


def tail_query(
    reader: Reader, *, kind: str = "", agent: str = "", from_us: int = 0, to_us: int | None = None
) -> Any:
    """Return the query for events of a kind, of an agent, in a span of time."""
    query = Event.select(*_COLUMNS)
    if kind:
        query = query.where(Event.kind == kind)
    if agent:
        found = agent_by_key(reader, agent)
        query = query.where(Event.agent_id == (found.id if found else -1))
    if from_us:
        # Events come about in the order of time, so the range of ids bounds what is looked at.
        edge = (
            Event.select(Event.id).where(Event.ts_us >= from_us).order_by(Event.ts_us).limit(_EDGE)
        )
        first = min((row[0] for row in reader.rows(edge)), default=2**62)
        query = query.where((Event.id >= first) & (Event.ts_us >= from_us))
    return query if to_us is None else query.where(Event.ts_us < to_us)


def tail(reader: Reader, query: Any, at: Place | None, size: int) -> Page:
    """Return a page of events, the newest first."""
    found = page(reader, query, (Event.id,), at=at, size=size)
    return msgspec.structs.replace(found, rows=shown(reader, found.rows))


def newer(reader: Reader, query: Any, after: int, most: int = 200) -> list[EventRow]:
    """Return the events that came after one, the newest first."""
    rows = reader.rows(query.where(Event.id > after).order_by(Event.id.desc()).limit(most))
    return shown(reader, rows)


def shown(reader: Reader, rows: list[Any]) -> list[EventRow]:
    """Return rows of events as they are shown."""
    names = agent_names(reader, [row.agent_id for row in rows])
    ids = sorted({row.session_id for row in rows if row.session_id})
    query = Session.select(Session.id, Session.public_id).where(Session.id.in_(ids))
    public = dict(reader.rows(query)) if ids else {}
    return [_row(row, names, public) for row in rows]


def _row(row: Any, names: dict[int, AgentName], public: dict[int, str]) -> EventRow:
    own = {"agent", "public_id"}
    same = {name: getattr(row, name) for name in EventRow.__struct_fields__ if name not in own}
    return EventRow(
        **same, agent=names[row.agent_id or 0], public_id=public.get(row.session_id or 0, "")
    )


def find(reader: Reader, event_id: int) -> Any | None:
    """Return the row of an event."""
    return reader.one(Event.select().where(Event.id == event_id))


def call_of(reader: Reader, event: Any) -> Any | None:
    """Return the row of the call that an event tells of."""
    if event.call_id is None:
        return None
    return reader.one(Call.select().where(Call.id == event.call_id))


def parts_of(event: Any, call: Any | None) -> list[str]:
    """Return which parts can be asked for."""
    if call is None:
        return ["attributes"]
    columns = {"request": "envelope_blob", "response": "response_blob",
               "request-headers": "request_headers_blob",
               "response-headers": "response_headers_blob"}  # fmt: skip
    found = [name for name, column in columns.items() if getattr(call, column) is not None]
    return [*(["attributes"] if event.attributes_blob else []), *found]


def part_of(reader: Reader, event: Any, call: Any | None, name: str) -> Part | None:
    """Return a part of an event or its call; None where there is none of that name."""
    if name == "attributes":
        return Part(reader.blob(event.attributes_blob) or b"{}", json=True)
    if call is None:
        return None
    if name in _WHOLE:
        whole: Part = _WHOLE[name](reader, call)
        return whole
    kind, *numbers = name.split("-")
    if not numbers or not all(
        each.isascii() and each.isdigit() and len(each) < 8 for each in numbers
    ):
        return None
    message = _message(reader, call, kind, [int(each) for each in numbers])
    return _part(reader, call, message) if message is not None else None


def _part(reader: Reader, call: Any, text: str) -> Part:
    """Return a text that people read; whole bodies are what was sent."""
    shown = personal_of(reader, {call.session_id}).hide(text)
    return Part(shown.encode("utf-8", "surrogatepass"), json=False)


def _request(reader: Reader, call: Any) -> Part:
    note = "The request was too large: this is a part of it." if call.request_cut else ""
    return Part(reader.body(call), json=not call.request_cut, note=note)


def _response(reader: Reader, call: Any) -> Part:
    note = "The answer was too large: this is a part of it." if call.response_cut else ""
    kind = header(headers(reader, call.response_headers_blob), "content-type")
    return Part(
        reader.blob(call.response_blob),
        json="json" in kind and "nd" not in kind and not note,
        note=note,
    )


_WHOLE: dict[str, Any] = {
    "request": _request,
    "response": _response,
    "request-headers": lambda reader, call: Part(reader.blob(call.request_headers_blob), json=True),
    "response-headers": lambda reader, call: Part(
        reader.blob(call.response_headers_blob), json=True
    ),
    "system": lambda reader, call: _part(reader, call, system_of(reader, call)),
}


def _message(reader: Reader, call: Any, kind: str, numbers: list[int]) -> str | None:
    """Return the words of a part of a message."""
    if kind == "message" and len(numbers) == 2:
        request = request_of(reader, call)
        messages = request.messages if request else ()
        return _words(messages[numbers[0]], numbers[1]) if numbers[0] < len(messages) else None
    if kind == "reply" and len(numbers) == 1:
        reply = reply_of(reader, call)
        return _words(reply.message, numbers[0]) if reply and reply.message else None
    return None


def _words(message: Message, place: int) -> str | None:
    part = message.parts[place] if place < len(message.parts) else None
    if isinstance(part, (Words, Thinking, ToolResult)):
        return part.text
    return part.arguments if isinstance(part, ToolCall) else None
