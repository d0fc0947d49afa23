"""Sessions as the API tells of them: in a list, and one with its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from peewee import Tuple

from perimeter_plugin_live_trace.api.limits import bounded, cursor, read_cursor, shortened
from perimeter_plugin_live_trace.api.risk import risk_of_session
from perimeter_plugin_live_trace.api.shapes import (
    Event,
    Moment,
    Session,
    SessionDetail,
    SessionSummary,
)
from perimeter_plugin_live_trace.queries.names import AgentName, agent_names
from perimeter_plugin_live_trace.store import Reader, models
from perimeter_plugin_live_trace.web.formats import iso
from perimeter_plugin_live_trace.web.page import NotFound


SCHEMA_VERSION = "1.0"
"""Of events."""
LEVELS = {"warning": "WARNING", "error": "ERROR"}
_MOST_TEXT = 64 * 1024
"""Characters of one text in an answer."""
_MOST_BYTES = 4 * 1024 * 1024
"""Bytes of events in an answer; the page is shorter where they are large."""
_MINUTE_US = 60_000_000


def find(reader: Reader, public_id: str) -> Any:
    """
    Return the row of a session.

    Raises:
        NotFound: There is none; the message says whether there was.
    """
    row = reader.one(models.Session.select().where(models.Session.public_id == public_id))
    if row is not None:
        return row
    gone = reader.one(models.Gone.select().where(models.Gone.public_id == public_id))
    if gone is not None:
        raise NotFound(f"session {public_id[:100]} was deleted on {iso(gone.at_us)}: {gone.reason}")
    raise NotFound(f"there is no session {public_id[:100]}")


def sessions_page(
    reader: Reader, condition: Any, limit: int, after: str | None
) -> tuple[list[Any], str | None]:
    """
    Return rows of sessions, newest activity first, and the cursor of the next page.

    Args:
        reader: The database.
        condition: Which sessions; None for all.
        limit: Rows at most.
        after: The cursor of an earlier answer, or None.

    Raises:
        BadCursor: `after` is none.
    """
    table = models.Session
    query = table.select()
    if condition is not None:
        query = query.where(condition)
    if after:
        query = query.where(Tuple(table.last_us, table.id) < Tuple(*read_cursor(after, 2)))
    query = query.order_by(table.last_us.desc(), table.id.desc()).limit(limit + 1)
    rows = reader.rows(query)
    more = rows[limit - 1] if len(rows) > limit else None
    return rows[:limit], cursor(more.last_us, more.id) if more else None


def summaries(reader: Reader, rows: Iterable[Any]) -> list[SessionSummary]:
    """Return sessions as they stand in lists."""
    listed = list(rows)
    names = agent_names(reader, [row.agent_id for row in listed])
    return [SessionSummary(**summary(row, names)) for row in listed]


def summary(row: Any, names: Mapping[int, AgentName]) -> dict[str, Any]:
    """Return what a list says of a session, by name."""
    return {
        "id": row.public_id,
        "title": row.title,
        "agent_id": names[row.agent_id].key if row.agent_id else None,
        "workflow_id": row.workflow or None,
        "status": row.status,
        "is_active": row.status == "active",
        "is_completed": row.status == "done",
        "created_at": iso(row.started_us),
        "last_activity": iso(row.last_us),
        "duration_minutes": round((row.last_us - row.started_us) / _MINUTE_US, 3),
        "models": [name for name in row.models.split(", ") if name],
        "total_events": row.events,
        "message_count": row.turns,
        "tool_uses": row.tools,
        "errors": row.errors,
        "input_tokens": row.tok_in,
        "output_tokens": row.tok_out,
        "cached_tokens": row.tok_cached,
        "total_tokens": row.tok_in + row.tok_out,
        "total_cost_usd": dollars(row.cost_nano),
        "unpriced_calls": row.unpriced,
        "p95_response_time_ms": row.p95_us / 1000 if row.p95_us else None,
        "findings": row.findings,
    }


def dollars(nano: int) -> float:
    """Return billionths of a dollar as dollars."""
    return round(nano / 1e9, 9)


def session_detail(
    reader: Reader, public_id: str, limit: int, after: str | None, now_us: int
) -> SessionDetail:
    """
    Return a session with a page of its events.

    Raises:
        NotFound: There is no such session.
        BadCursor: `after` is none of ours.
    """
    row = find(reader, public_id)
    rows, following = events_page(reader, row.id, limit, after)
    names = agent_names(reader, [row.agent_id, *(event.agent_id for event in rows)])
    return SessionDetail(
        session=_session(reader, row, names),
        events=[event_of(reader, each, row.public_id, names) for each in rows],
        timeline=[_moment(each) for each in rows],
        risk_analysis=risk_of_session(reader, row),
        last_updated=iso(now_us),
        next=following,
    )


def events_page(
    reader: Reader,
    session_id: int,
    limit: int,
    after: str | None,
    kinds: Iterable[str] = (),
) -> tuple[list[Any], str | None]:
    """Return rows of a session's events, oldest first, and the cursor of the next page."""
    table = models.Event
    start = read_cursor(after, 1)[0] if after else 0
    query = table.select().where((table.session_id == session_id) & (table.seq > start))
    wanted = list(kinds)
    if wanted:
        query = query.where(table.kind.in_(wanted))
    found = reader.rows(query.order_by(table.seq).limit(limit + 1))
    kept = _light(found[:limit])
    return kept, cursor(kept[-1].seq) if len(found) > len(kept) else None


