"""One call, from its request to the events that tell what became of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import attrs

from perimeter.calls import LLMReply, LLMRequest, Message, ParseError, Part, Text, ToolCall
from perimeter.model import Event, Exchange, Session
from perimeter.sessions.agents import agent_of
from perimeter.sessions.evidence import AskedTool, Reply, ReplyState, Resolution
from perimeter.sessions.headers import labels_of, run_of_metadata
from perimeter.tracking import events
from perimeter.tracking.errors import error_of
from perimeter.tracking.identity import response_key
from perimeter.tracking.reading import read_reply, read_request
from perimeter.tracking.registering import asked_tools, describe, state_of
from perimeter.tracking.stream import StreamReader


if TYPE_CHECKING:
    from perimeter.sessions.evidence import Evidence
    from perimeter.sessions.fingerprints import History
    from perimeter.tracking.tracker import Tracker

P = ParamSpec("P")


def _safely(
    method: Callable[Concatenate[TrackedCall, P], None],
) -> Callable[Concatenate[TrackedCall, P], None]:
    """Keep a defect of ours from touching traffic: it ends the following of that call only."""

    @wraps(method)
    def guarded(self: TrackedCall, *args: P.args, **_: P.kwargs) -> None:
        if self.broken:
            return
        try:
            method(self, *args)  # type: ignore[call-arg]  # all of them are positional
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            self.abandon(error)

    return guarded  # type: ignore[return-value]  # mypy takes the first argument for a keyword


class TrackedCall:
    """
    Follows one exchange that is a call of a model.

    Attributes:
        exchange: The exchange.
        dialect: Its dialect.
        labels: What its headers say.
        request: What is asked for; None where it can't be read.
        request_problem: Why it can't.
        resolution: Where it belongs; None where nothing is matched.
        session: The session; None for calls that are no conversation and name none.
        span_id: Of the call.
        trace_id: Of the session, or as the client has it.
        parent_span_id: The client's own span, or "".
        stream: Reads the reply where it is streamed.
        reply_problem: Why the reply can't be read.
        cost: In USD; None where the price is not known.
        agent_id: The agent.
        awaited: Whether its session is not known yet, because the store is elsewhere and slow.
        begun: Whether its request was read.
        broken: Whether it is no longer followed, because of a defect.
    """

    # Most calls never set most of these: defaults of the class cost nothing for each of them.
    request: LLMRequest | None = None
    request_problem: str = ""
    resolution: Resolution | None = None
    session: Session | None = None
    trace_id: str = ""
    parent_span_id: str = ""
    agent_id: str = ""
    stream: StreamReader | None = None
    reply_problem: str = ""
    cost: float | None = None
    awaited: bool = False
    begun: bool = False
    broken: bool = False
    _evidence: Evidence | None = None
    _history: History | None = None
    _reply: LLMReply | None = None
    _answered: bool = False
    _interrupted: bool = False
    _over: bool = False
    _registered: bool = False
    _tools: Sequence[tuple[ToolCall, AskedTool]] = ()
    _events: int = 0
    _counted: int = 0

    def __init__(self, tracker: Tracker, exchange: Exchange) -> None:
        """
        Begin to follow an exchange.

        Args:
            tracker: What all calls share.
            exchange: It has a dialect whose calls can be read.
        """
        self._tracker = tracker
        self.exchange = exchange
        self.dialect = exchange.dialect
        self.labels = labels_of(exchange.original.headers)
        self.span_id = events.new_span()
        if self.labels.traceparent is not None:
            self.trace_id, self.parent_span_id = self.labels.traceparent

    @property
    def vendor(self) -> str:
        """Whose API it is."""
        return self.dialect.upstream_type

    @property
    def model(self) -> str:
        """The model asked for, or ""."""
        return self.request.model if self.request is not None else ""

    @property
    def time_to_first_token(self) -> float | None:
        """Seconds from the request's head to the first event of a stream that says anything."""
        if self.stream is None or self.stream.first_at is None:
            return None
        return self.stream.first_at - self.exchange.started

    def abandon(self, error: Exception) -> None:
        """End the following of this call, because of a defect; the session must not wait for it."""
        self.broken = True
        self._tracker.defect(self.exchange, error)
        if self.resolution is not None and not self._registered:
            self._registered = True
            self._tracker.store.write((Reply(self.resolution.turn, "unknown"),))

    # -- the request

    def read(self) -> None:
        """Read the request's body, if it can be."""
        self.begun = True
        try:
            self.request = read_request(self.exchange)
        except ParseError as error:
            self.request_problem = self._tracker.unreadable(self.exchange, error)
        self.exchange.llm_request = request = self.request
        if request is not None and request.user and not self.labels.run_id:
            self.labels = attrs.evolve(self.labels, run_id=run_of_metadata(request.user))

    def read_apart(self) -> None:
        """Read a large request, off the event loop."""
        self.read()
        if self._tracker.matches:
            self._history = self._tracker.identifier.history(self.exchange, self.request)
            self._history.prepare()

    def identify(self) -> Evidence | None:
        """Return what there is to find the session by, None where nothing is matched."""
        identifier = self._tracker.identifier
        if not self._tracker.matches:
            self.agent_id = self.labels.agent_id or self._agent()
            if self.labels.session_id:
                self._belong(self.labels.session_id)
            return None
        history = self._history or identifier.history(self.exchange, self.request)
        evidence = identifier.evidence(self.exchange, self.request, self.labels, history)
        self.agent_id = evidence.agent_id
        if not (history.chain or evidence.links or evidence.name):
            return None  # no conversation, as embeddings are none
        self._evidence = evidence
        return evidence

    def _agent(self) -> str:
        return agent_of(self.request.system if self.request is not None else "").id

    @_safely
    def place(self, resolution: Resolution) -> None:
        """Take where the call belongs."""
        self.resolution = resolution
        self._belong(resolution.session_id)

    @_safely
    def begin(self) -> None:
        """Tell that the call goes upstream."""
        if not self.trace_id:
            self.trace_id = self._own_trace()
        if not self._tracker.observed:
            return
        resolution, request = self.resolution, self.request
        known = resolution.known if resolution is not None else 0
        messages = list(request.messages[known:]) if request is not None else []
        if resolution is not None:
            if resolution.is_new or resolution.resumed:
                self._publish(events.session_start(self, resumed=resolution.resumed))
            if not resolution.again:
                for event in events.tool_results(self, self._fresh(messages)):
                    self._publish(event)
        self._publish(events.call_start(self, messages))

    def _fresh(self, messages: list[Message]) -> Sequence[Message]:
        """
        Leave out what was answered before.

        Of a history that is seen for the first time only what comes last is news.
        """
        for place in range(len(messages) - 1, -1, -1):
            if messages[place].role == "assistant":
                return messages[place + 1 :]
        return messages

    def _belong(self, session_id: str) -> None:
        exchange, found = self.exchange, self.resolution
        method, score = ("", None) if found is None else (found.method, found.score)
        self.session = exchange.session = Session(
            session_id, self.agent_id, exchange.workflow_id, method, score
        )

    def _own_trace(self) -> str:
        """Return a trace id: one for each session, so that all of its calls are in one trace."""
        if self.session is None:
            return f"{random.getrandbits(128) or 1:032x}"
        return trace_of(self.session.id, self.session.workflow_id)

    # -- the reply

    @_safely
    def opened(self) -> None:
        """Take the response's head."""
        response = self.exchange.response
        if response is None or response.framing is None:
            return
        parser = self.dialect.stream_parser()
        if parser is not None:
            encoding = response.header("content-encoding") or ""
            self.stream = StreamReader(parser, response.framing, encoding, self._tracker.monotonic)

    @_safely
    def passed(self, data: bytes) -> None:
        """Take bytes of the body that have gone to the client."""
        if self.stream is not None and not self._interrupted:
            self.stream.feed(data)
            if not self._answered and self.stream.finished:
                self._answer()

    @_safely
    def interrupted(self) -> None:
        """Take that no more comes from the upstream; what the proxy says itself is no reply."""
        self._interrupted = True
        if not self._answered:
            self._answer()

    @_safely
    def answered(self) -> None:
        """
        Take the reply: it is complete, as far as the client needs it to go on.

        Called before anything is read that comes after the last bytes went out, since the next
        call may come at any moment, and is recognised by this reply.
        """
        if not self._answered:
            self._answer()

    def _answer(self) -> None:
        self._answered = True
        reply = self._reply = self._read_reply()
        parts = reply.message.parts if reply is not None and reply.message is not None else ()
        if len(parts) > 1 or (parts and type(parts[0]) is not Text):
            self._tools = self._asked(parts)
        self._register()

    def _asked(self, parts: Sequence[Part]) -> list[tuple[ToolCall, AskedTool]]:
        """Return the tools that a reply asks the client for."""
        now = self._tracker.time()
        return [
            (part, AskedTool(part.name, now, events.new_span(), self.span_id))
            for part in parts
            if type(part) is ToolCall and not part.server
        ]

    def _read_reply(self) -> LLMReply | None:
        if self.stream is not None:
            reply = self.stream.reply()
            self._counted = self.stream.count
            return reply
        if self._interrupted:
            return None
        try:
            return self._read_whole()
        except ParseError as error:
            self.reply_problem = self._tracker.unreadable(self.exchange, error)
            return None

    def _read_whole(self) -> LLMReply | None:
        reply, problem = read_reply(self.exchange, self._tracker.monotonic)
        if problem:
            self.reply_problem = self._tracker.unreadable(self.exchange, ParseError(problem))
        return reply

    def _register(self) -> None:
        """Tell the store what became of the call, where it knows of it."""
        if self.resolution is None or self._evidence is None or self._registered:
            return
        self._registered = True
        said, history = self._reply, self._evidence.history
        state: ReplyState = "failed" if self._interrupted else state_of(self.exchange, said)
        made = Reply(self.resolution.turn, state, events=self._events + 1 + len(self._tools))
        if said is not None:
            if said.id and self.dialect.links_replies:
                made.links = (response_key(history.seed, said.id),)
            if said.message is not None:
                describe(made, history, said.message.parts)
        if self._tools and state == "answered":
            made.tools = asked_tools(self._tools)
        self._tracker.store.write((made,))

    # -- the end

    @_safely
    def settle(self) -> None:
        """Make up for what had to wait until the session was known."""
        self.awaited = False
        if self._answered:
            self._register()
        if self._over:
            self.ended()

    @_safely
    def ended(self) -> None:
        """Tell how it ended, once its session is known."""
        if self.awaited:
            self._over = True
            return
        if not self.begun:
            return  # it was refused before it was read
        if self.stream is not None:
            self._finish(self.stream)
        elif not self._answered:
            self._answer()
        reply = self.exchange.llm_reply = self._reply
        self._tracker.count(self, reply)
        if not self._tracker.observed:
            return
        error = error_of(self.exchange, reply)
        if error is not None:
            self._publish(events.call_error(self, reply, error))
            return
        self._publish(events.call_finish(self, reply))
        if self._tools:
            for event in events.tool_executions(self, self._tools):
                self._publish(event)

    def _finish(self, stream: StreamReader) -> None:
        if not self._interrupted:
            stream.finish()
        if not self._answered:
            self._answer()
        if stream.count != self._counted:  # usage may come after all that was said
            self._reply = stream.reply()
        if stream.problem:
            self.reply_problem = self._tracker.unreadable(self.exchange, ParseError(stream.problem))

    # -- events

    def event(
        self, name: str, attributes: dict[str, Any], *, level: str = "INFO", span_id: str = ""
    ) -> Event:
        """Return an event of this call."""
        return Event(
            name,
            self._tracker.time(),
            self.trace_id,
            span_id or self.span_id,
            level,
            self.agent_id or None,
            self.session.id if self.session is not None else None,
            attributes,
            recorded=self.exchange.recorded,
        )

    def _publish(self, event: Event) -> None:
        self._events += 1
        self._tracker.publish(self.session, event)


@lru_cache(maxsize=1024)
def trace_of(session_id: str, workflow_id: str | None) -> str:
    """Return the trace id of a session."""
    name = f"{workflow_id or ''}\0{session_id}".encode("utf-8", "surrogatepass")
    return blake2b(name, digest_size=16).hexdigest()
