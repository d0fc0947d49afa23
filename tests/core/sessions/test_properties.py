"""Whatever clients do, in whatever order: what is always true of sessions."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from conversation_turns import Results, Said, Turn, User
from driver import DIALECTS, TABLE, Playing, Proxy, Talk, asks, client, fresh, sizes
from perimeter.sessions.memory import Limits


QUESTIONS = ("Hello", "What is new?")
SYSTEMS = ("", "You help.")
CALLED = (("look", "{}"), ("find", '{"what": "it"}'))

dialects = st.sampled_from(DIALECTS)
replies = st.tuples(st.booleans(), st.lists(st.sampled_from(CALLED), max_size=3))
"""Whether the model says something, and the tools that it calls."""


@attrs.define(eq=False)
class Life:
    """A conversation, and what is to be found out about it."""

    talk: Talk
    session: str = ""
    running: Playing | None = None

    @property
    def turns(self) -> list[Turn]:
        """Its history."""
        return self.talk.turns


class Conversations(RuleBasedStateMachine):
    """
    Clients that talk at the same time, with few words, so that many say the same.

    No two replies are the same, by their words or at least by the ids of their calls, so that each
    call's conversation can be told.
    """

    idle = Bundle("idle")
    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.proxy = Proxy()
        self.lives: list[Life] = []
        self.replies = 0
        self.sent: set[str] = set()

    # -- what is always true

    def send(self, life: Life) -> Life:
        """Send what a conversation has come to, and check where it was found to belong."""
        new = not life.session
        life.running = playing = life.talk.send()
        others = {each.session for each in self.lives if each is not life}
        assert playing.session not in others, "taken for another conversation"
        assert new or playing.session == life.session, "torn apart"
        assert playing.found.is_new == new
        life.session = playing.session
        self.check_news(playing)
        return life

    def check_news(self, playing: Playing) -> None:
        """Check what a call says is new."""
        request, found = playing.tracked.request, playing.found
        assert request is not None
        assert 0 <= found.known <= len(request.messages)
        assert playing.news == list(request.messages[found.known :])
        sent = repr(request.messages)
        if found.retry_of:
            assert not playing.news
        if not playing.news:
            assert sent in self.sent, "nothing is new in what was never sent"
        self.sent.add(sent)
        assert all(message.role != "assistant" for message in playing.news[-1:])

    @invariant()
    def counts(self) -> None:
        """As many sessions are active as there are conversations."""
        assert self.proxy.store.active == len(self.lives)

    # -- what clients do

    @rule(
        target=waiting,
        dialect=dialects,
        system=st.sampled_from(SYSTEMS),
        question=st.sampled_from(QUESTIONS),
    )
    def start(self, dialect: str, system: str, question: str) -> Life:
        """Begin, perhaps as others did."""
        talk = Talk(self.proxy, client(dialect), system, [User(question)])
        life = Life(talk)
        self.send(life)
        self.lives.append(life)
        return life

    @rule(target=idle, life=consumes(waiting), reply=replies)
    def answer(self, life: Life, reply: tuple[bool, list[tuple[str, str]]]) -> Life:
        """Get the answer."""
        talks, called = reply
        without_ids = life.talk.client.dialect == "gemini.generate"
        text = ""
        if talks or not called or without_ids:
            self.replies += 1
            text = f"This is what I have to say, for the {self.replies}. time."
        calls = tuple(asks(name, arguments) for name, arguments in called)
        said = Said(text, calls=calls, id=fresh("resp_"))
        assert life.running is not None
        life.running.answer(said)
        life.turns.append(said)
        return life

    @rule(target=waiting, life=consumes(waiting), lost=st.booleans(), said=st.booleans())
    def fail(self, life: Life, *, lost: bool, said: bool) -> Life:
        """Get none, and try again."""
        assert life.running is not None
        failed = life.running.lose() if lost else life.running.fail(503)
        again = self.send(life).running
        assert again is not None
        assert again.found.retry_of == failed.exchange.id
        return life

    @rule(target=waiting, life=consumes(idle), question=st.sampled_from(QUESTIONS))
    def go_on(self, life: Life, question: str) -> Life:
        """Ask further, or give the results of tools."""
        life.turns.append(self.next_turn(life, question))
        return self.send(life)

    def next_turn(self, life: Life, question: str) -> Turn:
        """Return what the client says next."""
        said = life.turns[-1]
        assert isinstance(said, Said)
        if said.calls:
            return Results(tuple((call, "the same result") for call in said.calls))
        return User(question)

    @rule(target=waiting, life=consumes(idle))
    def regenerate(self, life: Life) -> Life:
        """Ask for another answer; where it is the first one, go on instead."""
        if len(life.turns) == 2:
            return self.go_on(life, QUESTIONS[0])
        life.turns.pop()
        return self.send(life)

    @rule(target=waiting, life=consumes(idle), back=st.integers(1, 3), question=st.text())
    def edit(self, life: Life, back: int, question: str) -> Life:
        """Go back to an earlier answer, and say something else."""
        answers = [place for place, turn in enumerate(life.turns) if isinstance(turn, Said)]
        del life.turns[answers[max(0, len(answers) - back)] + 1 :]
        life.turns.append(self.next_turn(life, f"Rather: {question}"))
        return self.send(life)

    @rule(target=waiting, life=consumes(idle), keep=st.integers(3, 4))
    def window(self, life: Life, keep: int) -> Life:
        """Forget the oldest turns, up to a question."""
        questions = [place for place, turn in enumerate(life.turns) if isinstance(turn, User)]
        first = [place for place in questions if len(life.turns) - place >= 2 * keep]
        del life.turns[: first[-1] if first else 0]
        return self.go_on(life, QUESTIONS[0])

    @precondition(lambda self: self.proxy.store.active)
    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        """Let some time go by."""
        assert not self.proxy.later(seconds)

    @rule(target=idle)
    def nothing(self) -> Any:
        """Nothing: a bundle may be empty."""
        return multiple()

    def teardown(self) -> None:
        """End all, and find nothing left."""
        for life in self.lives:
            if life.running is not None and life.running.exchange.ended is None:
                life.running.fail()
        told = len(self.proxy.events)
        ended = self.proxy.later(3600)
        assert len(ended) == len(self.lives)
        assert sum(each.events for each in ended) == told
        assert not any(sizes(self.proxy.store).values())


TestConversations = Conversations.TestCase
TestConversations.settings = settings(
    max_examples=150, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


# -- what is kept


operations = st.tuples(
    st.sampled_from(["open", "go on", "answer", "fail", "named", "linked", "reset"]),
    st.integers(0, 9),
    st.sampled_from([0.0, 1.0, 20.0, 70.0]),
)


@given(most=st.integers(1, 5), done=st.lists(operations, max_size=60))
def test_nothing_is_kept_for_ever(most: int, done: list[tuple[str, int, float]]) -> None:
    """However sessions come and go, there are never too many, and nothing of them stays."""
    proxy = Proxy(Limits(max_sessions=most, ttl=60.0, completion_timeout=15.0))
    talks: list[Talk] = []
    running: list[Playing] = []
    for what, number, seconds in done:
        running += _do(proxy, what, number, talks, running)
        proxy.later(seconds)
        held = sizes(proxy.store)
        assert held["MemoryStore._records"] <= most
        assert proxy.store.active <= most
    target(float(len(talks)))
    for playing in running:
        playing.answer("At last.")
    proxy.later(61)
    assert not any(sizes(proxy.store).values()), sizes(proxy.store)
    assert proxy.store.active == 0


def _do(
    proxy: Proxy, what: str, number: int, talks: list[Talk], running: list[Playing]
) -> list[Playing]:
    if what in {"answer", "fail"}:
        if running:
            playing = running.pop(number % len(running))
            playing.answer(
                "Yes, of course, whatever you say."
            ) if what == "answer" else playing.fail()
        return []
    link = {}
    if what == "go on" and talks:
        talk = talks[number % len(talks)]
        talk.turns += [Said("Yes, of course, whatever you say.", id=f"resp_{number}"), User("And?")]
    else:
        headers = [("x-cylestio-session-id", f"chat-{number}")] if what == "named" else []
        text = "Start over!" if what == "reset" else f"Question {number % 3}"
        talk = Talk(proxy, client("openai.responses"), "", [User(text)], headers)
        link = {"previous_response_id": f"resp_{number}"} if what == "linked" else {}
        talks.append(talk)
    return [talk.send(**link)]


# -- what is no conversation


NAMES = (
    "messages", "input", "contents", "role", "content", "parts", "type", "text", "tool_calls", "id",
    "function", "name", "arguments", "system", "instructions", "tool_use_id", "tool_call_id",
    "call_id", "output", "choices", "message", "delta", "usage", "error", "candidates", "prompt",
    "model", "previous_response_id", "conversation", "functionCall", "functionResponse", "args",
    "response", "source", "data", "image_url", "url", "metadata", "user_id", "tools", "stream",
)  # fmt: skip
WORDS = (
    "user", "assistant", "model", "system", "tool", "text", "tool_use", "tool_result", "message",
    "function_call", "function_call_output", "reasoning", "output_text", "image", "error", "",
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | st.text()
    | st.text(st.characters(codec=None))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=6)
    ),
    max_leaves=25,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=8)
calls = [name for name, dialect in TABLE.items() if dialect.operation]


@given(bodies=st.lists(st.tuples(objects, objects | values), min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_json_is_followed(bodies: list[tuple[Any, Any]]) -> None:
    """No request and no reply, if it is JSON at all, keeps a call from having its two events."""
    for dialect in calls:
        proxy, who = Proxy(), client(dialect)
        playings = [proxy.open(who, dump(request)) for request, _ in (*bodies, bodies[0])]
        for playing, (_, reply) in zip(playings, bodies, strict=False):
            playing.relay(dump(reply))
        playings[-1].fail()
        for playing in playings:
            told = [event.name for event in playing.events]
            assert told.count("llm.call.start") == 1
            assert told.count("llm.call.finish") + told.count("llm.call.error") == 1
        proxy.later(3600)
        assert not any(sizes(proxy.store).values())


def dump(value: Any) -> bytes:
    """Write JSON, lone halves of surrogate pairs included."""
    return json.dumps(value).encode()
