"""
Plays conversations through everything that follows calls, in process and without HTTP.

    proxy = Proxy()
    alice = Talk(proxy)
    first = alice.ask("Hello")                    # opened and answered
    running = alice.open(User("And now?"))        # opened only: what happens next is in between
    running.answer("This.")
    assert running.session == first.session

`Tracker` and `TrackedCall` are the real ones, called in the order in which the gateway calls them.
"""

from __future__ import annotations

import itertools
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

import attrs

from conversation_openai import chat_reply, chat_request, responses_reply, responses_request
from conversation_others import anthropic_reply, anthropic_request, gemini_reply, gemini_request
from conversation_turns import Call, Client, Habits, Results, Said, Step, Turn, User, compact
from perimeter.context import Clock
from perimeter.dialects import UPSTREAM_TYPES, Dialect
from perimeter.errors import UpstreamClosed
from perimeter.metrics import Metrics
from perimeter.model import Event, Exchange, Outcome, Request, Response, Session
from perimeter.pricing import PriceTable
from perimeter.sessions.evidence import Ended, Resolution, SessionStore
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.settings import SessionSettings
from perimeter.tracking import TrackedCall, Tracker


Headers = Sequence[tuple[str, str]]

TABLE: dict[str, Dialect] = {
    dialect.name: dialect for each in UPSTREAM_TYPES.values() for dialect in each.dialects
}
"""All dialects by name."""
PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
    "gemini.generate": "/v1beta/models/gemini-2.5-flash:generateContent",
}
DIALECTS = tuple(PATHS)
WRITE_REQUEST = {
    "openai.chat": chat_request,
    "openai.responses": responses_request,
    "anthropic.messages": anthropic_request,
    "gemini.generate": gemini_request,
}
WRITE_REPLY = {
    "openai.chat": chat_reply,
    "openai.responses": responses_reply,
    "anthropic.messages": anthropic_reply,
    "gemini.generate": gemini_reply,
}
ERROR = {"type": "error", "error": {"type": "server_error", "message": "Try again."}}

_numbers = itertools.count(1)


def fresh(prefix: str) -> str:
    """Return an id like those of providers, another one each time."""
    return f"{prefix}{next(_numbers) * 0x9E3779B97F4A7C15 % 2**64:016x}aZ"


def asks(name: str, arguments: str = "{}", call_id: str | None = None) -> Call:
    """Return a tool call, with an id of its own unless one is given."""
    return Call(fresh("call_") if call_id is None else call_id, name, arguments)


@attrs.define
class Time(Clock):
    """A clock that is set by hand."""

    now: float = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@attrs.define(eq=False)