def _light(rows: list[Any]) -> list[Any]:
    """Return as many of the first events as an answer can hold, one at least."""
    total = 0
    for count, row in enumerate(rows):
        total += row.size
        if count and total > _MOST_BYTES:
            return rows[:count]
    return rows


def event_of(
    reader: Reader,
    row: Any,
    public_id: str | None,
    names: Mapping[int, AgentName],
    most_text: int = _MOST_TEXT,
) -> Event:
    """Return an event with its attributes."""
    return Event(
        id=row.id,
        seq=row.seq,
        schema_version=SCHEMA_VERSION,
        timestamp=iso(row.ts_us),
        span_id=row.span,
        name=row.kind,
        level=LEVELS.get(row.status, "INFO"),
        agent_id=names[row.agent_id].key if row.agent_id else None,
        session_id=public_id,
        attributes=bounded(attributes_of(reader, row), most_text),
    )


def attributes_of(reader: Reader, row: Any) -> dict[str, Any]:
    """Return the attributes of an event; none where they can't be read."""
    try:
        return msgspec.json.decode(reader.blob(row.attributes_blob) or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {}


def _moment(row: Any) -> Moment:
    details = {
        "name": row.name,
        "duration_ms": None if row.dur_us is None else row.dur_us / 1000,
        "input_tokens": row.tok_in,
        "output_tokens": row.tok_out,
        "cached_tokens": row.tok_cached,
        "cost_usd": None if row.cost_nano is None else dollars(row.cost_nano),
        "finish_reason": row.finish,
    }
    return Moment(
        id=row.id,
        timestamp=iso(row.ts_us),
        event_type=row.kind,
        description=row.preview,
        level=LEVELS.get(row.status, "INFO"),
        details={name: value for name, value in details.items() if value not in (None, "")},
    )


def _session(reader: Reader, row: Any, names: Mapping[int, AgentName]) -> Session:
    start = _start(reader, row.id)
    tools = start.get("tools")
    prompt = start.get("prompt")
    vendor = start.get("llm.vendor")
    uses = models.SessionTool
    used = reader.rows(
        uses.select(uses.tool, uses.calls).where(uses.session_id == row.id).limit(200)
    )
    labels = reader.rows(models.Tag.select().where(models.Tag.session_id == row.id).limit(200))
    told = summary(row, names)
    return Session(
        **told,
        model=told["models"][0] if told["models"] else None,
        provider=vendor if isinstance(vendor, str) else None,
        run=row.run or None,
        recognised_by=row.match,
        avg_response_time_ms=row.llm_us / row.turns / 1000 if row.turns and row.llm_us else None,
        error_rate=row.errors / row.turns if row.turns else None,
        tool_usage_details=dict(used),
        available_tools=[str(tool) for tool in tools[:200]] if isinstance(tools, list) else [],
        system_prompt=shortened(prompt, _MOST_TEXT) if isinstance(prompt, str) else None,
        tags={label.key: label.value for label in labels},
    )


def _start(reader: Reader, session_id: int) -> dict[str, Any]:
    """Return what the first event of a session says of it."""
    table = models.Event
    first = (table.session_id == session_id) & (table.seq <= 8) & (table.kind == "session.start")
    row = reader.one(table.select().where(first).order_by(table.seq).limit(1))
    return attributes_of(reader, row) if row is not None else {}
