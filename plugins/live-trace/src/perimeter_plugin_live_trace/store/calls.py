"""Calls: what their events tell, whichever of them comes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from perimeter.dialects import RAW, Dialect
from perimeter_plugin_live_trace.records import Answered, Asked, Progress
from perimeter_plugin_live_trace.store import texts, values
from perimeter_plugin_live_trace.store.exchanges import Exchanges
from perimeter_plugin_live_trace.store.words import Said
from perimeter_plugin_live_trace.store.work import Work


ERROR = 500
"""Characters of an error's message."""

_ANSWERED_WAITS = 2.0
_ASKED_WAITS = 10.0
"""Seconds that a body waits for the event that says to which session it belongs."""
_MOST_WAITING = 2000
_MOST_BYTES = 32 * 1024 * 1024

Waiting = tuple[Asked | None, Answered | None, float]


class Calls:
    """
    Takes what belongs to calls.

    A body is stored when the session is known that it belongs to. It waits for that in memory, not
    for long; a body of an API that is no model's has none.
    """

    def __init__(
        self, work: Work, clock: Callable[[], float], dialects: Mapping[str, Dialect]
    ) -> None:
        self._work = work
        self._clock = clock
        self._dialects = dialects
        self._exchanges = Exchanges(work)
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._before: OrderedDict[str, Waiting] = OrderedDict()

    def begin(self) -> None:
        """Take that a transaction begins."""
        self._before = self._waiting.copy()

    def forget(self) -> None:
        """Take that what came since the last commit was not written."""
        self._waiting = self._before.copy()

    # -- bodies

    def request(self, record: Asked) -> None:
        """Take a request."""
        exchange = texts.identifier(record.exchange)
        _, answered, since = self._waiting.get(exchange, (None, None, self._clock()))
        self._waiting[exchange] = (record, answered, since)
        self.settle(exchange)

    def answer(self, record: Answered) -> None:
        """Take an answer."""
        exchange = texts.identifier(record.exchange)
        asked, _, since = self._waiting.get(exchange, (None, None, self._clock()))
        self._waiting[exchange] = (asked, record, since)
        self.settle(exchange)

    def progress(self, record: Progress) -> None:
        """Take how much of an answer has come."""
        call = self._work.calls.get(texts.identifier(record.exchange))
        if call is None or call.state != "running":
            return
        call.response_size = values.whole(record.size) or 0
        self._work.calls.change_partly(call)
        session = self._work.sessions.with_id(call.session_id)
        if session is not None:
            self._work.sessions.change(session)

    def settle(self, exchange: str, *, at_once: bool = False) -> None:
        """
        Store the bodies of an exchange, where it is known what they belong to.

        Args:
            exchange: Its id.
            at_once: Do not wait any longer.
        """
        waiting = self._waiting.get(exchange)
        if waiting is None:
            return
        asked, answered, since = waiting
        call = self._work.calls.get(exchange)
        silent = asked is not None and not asked.operation  # no event will tell of it
        placed = silent or _is_placed(call)
        if not (placed or at_once):
            return
        if asked is not None:
            call = self._ask(exchange, call, asked)
        if answered is not None and (at_once or _has_request(call)):
            self._answer(exchange, call, answered)
            answered = None
        if answered is None:
            del self._waiting[exchange]
        else:
            self._waiting[exchange] = (None, answered, since)

    def overdue(self, *, everything: bool = False) -> None:
        """Store what has waited for too long, or is too much."""
        now = self._clock()
        for exchange, (_, answered, since) in list(self._waiting.items()):
            patience = _ANSWERED_WAITS if answered is not None else _ASKED_WAITS
            if everything or not 0 <= now - since < patience:
                self.settle(exchange, at_once=True)
        while len(self._waiting) > _MOST_WAITING or self._bytes() > _MOST_BYTES:
            self.settle(next(iter(self._waiting)), at_once=True)

    def _bytes(self) -> int:
        return sum(
            len(part.body)
            for asked, answered, _ in self._waiting.values()
            for part in (asked, answered)
            if part is not None
        )

    def _dialect(self, name: str) -> Dialect:
        return self._dialects.get(name, RAW)

    def _ask(self, exchange: str, call: Any, record: Asked) -> Any:
        if call is None:
            call = self._add(exchange, values.micros(record.at, self._clock()))
        if call.method:
            return call  # it came before
        session = self._work.sessions.with_id(call.session_id)
        said = self._exchanges.request(call, record, session, self._dialect(record.dialect))
        self._work.calls.change(call)
        if session is not None:
            session.title = session.title or said.title
            self._work.sessions.change(session)
        call.asked = None if call.start_seq and session is not None else said
        self._describe(call, "llm.call.start", said)
        return call

    def _answer(self, exchange: str, call: Any, record: Answered) -> None:
        if call is None:
            call = self._add(exchange, values.micros(record.at - record.duration, self._clock()))
        if call.outcome and call.outcome != "interrupted":
            return  # it came before
        said = self._exchanges.answer(call, record, self._dialect(call.dialect))
        if not call.end_seq:
            failed = record.outcome not in {"completed", "responded"} or record.status >= 400
            self.state(call, "error" if failed else "ok")
        self._work.calls.change_partly(call)
        call.answered = None if call.end_seq else said
        self._describe(call, "llm.call.finish", said)

    def _describe(self, call: Any, kind: str, said: Said) -> None:
        """Say in the event of a call what was said in it."""
        event = self._work.started.get((call.id, kind))
        if event is not None:
            event.preview = said.preview
            self._work.text(event.id, said.words)
            return
        if not (call.start_seq if kind == "llm.call.start" else call.end_seq):
            return  # it comes yet
        query = "SELECT id FROM events WHERE call_id = ? AND kind = ?"
        found = self._work.connection.execute(query, (call.id, kind)).fetchone()
        if found is not None:
            self._work.preview(found[0], said.preview)
            self._work.text(found[0], said.words)

    # -- events

    def of_event(self, exchange: str, name: str, ts_us: int, session: Any, agent: Any) -> Any:
        """Return the call that an event tells of, None where there is none."""
        if not exchange:
            return None
        call = self._work.calls.get(exchange)
        if call is None:
            if not name.startswith(("llm.call.", "tool.")):
                return None
            call = self._add(exchange, ts_us)
        if session is not None and call.session_id is None:
            self._attach(call, session)
        if agent is not None and call.agent_id is None:
            call.agent_id = agent.id
            agent.calls += 1
            agent.errors += call.state == "error"
            self._work.calls.change(call)
        return call

    def asked(self, call: Any, attributes: Mapping[str, Any], event: Any) -> None:
        """Take what the event says that a call begins with."""
        call.started_us = min(call.started_us, event.ts_us)
        call.model = call.model or event.name
        call.operation = call.operation or texts.name(attributes.get("llm.operation"))
        call.stream = attributes.get("llm.request.stream") is True
        call.match = texts.name(attributes.get("session.match"))
        call.score = values.number(attributes.get("session.score"))
        call.retry_of = texts.identifier(attributes.get("call.retry_of"))
        event.finish = ""
        self._tell(call, event, call.asked)
        self._work.calls.change(call)

    def ended(self, call: Any, attributes: Mapping[str, Any], event: Any, *, failed: bool) -> None:
        """Take what the event says that a call ends with."""
        call.model = event.name or call.model
        call.dur_us = call.dur_us if event.dur_us is None else event.dur_us
        call.tok_in, call.tok_out = event.tok_in, event.tok_out
        call.tok_cached, call.cost_nano = event.tok_cached, event.cost_nano
        call.finish = event.finish
        call.ttft_us = values.scaled(attributes.get("llm.response.time_to_first_token_ms"), 1000)
        call.tok_cache_write = values.whole(attributes.get("llm.usage.cache_write_tokens"))
        call.tok_reasoning = values.whole(attributes.get("llm.usage.reasoning_tokens"))
        call.http_status = call.http_status or values.whole(attributes.get("http.status_code"))
        if call.outcome == "interrupted":  # it was not
            call.outcome = call.error = call.error_type = ""
        if failed:
            call.error_type = texts.name(attributes.get("error.type"))
            call.error = texts.excerpt(str(attributes.get("error.message") or ""), ERROR)
        else:
            self._tell(call, event, call.answered)
        self.state(call, "error" if failed else "ok")
        agent = self._work.agents.with_id(call.agent_id)
        if agent is not None:
            agent.tok_in += event.tok_in or 0
            agent.tok_out += event.tok_out or 0
            agent.cost_nano += event.cost_nano or 0
            self._work.agents.change(agent)
        self._work.calls.change_partly(call)

    def state(self, call: Any, state: str) -> None:
        """Set how a call is doing, and count that where it belongs."""
        before, call.state = call.state, state
        failed = (state == "error") - (before == "error")
        ended = before == "running" and state != "running"
        session = self._work.sessions.with_id(call.session_id)
        if session is not None:
            session.errors += failed
            session.running -= ended
            self._work.sessions.change(session)
        agent = self._work.agents.with_id(call.agent_id)
        if agent is not None and failed:
            agent.errors += failed
            self._work.agents.change(agent)

    def _tell(self, call: Any, event: Any, said: Said | None) -> None:
        """Say in an event what is known of its body, or note it for when that comes."""
        self._work.started[call.id, event.kind] = event
        if said is not None:
            event.preview = said.preview
            self._work.text(event.id, said.words)

    def _add(self, exchange: str, ts_us: int) -> Any:
        return self._work.calls.add(exchange, exchange=exchange, started_us=ts_us, method="")

    def _attach(self, call: Any, session: Any) -> None:
        """Count a call with its session."""
        session.turns += 1
        call.session_id, call.number = session.id, session.turns
        session.running += call.state == "running"
        session.errors += call.state == "error"
        self._work.calls.change(call)
        self._work.sessions.change(session)
        if call.list_key == "" and call.envelope_blob is not None:
            self._exchanges.place_late(call, session)
        if call.asked is not None:
            session.title = session.title or call.asked.title


def _has_request(call: Any) -> bool:
    return call is not None and bool(call.method)


def _is_placed(call: Any) -> bool:
    """Whether it is known to which session a call belongs, or that it belongs to none."""
    return call is not None and bool(call.start_seq or call.end_seq or call.method)
