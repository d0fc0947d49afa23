"""Makes the records of sessions as the proxy sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs
from factory_agents import NOW, PRICES, Agent, Json
from factory_bodies import (
    Chance,
    Reply,
    reply_body,
    reply_messages,
    request_body,
    result_message,
    target,
    user_message,
)

from perimeter_plugin_live_trace.records import Answered, Asked, Happened, Record


@attrs.define
class Traffic(Chance):
    """
    Makes the records of sessions.

    Attributes:
        now: The end of time.
    """

    now: float = NOW
    _number: int = 0

    def conversation(
        self,
        agent: Agent,
        at: float,
        turns: int,
        *,
        session: str = "",
        fails: bool = False,
        tags: dict[str, str] | None = None,
        finding: Json | None = None,
        ends: bool = True,
        running: bool = False,
    ) -> Iterator[list[Record]]:
        """Yield the records of a session, call by call."""
        talk = Talk(self, agent, session or f"s-{self.hex(16)}", at, tags or {})
        for turn in range(turns):
            last = turn == turns - 1
            yield talk.turn(
                agent.asks[(turn + self._number) % len(agent.asks)],
                fails=fails and last,
                running=running and last,
                finding=finding if last else None,
            )
        self._number += 1
        if ends:
            yield [talk.end()]


@attrs.define
class Talk:
    """One session, as it goes on."""

    traffic: Traffic
    agent: Agent
    session: str
    at: float
    tags: dict[str, str]
    history: list[Json] = attrs.field(factory=list)
    _started: float = 0.0
    _events: int = 0
    _results: list[Json] = attrs.field(factory=list)
    _trace: str = ""

    def turn(
        self,
        text: str,
        *,
        fails: bool = False,
        running: bool = False,
        finding: Json | None = None,
        answer: str = "",
    ) -> list[Record]:
        """Return the records of a call: something is asked, and answered."""
        rng, agent = self.traffic.rng, self.agent
        exchange, span = self.traffic.hex(24), self.traffic.hex(16)
        records: list[Record] = []
        first = not self.history
        if first:
            self._started, self._trace = self.at, self.traffic.hex(32)
            records.append(self._begin(span))
        records += [self._result(exchange, result) for result in self._results]
        self._results = []
        self.history.append(user_message(agent.dialect, text))
        body = request_body(agent, self.history)
        records.append(self._ask(exchange, body))
        records.append(self._start(exchange, span, len(self.history)))
        if running:
            return records
        duration = round(rng.lognormvariate(0.2, 0.7), 3)
        self.at += duration
        said = answer or self.traffic.words(rng.randrange(6, 60))
        tool = rng.choice(agent.tools) if agent.tools and rng.random() < 0.5 else ""
        if fails:
            records += self._failure(exchange, span, duration)
        else:
            records += self._success(exchange, span, duration, said, tool, len(body))
        if finding is not None:
            records.append(self.happened("security.finding", {"call.id": exchange, **finding}))
        self.at += rng.uniform(1, 40)
        return records

    def end(self) -> Happened:
        """Return the event that a session ends with."""
        self.at += 1.0
        return self.happened(
            "session.end",
            {
                "session.duration_ms": round((self.at - self._started) * 1000, 3),
                "session.events_count": self._events,
                "session.end_reason": "idle",
            },
        )

    def happened(
        self, name: str, attributes: Json, *, span: str = "", level: str = "INFO"
    ) -> Happened:
        """Return an event of the session."""
        self._events += 1
        attributes = {**attributes, "agent_workflow.id": self.agent.workflow}
        return Happened(
            name,
            self.at,
            self._trace,
            span or self.traffic.hex(16),
            level,
            self.session,
            self.agent.key,
            attributes,
        )

    def _begin(self, span: str) -> Happened:
        agent = self.agent
        return self.happened(
            "session.start",
            {
                "client.type": "gateway",
                "llm.vendor": agent.upstream,
                "llm.model": agent.model,
                "tools": list(agent.tools),
                "prompt": agent.system,
                "session.match": "new",
                "session.tags": self.tags,
                "run.id": "run-7" if self.tags else "",
            },
            span=span,
        )

    def _start(self, exchange: str, span: str, messages: int) -> Happened:
        return self.happened(
            "llm.call.start",
            {
                "call.id": exchange,
                "llm.vendor": self.agent.upstream,
                "llm.model": self.agent.model,
                "llm.operation": "chat",
                "llm.request.stream": self.agent.stream,
                "llm.request.total_messages": messages,
                "llm.request.params": {"temperature": 0.2, "max_tokens": 1024},
                "session.match": "prefix" if messages > 2 else "new",
                "session.tags": self.tags,
            },
            span=span,
        )

    def _ask(self, exchange: str, body: bytes) -> Asked:
        agent = self.agent
        headers = [
            (b"host", b"127.0.0.1:4000"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer sk-" + b"x" * 40),
            (b"user-agent", b"sample-agent/1.0"),
            (b"content-length", str(len(body)).encode()),
        ]
        return Asked(
            exchange,
            self.at,
            agent.dialect,
            "chat",
            agent.upstream,
            agent.workflow,
            "POST",
            target(agent),
            headers,
            body,
            len(body),
        )

    def _answer(
        self, exchange: str, status: int, kind: str, body: bytes, seconds: float
    ) -> Answered:
        headers = [
            (b"content-type", kind.encode()),
            (b"x-request-id", self.traffic.hex(16).encode()),
            (b"date", b"Mon, 21 Sep 2026 13:33:20 GMT"),
        ]
        return Answered(
            exchange, self.at, "completed", status, headers, body, len(body), seconds, 0.0004
        )

    def _success(
        self, exchange: str, span: str, seconds: float, said: str, tool: str, asked: int
    ) -> list[Record]:
        rng, agent = self.traffic.rng, self.agent
        arguments = {"query": self.traffic.words(4), "limit": rng.randrange(1, 50)} if tool else {}
        call_id = f"call_{self.traffic.hex(12)}"
        used = (asked // 4 + 20, len(said) // 4 + 5)
        cached = used[0] // 2 if len(self.history) > 2 else 0
        reply = Reply(said, tool, arguments, call_id, used, cached)
        self.history += reply_messages(agent.dialect, reply)
        kind, body = reply_body(agent, reply, self.traffic)
        price_in, price_out = PRICES.get(agent.model, (1.0, 1.0))
        attributes: Json = {
            "call.id": exchange,
            "llm.vendor": agent.upstream,
            "llm.model": agent.model,
            "http.status_code": 200,
            "llm.response.duration_ms": round(seconds * 1000, 3),
            "llm.usage.input_tokens": used[0],
            "llm.usage.output_tokens": used[1],
            "llm.usage.total_tokens": sum(used),
            "llm.cost_usd": (used[0] * price_in + used[1] * price_out) / 1e6,
            "llm.response.finish_reason": "tool_calls" if tool else "stop",
        }
        if cached:
            attributes["llm.usage.cache_read_tokens"] = cached
        if agent.stream:
            attributes["llm.response.time_to_first_token_ms"] = round(seconds * 300, 3)
        records: list[Record] = [self.happened("llm.call.finish", attributes, span=span)]
        if tool:
            records.append(self._execution(exchange, span, reply))
        records.append(self._answer(exchange, 200, kind, body, seconds))
        return records

    def _execution(self, exchange: str, span: str, reply: Reply) -> Happened:
        own = self.traffic.hex(16)
        failed = self.traffic.rng.random() < 0.08
        seconds = round(self.traffic.rng.lognormvariate(-1.0, 0.8), 3)
        result = "error: the server did not answer" if failed else self.traffic.words(20)
        self._results.append(
            {
                "tool.name": reply.tool,
                "tool.call_id": reply.call_id,
                "tool.status": "error" if failed else "success",
                "tool.result": result,
                "tool.execution_time_ms": seconds * 1000,
                "parent_span_id": span,
                "span": own,
            }
        )
        self.history.append(result_message(self.agent.dialect, reply, result, failed=failed))
        attributes = {
            "call.id": exchange,
            "tool.name": reply.tool,
            "tool.params": reply.arguments,
            "tool.call_id": reply.call_id,
            "parent_span_id": span,
        }
        return self.happened("tool.execution", attributes, span=own)

    def _result(self, exchange: str, result: Json) -> Happened:
        attributes = {"call.id": exchange, **result}
        span = attributes.pop("span")
        return self.happened("tool.result", attributes, span=span)

    def _failure(self, exchange: str, span: str, seconds: float) -> list[Record]:
        status, kind, message = self.traffic.rng.choice(
            [
                (429, "rate_limit_error", "Rate limit reached: try again in 7 seconds."),
                (500, "server_error", "The server had an error while processing the request."),
                (400, "invalid_request_error", "max_tokens is too large: 999999."),
            ]
        )
        attributes = {
            "call.id": exchange,
            "llm.vendor": self.agent.upstream,
            "llm.model": self.agent.model,
            "http.status_code": status,
            "llm.response.duration_ms": round(seconds * 1000, 3),
            "error.type": kind,
            "error.message": message,
        }
        body = json.dumps({"error": {"type": kind, "message": message}}).encode()
        return [
            self.happened("llm.call.error", attributes, span=span, level="ERROR"),
            self._answer(exchange, status, "application/json", body, seconds),
        ]
