"""
Clients that talk at the same time, as a machine that hypothesis plays with.

    class Restarted(Conversations):        # the same with something else below or beside it
        @rule()
        def restart(self): ...

    TestRestarted = Restarted.TestCase
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
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
from driver import DIALECTS, Playing, Proxy, Talk, asks, client, fresh, sizes
from perimeter.sessions.evidence import Ended


QUESTIONS = ("Hello", "What is new?")
SYSTEMS = ("", "You help.")
CALLED = (("look", "{}"), ("find", '{"what": "it"}'))
MOST = 6
"""Conversations that are begun: few, so that they become long."""
SUMMARY = "This is a summary of all that was said before."

dialects = st.sampled_from(DIALECTS)
replies = st.tuples(st.booleans(), st.lists(st.sampled_from(CALLED), max_size=3))
"""Whether the model says something, and the tools that it calls."""

Given = tuple[bool, list[tuple[str, str]]]
T = TypeVar("T")


@attrs.define(eq=False)
class Life:
    """A conversation, and what was found out about it; it is over when its session has ended."""

    talk: Talk
    session: str = ""
    running: Playing | None = None
    over: bool = False

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
        self.proxies = [Proxy()]
        self.lives: list[Life] = []
        self.replies = 0
        self.sent: set[str] = set()

    # -- where all this happens

    @property
    def proxy(self) -> Proxy:
        """The proxy that calls come to now."""
        return self.proxies[-1]

    @property
    def active(self) -> int:
        """How many sessions there are that have not ended."""
        active: int = self.proxy.store.active
        return active

    def place(self, talk: Talk) -> Playing:
        """Send what a conversation has come to."""
        talk.proxy = self.proxy
        return talk.send()

    def do(self, action: Callable[[], T]) -> T:
        """Do something where a proxy does it."""
        return action()

    def later(self, seconds: float) -> Sequence[Ended]:
        """Let time go by; return the sessions that are over then."""
        return self.proxy.later(seconds)

    # -- what is always true

    def send(self, life: Life) -> Life:
        """Send what a conversation has come to, and check where it was found to belong."""
        new = not life.session
        life.running = playing = self.place(life.talk)
        others = {each.session for each in self.lives if each is not life}
        assert playing.session not in others, "taken for another conversation"
        assert new or playing.session == life.session, "torn apart"
        assert playing.found.is_new == new
        assert playing.found.resumed == life.over
        life.session, life.over = playing.session, False
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
        assert self.active == len([life for life in self.lives if not life.over])

    # -- what clients do

    @precondition(lambda self: len(self.lives) < MOST)
    @rule(
        target=waiting,
        dialect=dialects,
        system=st.sampled_from(SYSTEMS),
        question=st.sampled_from(QUESTIONS),
        count=st.integers(1, 3),
    )
    def start(self, dialect: str, system: str, question: str, count: int) -> Any:
        """Begin, some at the same time, perhaps as others did."""
        new = []
        for _ in range(count):
            life = Life(Talk(self.proxy, client(dialect), system, [User(question)]))
            new.append(self.send(life))
            self.lives.append(life)
        return multiple(*new)

    @rule(target=idle, life=consumes(waiting), reply=replies)
    def answer(self, life: Life, reply: Given) -> Life:
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
        running = life.running
        self.do(lambda: running.answer(said))
        life.turns.append(said)
        return life

    @rule(target=waiting, life=consumes(waiting), lost=st.booleans())
    def fail(self, life: Life, *, lost: bool) -> Life:
        """Get none, and try again."""
        failed = life.running
        assert failed is not None
        self.do(lambda: failed.lose() if lost else failed.fail(503))
        return self.try_again(life)

    def try_again(self, life: Life) -> Life:
        """Send the same once more, after a failure."""
        failed, again = life.running, self.send(life).running
        assert failed is not None
        assert again is not None
        assert again.found.retry_of == failed.exchange.id
        return life

    @rule(target=waiting, life=consumes(idle), question=st.sampled_from(QUESTIONS))
    def go_on(self, life: Life, question: str) -> Life:
        """Ask further, or give the results of tools."""
        life.turns.append(self.next_turn(life, question))
        return self.send(life)

    @rule(
        target=idle,
        life=consumes(waiting),
        question=st.sampled_from(QUESTIONS),
        first=replies,
        given=st.lists(replies, min_size=1, max_size=6),
    )
    def chat(self, life: Life, question: str, first: Given, given: Sequence[Given]) -> Life:
        """Get answers and ask further for a while."""
        self.answer(life, first)
        for reply in given:
            self.answer(self.go_on(life, question), reply)
        return life

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

    @rule(target=waiting, life=consumes(idle), keep=st.integers(1, 4))
    def window(self, life: Life, keep: int) -> Life:
        """Forget the oldest turns, up to a question."""
        questions = [place for place, turn in enumerate(life.turns) if isinstance(turn, User)]
        first = [place for place in questions if len(life.turns) - place >= 2 * keep]
        del life.turns[: first[-1] if first else 0]
        return self.go_on(life, QUESTIONS[0])

    @rule(target=waiting, life=consumes(idle), keep=st.integers(1, 4))
    def compact(self, life: Life, keep: int) -> Life:
        """Put a summary in the place of the oldest turns, up to a question, and go on."""
        questions = [place for place, turn in enumerate(life.turns) if isinstance(turn, User)]
        first = [place for place in questions if len(life.turns) - place >= 2 * keep]
        if first and first[-1]:
            life.turns[: first[-1]] = [User(SUMMARY)]
        return self.go_on(life, QUESTIONS[1])

    @precondition(lambda self: self.active)
    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        """Let some time go by."""
        assert not self.later(seconds)

    def teardown(self) -> None:
        """End all, and find nothing left."""
        for life in self.lives:
            if life.running is not None and life.running.exchange.ended is None:
                self.do(life.running.fail)
        told = [each for proxy in self.proxies for each in proxy.events]
        ended = {each.session_id: each.events for each in self.later(3600)}
        for life in self.lives:
            mine = [event.name for event in told if event.session_id == life.session]
            if not life.over:
                assert ended.pop(life.session) == len(mine) - mine.count("session.end")
        assert not ended
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        """See that all of the sessions was forgotten with them."""
        assert not any(sizes(self.proxy.store).values())