class Playing:
    """One call, from when its request came."""

    proxy: Proxy
    client: Client
    tracked: TrackedCall

    @property
    def exchange(self) -> Exchange:
        """Its exchange."""
        return self.tracked.exchange

    @property
    def session(self) -> str:
        """The session that it was found to belong to, "" for none."""
        return self.exchange.session.id if self.exchange.session is not None else ""

    @property
    def found(self) -> Resolution:
        """What the store said."""
        assert self.tracked.resolution is not None, "it was not looked for"
        return self.tracked.resolution

    @property
    def method(self) -> str:
        """Which evidence decided."""
        return self.found.method

    @property
    def events(self) -> list[Event]:
        """The events that this call gave so far."""
        mine = self.exchange.id
        starts = self.proxy.starts(self)
        return [
            event
            for event in self.proxy.events
            if event.attributes.get("call.id") == mine or any(event is start for start in starts)
        ]

    def event(self, name: str) -> Event:
        """Return its only event of a name."""
        [event] = [each for each in self.events if each.name == name]
        return event

    @property
    def news(self) -> list[Any]:
        """The messages that were new."""
        return list(self.event("llm.call.start").attributes.get("llm.request.messages", ()))

    def answer(self, said: Said | str = "", *, until: int | None = None) -> Playing:
        """
        Relay the model's reply, as it is on the wire.

        Args:
            said: What the model says.
            until: Of a stream only so many bytes come; then the upstream's connection is lost.
        """
        if isinstance(said, str):
            said = Said(said, id=fresh("resp_"))
        elif not said.id:
            said = attrs.evolve(said, id=fresh("resp_"))
        body = WRITE_REPLY[self.client.dialect](said, self.client)
        kind = "sse" if self.client.habits.stream else None
        return self.relay(body, framing=kind, until=until)

    def fail(self, status: int = 500, body: Mapping[str, Any] = ERROR) -> Playing:
        """Relay an error."""
        return self.relay(compact(body).encode(), status)

    def relay(
        self,
        body: bytes,
        status: int = 200,
        *,
        framing: str | None = None,
        until: int | None = None,
    ) -> Playing:
        """Relay a response as the gateway does."""
        response = self._head(status, framing)
        for start in range(0, len(body[:until]), 97):
            piece = body[:until][start : start + 97]
            response.record(piece, 2**30)
            self.tracked.passed(piece)
        if until is not None:
            return self.lose(Outcome.TRUNCATED)
        self.tracked.answered()
        return self._end(Outcome.COMPLETED, None)

    def lose(self, outcome: Outcome = Outcome.UPSTREAM_ERROR) -> Playing:
        """Lose the upstream's connection."""
        self.tracked.interrupted()
        if self.exchange.response is None:
            self._head(502, None)
        return self._end(outcome, UpstreamClosed("the upstream closed its connection"))

    def _head(self, status: int, framing: str | None) -> Response:
        kind = b"text/event-stream" if framing else b"application/json"
        response = Response(status, [(b"content-type", kind)], framing)
        self.exchange.response = response
        self.tracked.opened()
        return response

    def _end(self, outcome: Outcome, error: Exception | None) -> Playing:
        self.exchange.ended = self.proxy.clock.now
        self.exchange.outcome, self.exchange.error = outcome, error
        self.tracked.ended()
        assert not self.tracked.broken, "a defect was logged"
        return self


