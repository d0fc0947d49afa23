"""Which rows and columns each export has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import msgspec

from perimeter_plugin_live_trace.queries import findings as ask_findings
from perimeter_plugin_live_trace.queries.exports import Record, iso, walk
from perimeter_plugin_live_trace.queries.matrix import Matrix, owasp_matrix, severity_matrix
from perimeter_plugin_live_trace.queries.names import agent_by_key
from perimeter_plugin_live_trace.queries.owasp import BY_KEY
from perimeter_plugin_live_trace.queries.sessions import filtered
from perimeter_plugin_live_trace.store.models import Agent, Event, Finding, FindingGroup, Session
from perimeter_plugin_live_trace.web import formats
from perimeter_plugin_live_trace.web.page import Ask
from perimeter_plugin_live_trace.web.pages.sessions import read_filter


@attrs.frozen
class Listed:
    """
    What an export writes.

    Attributes:
        columns: In order.
        batches: Rows, a batch at a time.
        record: Makes a row what is written.
    """

    columns: list[str]
    batches: Iterator[list[Any]]
    record: Callable[[Any], Record]


class Names:
    """The ids of agents and sessions that rows refer to, read once each, a few kept."""

    def __init__(self, ask: Ask, model: Any, column: Any) -> None:
        self._reader, self._model, self._column = ask.reader, model, column
        self._known: dict[int, str] = {}

    def learn(self, ids: set[int]) -> None:
        """Read the names of some rows."""
        missing = sorted(ids - self._known.keys())
        if len(self._known) > 20_000:
            self._known.clear()
            missing = sorted(ids)
        for start in range(0, len(missing), 500):
            some = missing[start : start + 500]
            query = self._model.select(self._model.id, self._column)
            self._known.update(self._reader.rows(query.where(self._model.id.in_(some))))

    def __getitem__(self, row_id: int | None) -> str:
        return self._known.get(row_id, "") if row_id else ""


def sessions(ask: Ask) -> Listed:
    """Return what the list of sessions shows."""
    agents = Names(ask, Agent, Agent.key)
    plain = ("title", "status", "workflow", "run", "turns", "events", "tools", "errors", "tok_in",
             "tok_out", "tok_cached", "unpriced", "llm_us", "tool_us", "p95_us", "findings", "pii",
             "models", "match")  # fmt: skip
    columns = ["session", "agent", "started", "last", *plain, "cost_usd", "severity"]

    def record(row: Any) -> Record:
        return {
            "session": row.public_id,
            "agent": agents[row.agent_id],
            "started": iso(row.started_us),
            "last": iso(row.last_us),
            **{name: getattr(row, name) for name in plain},
            "cost_usd": row.cost_nano / 1e9,
            "severity": formats.severity(row.sev),
        }

    batches = walk(ask.reader.rows, Session.last_us, Session.id, session_query(ask))
    return Listed(columns, _learning(batches, (agents, "agent_id")), record)


def session_query(ask: Ask) -> Any:
    """Return the query for the sessions that the address asks for, as their list has them."""
    return filtered(ask.reader, read_filter(ask), ask.now_us)


def events(ask: Ask) -> Listed:
    """Return the events of a span of time, with their attributes if `attributes=1` asks for it."""
    agents, sessions_ = Names(ask, Agent, Agent.key), Names(ask, Session, Session.public_id)
    plain = ("id", "seq", "kind", "name", "span", "parent_span", "status", "finish", "dur_us",
             "tok_in", "tok_out", "tok_cached", "size", "preview")  # fmt: skip
    more = ask.params.flag("attributes")
    columns = ["time", "session", "agent", *plain, "cost_usd", *(["attributes"] if more else [])]

    def record(row: Any) -> Record:
        found = {
            "time": iso(row.ts_us),
            "session": sessions_[row.session_id],
            "agent": agents[row.agent_id],
            **{name: getattr(row, name) for name in plain},
            "cost_usd": None if row.cost_nano is None else row.cost_nano / 1e9,
        }
        return {**found, "attributes": _json(ask, row.attributes_blob)} if more else found

    batches = walk(ask.reader.rows, Event.ts_us, Event.id, event_query(ask))
    return Listed(
        columns, _learning(batches, (agents, "agent_id"), (sessions_, "session_id")), record
    )


def event_query(ask: Ask) -> Any:
    """Return the query for the events that the address asks for."""
    span, params = ask.range, ask.params
    query = Event.select().where((Event.ts_us >= span.from_us) & (Event.ts_us < span.to_us))
    if params.text("kind"):
        query = query.where(Event.kind == params.text("kind"))
    if params.text("agent"):
        found = agent_by_key(ask.reader, params.text("agent"))
        query = query.where(Event.agent_id == (found.id if found else -1))
    if params.text("session"):
        wanted = Session.select(Session.id).where(Session.public_id == params.text("session"))
        query = query.where(Event.session_id == ask.reader.value(wanted, -1))
    return query


def _json(ask: Ask, blob: int | None) -> Any:
    data = ask.reader.blob(blob)
    return msgspec.Raw(data) if data else None


def findings(ask: Ask) -> Listed:
    """Return the findings of the groups that the address asks for."""
    agents, sessions_ = Names(ask, Agent, Agent.key), Names(ask, Session, Session.public_id)
    plain = ("id", "rule", "owasp", "title", "detector", "confidence")
    columns = ["time", "session", "agent", "severity", "state", "group", "event", *plain, "sample"]

    def record(row: Any) -> Record:
        return {
            "time": iso(row.created_us),
            "session": sessions_[row.session_id],
            "agent": agents[row.agent_id],
            "severity": formats.severity(row.sev),
            "state": row.state,
            "group": row.group_id,
            "event": row.event_id,
            **{name: getattr(row, name) for name in plain},
            "sample": ask_findings.evidence(row.evidence).sample,
        }

    batches = walk(ask.reader.rows, Finding.created_us, Finding.id, finding_query(ask))
    return Listed(
        columns, _learning(batches, (agents, "agent_id"), (sessions_, "session_id")), record
    )


def finding_query(ask: Ask) -> Any:
    """Return the query for the findings of the groups that the list shows."""
    params, key = ask.params, ask.params.text("agent")
    agent = agent_by_key(ask.reader, key) if key else None
    wanted = ask_findings.groups_query(
        state=params.choice("state", "undecided", ask_findings.FILTERS),
        sev=params.choice("sev", "", tuple(ask_findings.LEVELS)),
        owasp=params.choice("owasp", "", ("", *BY_KEY)),
        rule=params.text("rule"),
        agent=(agent.id if agent else -1) if key else None,
    ).select(FindingGroup.id)
    return (
        Finding.select(Finding, FindingGroup.state)
        .join(FindingGroup, on=(FindingGroup.id == Finding.group_id))
        .where(Finding.group_id.in_(wanted))
    )


def matrix(ask: Ask) -> Listed:
    """Return the cells of the OWASP matrix, of all agents or by severity."""
    by = ask.params.choice("by", "agent", ("agent", "severity"))
    matrices = _matrices(ask) if by == "agent" else iter([severity_matrix(ask.reader)])
    columns = ["risk", "name", by, "state", "count", "worst"]
    return Listed(
        columns, map(_cells, matrices), lambda cell: dict(zip(columns, cell, strict=True))
    )


def _matrices(ask: Ask) -> Iterator[Matrix]:
    found = owasp_matrix(ask.reader)
    yield found
    for number in range(2, found.pages + 1):
        yield owasp_matrix(ask.reader, number)


def _cells(found: Matrix) -> list[Any]:
    names = [agent.key for agent in found.agents] or [*map(formats.severity, found.severities)]
    return [
        (row.key, row.name, name, cell.state, cell.count, formats.severity(cell.sev))
        for row in found.rows
        for name, cell in zip(names, row.cells, strict=True)
    ]


def _learning(batches: Iterator[list[Any]], *names: tuple[Names, str]) -> Iterator[list[Any]]:
    for rows in batches:
        for known, column in names:
            known.learn({value for row in rows if (value := getattr(row, column))})
        yield rows


LISTS: dict[str, Callable[[Ask], Listed]] = {
    "sessions": sessions,
    "events": events,
    "findings": findings,
    "matrix": matrix,
}
