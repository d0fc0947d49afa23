"""A session: its head, what it consists of, and which ones are beside it."""

from __future__ import annotations

from typing import Any

import msgspec
from peewee import Tuple

from perimeter_plugin_live_trace.queries.evidence import Context, contexts
from perimeter_plugin_live_trace.queries.findings import Evidence, evidence
from perimeter_plugin_live_trace.queries.paging import Page, Place, page
from perimeter_plugin_live_trace.queries.reading import Header, headers, request_of
from perimeter_plugin_live_trace.queries.sessions import SORTS, Filter, filtered
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import (
    Call,
    Event,
    Finding,
    FindingGroup,
    Gone,
    Session,
    SessionTool,
)
from perimeter_plugin_live_trace.web.formats import moment


class Missing(LookupError):
    """There is no such session; the message says whether there was."""


class Seen(msgspec.Struct, frozen=True):
    """A finding of a session, with what was seen."""

    id: int
    group_id: int
    seq: int
    event_id: int | None
    rule: str
    owasp: str
    sev: int
    title: str
    detector: str
    confidence: float | None
    evidence: Evidence
    created_us: int
    state: str
    context: Context


class RawEvent(msgspec.Struct, frozen=True):
    """An event as a row of the raw table."""

    id: int
    seq: int
    ts_us: int
    kind: str
    name: str
    span: str
    parent_span: str
    dur_us: int | None
    tok_in: int | None
    tok_out: int | None
    cost_nano: int | None
    status: str
    size: int
    preview: str
    call_id: int | None


class Info(msgspec.Struct, frozen=True):
    """What is technically known of a session, from its newest call."""

    call: Any
    event_id: int
    request_headers: list[Header]
    response_headers: list[Header]
    params: list[tuple[str, str]]
    tools: list[tuple[str, bool, int, int]]
    system_versions: int
    stored: list[tuple[str, int]]
    rewrites: int
    retries: int
    replays: int
    verdicts: list[tuple[str, str]]
    overhead_us: int | None


def find(reader: Reader, public_id: str) -> Any:
    """
    Return the row of a session.

    Raises:
        Missing: There is none.
    """
    row = reader.one(Session.select().where(Session.public_id == public_id))
    if row is not None:
        return row
    gone = reader.one(Gone.select().where(Gone.public_id == public_id))
    if gone is None:
        raise Missing("There is no such session. Perhaps its address was cut.")
    raise Missing(f"This session was deleted on {moment(gone.at_us)} UTC: {gone.reason}.")


def neighbours(reader: Reader, row: Any, wanted: Filter, sort: str, now_us: int) -> tuple[str, str]:
    """Return the sessions above and below one in a list, by their public ids; "" for none."""
    keys, down = SORTS[sort.removeprefix("-")], sort.startswith("-")
    here = Tuple(*(getattr(row, key.column_name) for key in keys))
    found = []
    for lower in (False, True):
        beyond = Tuple(*keys) < here if lower == down else Tuple(*keys) > here
        query = filtered(reader, wanted, now_us).where(beyond)
        order = [key.desc() if lower == down else key.asc() for key in keys]
        next_ = reader.one(query.order_by(*order).limit(1))
        found.append(next_.public_id if next_ else "")
    return found[0], found[1]


def raw_events(reader: Reader, session_id: int, kind: str, at: Place | None, size: int) -> Page:
    """Return a page of a session's events, the first ones first."""
    query = Event.select(*_fields(RawEvent, Event)).where(Event.session_id == session_id)
    if kind:
        query = query.where(Event.kind == kind)
    found = page(reader, query, (Event.seq,), at=at, size=size, down=False)
    return msgspec.structs.replace(found, rows=[RawEvent(*row) for row in found.rows])


def _fields(struct: type[msgspec.Struct], model: Any) -> list[Any]:
    return [getattr(model, name) for name in struct.__struct_fields__]


def kinds(reader: Reader, session_id: int) -> list[str]:
    """Return which kinds of events a session has, of its first thousands."""
    some = Event.select(Event.kind).where(Event.session_id == session_id)
    return sorted({row[0] for row in reader.rows(some.order_by(Event.seq).limit(5000))})


def findings(reader: Reader, session_id: int, *, pii: bool, limit: int = 200) -> list[Seen]:
    """Return the findings of a session, the worst first: only those about personal data, or all."""
    query = (
        Finding.select(Finding, Event.seq, FindingGroup.state)
        .join(FindingGroup, on=(FindingGroup.id == Finding.group_id))
        .switch(Finding)
        .left_outer_join(Event, on=(Event.id == Finding.event_id))
        .where(Finding.session_id == session_id)
    )
    if pii:
        query = query.where(Finding.rule.startswith("pii"))
    rows = reader.rows(query.order_by(Finding.sev.desc(), Finding.id).limit(limit))
    around = contexts(reader, rows)
    return [
        Seen(row.id, row.group_id, row.seq or 0, row.event_id, row.rule, row.owasp, row.sev,
             row.title, row.detector, row.confidence, evidence(row.evidence), row.created_us,
             row.state, around[row.id])
        for row in rows
    ]  # fmt: skip


def info(reader: Reader, row: Any) -> Info | None:
    """Return what is technically known of a session; None where it has no call."""
    calls = Call.select().where(Call.session_id == row.id)
    call = reader.one(calls.order_by(Call.number.desc()).limit(1))
    if call is None:
        return None
    request = request_of(reader, call)
    used = SessionTool.select(SessionTool.tool, SessionTool.calls, SessionTool.errors)
    found = {
        name: (count, bad)
        for name, count, bad in reader.rows(used.where(SessionTool.session_id == row.id))
    }
    offered = list(request.tools) if request else []
    tools = [(name, True, *found.get(name, (0, 0))) for name in offered[:200]]
    tools += [(name, False, *found[name]) for name in sorted(found.keys() - set(offered))]
    sums = reader.sql(_SUMS, (row.id,))[0]
    event = reader.value(Event.select(Event.id).where(Event.call_id == call.id).limit(1), 0)
    return Info(
        call={name: getattr(call, name) for name in _CALL},
        event_id=event,
        request_headers=headers(reader, call.request_headers_blob),
        response_headers=headers(reader, call.response_headers_blob),
        params=[
            (name, _short(value)) for name, value in (request.params if request else {}).items()
        ],
        tools=tools,
        system_versions=sums[0],
        stored=[("Requests as sent", sums[1]), ("Answers as sent", sums[2])],
        rewrites=sums[3],
        retries=sums[4],
        replays=sums[5],
        verdicts=_verdicts(call.verdicts),
        overhead_us=sums[6],
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else text[:200] + "…"


def _verdicts(text: str) -> list[tuple[str, str]]:
    try:
        return msgspec.json.decode(text, type=list[tuple[str, str]])
    except msgspec.MsgspecError:
        return []


_CALL = ("exchange", "number", "upstream", "dialect", "operation", "method", "target", "model",
         "http_status", "outcome", "match", "score", "request_size", "response_size", "messages",
         "carried", "request_cut", "response_cut", "overhead_us", "attempts")  # fmt: skip
_SUMS = """
    SELECT count(DISTINCT nullif(system_digest, '')), coalesce(sum(request_size), 0),
        coalesce(sum(response_size), 0), coalesce(sum(rewritten), 0),
        coalesce(sum(retry_of != ''), 0), coalesce(sum(replay_of != ''), 0), max(overhead_us)
    FROM calls WHERE session_id = ?
"""
