"""Events become rows, and add to the totals of their call, session, agent and spans of time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perimeter_plugin_live_trace.records import Happened
from perimeter_plugin_live_trace.store import findings, texts, values, words
from perimeter_plugin_live_trace.store.calls import Calls
from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.labels import Labels
from perimeter_plugin_live_trace.store.masking import masked
from perimeter_plugin_live_trace.store.shortening import shortened
from perimeter_plugin_live_trace.store.work import Work


_REMEMBERED = 25_000
"""Events that are known again when they come twice; up to twice as many are."""
_LARGEST = 1024 * 1024
"""Bytes of attributes that are stored."""
_LEVELS = {"ERROR": "error", "CRITICAL": "error", "WARNING": "warning"}

Attributes = dict[str, Any]


class Happenings:
    """Takes events."""

    def __init__(self, work: Work, calls: Calls, clock: Callable[[], float]) -> None:
        self._work = work
        self._calls = calls
        self._labels = Labels(work)
        self._clock = clock
        self._seen: set[int] = set()
        self._seen_before: set[int] = set()
        self._new: list[int] = []
        newest = work.connection.execute("SELECT coalesce(max(ts_us), 0) FROM events")
        self._newest: int = newest.fetchone()[0]

    def forget(self) -> None:
        """Take that what came since the last commit was not written."""
        self._seen.difference_update(self._new)
        self._new.clear()

    def done(self) -> None:
        """Take that all was committed."""
        self._new.clear()
        if len(self._seen) >= _REMEMBERED:
            self._seen, self._seen_before = set(), self._seen

    def take(self, record: Happened) -> None:
        """Apply an event."""
        attributes = record.attributes
        data = shortened(_json(attributes), _LARGEST)
        key = hash((record.name, record.span, record.at, data))
        if key in self._seen or key in self._seen_before:
            return
        ts_us = values.micros(record.at, self._clock())
        agent, session = self._labels.place(record, ts_us)
        exchange = texts.identifier(attributes.get("call.id"))
        call = self._calls.of_event(exchange, record.name, ts_us, session, agent)
        if self._known(call, record) or self._written(record, session, ts_us, data):
            return
        self._seen.add(key)
        self._new.append(key)
        event = self._row(record, ts_us, data)
        event.agent_id = None if agent is None else agent.id
        event.call_id = None if call is None else call.id
        if session is not None:
            session.last_seq += 1
            session.events += 1
            event.session_id, event.seq = session.id, session.last_seq
        apply: Callable[..., None] = _KINDS.get(record.name, Happenings._other)
        apply(self, record, event, call, session, agent)
        if exchange:
            self._calls.settle(exchange)

    def _known(self, call: Any, record: Happened) -> bool:
        """Whether the begin or the end of a call was told before."""
        if call is not None and record.name == "llm.call.start":
            return bool(call.start_seq)
        if call is not None and record.name in {"llm.call.finish", "llm.call.error"}:
            return bool(call.end_seq)
        return False

    def _written(self, record: Happened, session: Any, ts_us: int, data: bytes) -> bool:
        """
        Whether an event was written before this process remembers.

        It is sent again where nobody was there any more to say that it was written. Events have no
        ids: one is the same if its session, time, kind, span and attributes are.
        """
        if ts_us > self._newest:
            return False
        query = "SELECT attributes_blob FROM events WHERE ts_us = ? AND kind = ? AND span = ?"
        which = [ts_us, texts.name(record.name), texts.span(record.span)]
        rows = self._work.connection.execute(
            f"{query} AND session_id IS ?", [*which, None if session is None else session.id]
        ).fetchall()
        if not rows:
            return False
        kept = masked(data)
        return any(
            kept == (b"{}" if blob is None else self._work.blobs.read(blob)) for (blob,) in rows
        )

    def _row(self, record: Happened, ts_us: int, data: bytes) -> Any:
        attributes = record.attributes
        kept = masked(data)
        return self._work.event(
            ts_us=ts_us,
            kind=texts.name(record.name),
            span=texts.span(record.span),
            parent_span=texts.span(attributes.get("parent_span_id")),
            status=_LEVELS.get(record.level, "ok"),
            size=len(data),
            attributes_blob=self._work.blobs.own(kept) if data != b"{}" else None,
        )

    # -- kinds

    def _started(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        self._labels.begin(record, session, agent)
        event.name = texts.name(record.attributes.get("llm.model"))
        self._say(event, words.of_attributes(record.name, record.attributes), findable=False)

    def _asked(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        attributes = record.attributes
        event.name = texts.name(attributes.get("llm.model"))
        self._labels.label(attributes, session)
        if call is None:
            return
        call.start_seq = event.seq or -1
        self._calls.asked(call, attributes, event)
        if session is not None:
            session.status = "active"
            session.match = session.match or call.match

    def _ended(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        attributes = record.attributes
        event.name = texts.name(attributes.get("llm.model"))
        event.dur_us = values.scaled(attributes.get("llm.response.duration_ms"), 1000)
        event.tok_in = values.whole(attributes.get("llm.usage.input_tokens"))
        event.tok_out = values.whole(attributes.get("llm.usage.output_tokens"))
        event.tok_cached = values.whole(attributes.get("llm.usage.cache_read_tokens"))
        event.cost_nano = values.scaled(attributes.get("llm.cost_usd"), 1e9)
        event.finish = texts.name(attributes.get("llm.response.finish_reason"))
        failed = record.name == "llm.call.error"
        if failed:
            event.status = "error"
            self._say(event, words.of_attributes(record.name, attributes))
        if call is not None:
            call.end_seq = event.seq or -1
            self._calls.ended(call, attributes, event, failed=failed)
        if session is not None:
            _add_call(session, event)
            session.status = "error" if failed else "active"
            self._labels.model(session, event.name)
        self._count("llm", event, agent, calls=1, errors=int(failed))

    def _tool(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        event.name = texts.name(record.attributes.get("tool.name"))
        params = record.attributes.get("tool.params")
        said = words.described(_json(params).decode() if params else "")
        self._say(event, said, prefix=event.name)
        self._count("tool", event, agent, calls=1, errors=0)
        if session is not None:
            session.tools += 1
            self._labels.tool(session, event.name, calls=1, errors=0)

    def _result(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        attributes = record.attributes
        event.name = texts.name(attributes.get("tool.name"))
        event.dur_us = values.scaled(attributes.get("tool.execution_time_ms"), 1000)
        failed = attributes.get("tool.status") == "error"
        if failed:
            event.status = "error"
        self._say(event, words.of_attributes(record.name, attributes))
        self._count("tool", event, agent, calls=0, errors=int(failed))
        if session is not None:
            session.errors += failed
            session.tool_us += event.dur_us or 0
            self._labels.tool(session, event.name, calls=0, errors=int(failed))

    def _finished(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        event.dur_us = values.scaled(record.attributes.get("session.duration_ms"), 1000)
        self._say(event, words.of_attributes(record.name, record.attributes), findable=False)
        if session is not None:
            session.status = "done"

    def _finding(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        event.name = texts.name(record.attributes.get("finding.rule"))
        self._say(event, words.of_attributes(record.name, record.attributes))
        findings.found(self._work, event, session, record.attributes)

    def _other(self, record: Happened, event: Any, call: Any, session: Any, agent: Any) -> None:
        self._say(event, words.of_attributes(record.name, record.attributes))

    # -- what they have in common

    def _say(
        self, event: Any, said: words.Said, *, findable: bool = True, prefix: str = ""
    ) -> None:
        event.preview = said.preview
        if findable:
            self._work.text(event.id, f"{prefix} {said.words}" if prefix else said.words)

    def _count(self, kind: str, event: Any, agent: Any, *, calls: int, errors: int) -> None:
        agent_id = 0 if agent is None else agent.id
        each = self._work.rollups.at(event.ts_us, kind, agent_id, event.name)
        for row in [*each, *self._work.rollups_of_all.at(event.ts_us, kind, event.name)]:
            row.calls += calls
            row.errors += errors
            row.tok_in += event.tok_in or 0
            row.tok_out += event.tok_out or 0
            row.tok_cached += event.tok_cached or 0
            row.cost_nano += event.cost_nano or 0
            if event.dur_us is not None:
                row.lat_us += event.dur_us
                row.latencies.add(event.dur_us)


_KINDS: dict[str, Callable[..., None]] = {
    "session.start": Happenings._started,
    "llm.call.start": Happenings._asked,
    "llm.call.finish": Happenings._ended,
    "llm.call.error": Happenings._ended,
    "tool.execution": Happenings._tool,
    "tool.result": Happenings._result,
    "session.end": Happenings._finished,
    "security.finding": Happenings._finding,
}


def _add_call(session: Any, event: Any) -> None:
    """Add what a call cost to the totals of its session."""
    session.tok_in += event.tok_in or 0
    session.tok_out += event.tok_out or 0
    session.tok_cached += event.tok_cached or 0
    session.cost_nano += event.cost_nano or 0
    session.unpriced += event.cost_nano is None
    if event.dur_us is not None:
        session.llm_us += event.dur_us
        if session.calls_hist is None:
            session.calls_hist = Histogram.from_bytes(session.hist)
        session.calls_hist.add(event.dur_us)


def _json(value: Any) -> bytes:
    """Return a value as JSON; what has none as its Python form."""
    try:
        return texts.to_json(value)
    except ValueError:
        return texts.to_json({"unreadable": repr(value)[:2000]})