class Proxy:
    """
    One worker's tracker with its store, its clock, and the events it tells.

    Attributes:
        clock: Set by hand.
        store: Knows the sessions.
        events: All events, in order.
        metrics: What was counted.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        store: SessionStore | None = None,
        clock: Time | None = None,
        settings: SessionSettings | None = None,
        name: str = "",
    ) -> None:
        """
        Start.

        Args:
            limits: Of a store in memory.
            store: Another store.
            clock: Another worker's.
            settings: The `[session]` table.
            name: Begins the ids of exchanges.
        """
        self.clock = clock or Time()
        self.store: Any = store or MemoryStore(limits or Limits(), self.clock.time, b"s" * 32)
        self.events: list[Event] = []
        self.metrics = Metrics()
        self.settings = settings or SessionSettings()
        self._name = name
        self._numbers = itertools.count(1)
        self._starts: dict[str, list[Event]] = {}
        self._opening = ""
        self.tracker = Tracker(
            self.settings,
            self.store,
            self.metrics,
            PriceTable({}),
            self._take,
            observed=True,
            clock=self.clock,
        )

    def _take(self, session: Session | None, event: Event) -> None:
        self.events.append(event)
        if event.name == "session.start":
            self._starts.setdefault(self._opening, []).append(event)

    def starts(self, playing: Playing) -> list[Event]:
        """Return the starts of sessions that came of a call."""
        return self._starts.get(playing.exchange.id, [])

    def named(self, name: str) -> list[Event]:
        """Return all events of a name."""
        return [event for event in self.events if event.name == name]

    def open(
        self,
        client: Client,
        body: Mapping[str, Any] | bytes,
        headers: Headers = (),
    ) -> Playing:
        """Take a request: it has its session when this returns."""
        playing = self.prepare(client, body, headers)
        run(self.tracker.begin(playing.tracked))
        assert not playing.tracked.broken, "a defect was logged"
        return playing

    async def open_later(
        self, client: Client, body: Mapping[str, Any] | bytes, headers: Headers = ()
    ) -> Playing:
        """Take a request where the store is elsewhere."""
        playing = self.prepare(client, body, headers)
        await self.tracker.begin(playing.tracked)
        assert not playing.tracked.broken, "a defect was logged"
        return playing

    def prepare(self, client: Client, body: Mapping[str, Any] | bytes, headers: Headers) -> Playing:
        """Make the exchange of a request."""
        sent = body if isinstance(body, bytes) else compact(body).encode()
        fields = [("authorization", f"Bearer {client.credential}"), *headers]
        encoded = [(name.encode(), value.encode()) for name, value in fields]
        request = Request("POST", PATHS.get(client.dialect, "/v1/other"), "", encoded, sent)
        self._opening = f"{self._name}exchange-{next(self._numbers)}"
        exchange = Exchange(
            self._opening,
            request,
            request,
            "default",
            TABLE[client.dialect],
            self.clock.now,
            self.clock.now,
            client.workflow or None,
        )
        tracked = self.tracker.follow(exchange)
        assert tracked is not None
        return Playing(self, client, tracked)

    def later(self, seconds: float) -> Sequence[Ended]:
        """Let time go by, and look for sessions that are over."""
        self.clock.now += seconds
        before = len(self.events)
        ended = self.store.sweep()
        self.tracker._tell_ended(ended)  # else it waits for a timer
        assert len(self.events) - before == len(ended)
        return ended


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run what never waits, as with a store in memory."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    message = "it waits"
    raise AssertionError(message)


def client(dialect: str = "openai.chat", **changes: Any) -> Client:
    """Return a client."""
    habits = Habits(**changes.pop("habits", {}))
    values = {"model": "gpt-4o", "habits": habits, "credential": "tenant-0", **changes}
    return Client(dialect, **values)


@attrs.define(eq=False)
class Talk:
    """
    One conversation as its client has it.

    Attributes:
        proxy: What the calls go through.
        client: Whose it is.
        system: The system prompt, "" for none.
        turns: The history.
        headers: Sent with every call.
        sessions: The session of each call, in order.
    """

    proxy: Proxy
    client: Client = attrs.field(factory=client)
    system: str = ""
    turns: list[Turn] = attrs.field(factory=list)
    headers: Headers = ()
    sessions: list[str] = attrs.field(factory=list)

    def ask(self, text: str, reply: Said | str = "") -> Playing:
        """Ask, and get an answer, which goes into the history."""
        return self.step(User(text), reply=reply or f"An answer to {text!r} {fresh('no. ')}.")

    def step(self, *turns: Turn, reply: Said | str) -> Playing:
        """Say something, and get an answer, which goes into the history."""
        said = Said(reply, id=fresh("resp_")) if isinstance(reply, str) else reply
        playing = self.open(*turns).answer(said)
        self.turns.append(said)
        return playing

    def give(self, *results: str, reply: Said | str) -> Playing:
        """Give the results of the tools that were asked for last, in order."""
        said = self.turns[-1]
        assert isinstance(said, Said)
        return self.step(Results(tuple(zip(said.calls, results, strict=True))), reply=reply)

    def open(self, *turns: Turn, headers: Headers = ()) -> Playing:
        """Say something, without an answer so far; nothing means the same request again."""
        self.turns.extend(turns)
        return self.send(headers=headers)

    def send(self, *, headers: Headers = (), **extra: Any) -> Playing:
        """Send the history as it is, with further fields in the body."""
        body = {**self.body(), **extra}
        playing = self.proxy.open(self.client, body, [*self.headers, *headers])
        self.sessions.append(playing.session)
        return playing

    def body(self) -> dict[str, Any]:
        """Return the request's body."""
        step = Step(self.system, tuple(self.turns), None)
        return WRITE_REQUEST[self.client.dialect](step, self.client)

    def fork(self, keep: int | None = None) -> Talk:
        """Return another conversation with the same history, or its first turns."""
        return attrs.evolve(self, turns=self.turns[:keep], sessions=[])

    @property
    def session(self) -> str:
        """The one session of all its calls."""
        [session] = set(self.sessions)
        return session


def sizes(store: MemoryStore) -> dict[str, int]:
    """Return how much a store in memory holds, by what it is."""
    found = {
        f"{type(owner).__name__}.{name}": len(value)
        for owner in (store, store._matcher)  # a leak is seen nowhere else
        for name, value in _values(owner)
        if hasattr(value, "__len__") and not isinstance(value, bytes | str | tuple)
    }
    assert len(found) >= 6, "indexes that were known are not there any more"
    return found


def _values(owner: object) -> Iterable[tuple[str, Any]]:
    names = [*getattr(owner, "__dict__", {}), *getattr(type(owner), "__slots__", ())]
    return [(name, getattr(owner, name)) for name in names if name != "__weakref__"]
