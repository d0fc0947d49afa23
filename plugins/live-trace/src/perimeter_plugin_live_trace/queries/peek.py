"""A session at a glance: its totals and the last things that happened in it."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.queries.sessions import Filter, SessionRow, filtered, rows_of
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Event


EVENTS = 12
"""That are shown."""
_KINDS = ("llm.call.start", "llm.call.finish", "llm.call.error", "tool.execution", "tool.result",
          "security.finding")  # fmt: skip


class Glimpse(msgspec.Struct, frozen=True):
    """An event in a line."""

    id: int
    seq: int
    ts_us: int
    kind: str
    name: str
    status: str
    preview: str


class Peek(msgspec.Struct, frozen=True):
    """A session, its first words, and its last events, the oldest of them first."""

    session: SessionRow
    events: list[Glimpse]


def peek_of(reader: Reader, public_id: str, now_us: int) -> Peek | None:
    """Return a session at a glance; None where there is none."""
    if not public_id:
        return None
    found = reader.rows(filtered(reader, Filter(ids=(public_id,)), now_us).limit(1))
    if not found:
        return None
    row = rows_of(reader, found, now_us)[0]
    query = Event.select(
        Event.id, Event.seq, Event.ts_us, Event.kind, Event.name, Event.status, Event.preview
    ).where((Event.session_id == row.id) & Event.kind.in_(_KINDS))
    last = reader.rows(query.order_by(Event.seq.desc()).limit(EVENTS))
    return Peek(row, [Glimpse(*each) for each in reversed(last)])
