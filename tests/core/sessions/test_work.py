"""How much work it is to find a session: counted, since seconds say more of the machine."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import attrs
import pytest
from xxhash import xxh3_64, xxh3_64_intdigest

from conversation_turns import Said, User
from driver import DIALECTS, Proxy, Talk, Time, client, fresh
from perimeter.calls import LLMRequest, Message, Text
from perimeter.sessions import fingerprints
from perimeter.sessions.evidence import Evidence, Reply
from perimeter.sessions.fingerprints import History
from perimeter.sessions.memory import Limits, MemoryStore


LENGTH = 500
"""Characters of each message: many, so that what is hashed beside them is little."""
TURNS = 200
"""Of a conversation; as many messages come from the client as from the model."""

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@attrs.define(eq=False)
class Hashed:
    """What was hashed since it was looked at last."""

    bytes: int = 0
    digests: int = 0

    def take(self) -> tuple[int, int]:
        """Return how many bytes went in and how many digests came out, and begin anew."""
        taken = self.bytes, self.digests
        self.bytes = self.digests = 0
        return taken


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    """Count what the hash of fingerprints is given."""
    counted = Hashed()

    class Counting:
        def __init__(self, *, seed: int = 0, copied: Any = None) -> None:
            self.real = copied or xxh3_64(seed=seed)

        def copy(self) -> Counting:
            return Counting(copied=self.real.copy())

        def update(self, data: bytes) -> None:
            counted.bytes += len(data)
            self.real.update(data)

        def intdigest(self) -> int:
            counted.digests += 1
            return self.real.intdigest()

    def at_once(data: bytes, seed: int) -> int:
        counted.bytes += len(data)
        counted.digests += 1
        return xxh3_64_intdigest(data, seed)

    monkeypatch.setattr(fingerprints, "xxh3_64", Counting)
    monkeypatch.setattr(fingerprints, "xxh3_64_intdigest", at_once)
    return counted


def text_of(number: int, who: str) -> str:
    """Return words that are said once, always as many."""
    return f"{who} no. {number:06}: ".ljust(LENGTH, "x")


def answer(talk: Talk, number: int) -> Said:
    """Return what the model says, and put it into the history."""
    said = Said(text_of(number, "Answer"), id=fresh("resp_"))
    talk.turns.append(said)
    return said


@every_dialect
def test_a_call_hashes_its_body_once(dialect: str, hashed: Hashed) -> None:
    """Every character of a request is hashed once, and beside that only what is new."""
    talk = Talk(Proxy(), client(dialect, credential=f"counted-{dialect}"), "Be brief.")
    asked, answered = [], []
    hashed.take()
    for number in range(TURNS):
        playing = talk.open(User(text_of(number, "Question")))
        asked.append(hashed.take())
        playing.answer(answer(talk, number))
        answered.append(hashed.take())
    assert talk.session
    for number, (size, digests) in enumerate(asked):
        messages = 2 * number + 1
        beside = size - messages * LENGTH
        assert 0 <= beside <= 4 * messages + 2 * LENGTH  # the newest words have a key of their own
        assert digests <= messages + 8
    assert max(answered) <= (3 * LENGTH, 8), "a reply takes what is known of its request"


def test_a_call_that_nobody_knows_hashes_little_more(hashed: Hashed) -> None:
    """Where a long history is compared by its parts, it is a bounded number of the newest."""
    sizes = []
    for turns in (50, 100, 200):
        talk = Talk(Proxy(), client(credential=f"stranger-{turns}"))
        hashed.take()
        for number in range(turns):
            talk.turns.append(User(text_of(number, "Question")))
            answer(talk, number)
        playing = talk.open(User("And now?"))
        assert playing.found.is_new
        sizes.append(hashed.take()[0] - 2 * turns * LENGTH)
    assert sizes[2] - sizes[1] <= 4 * 200
    assert sizes[1] - sizes[0] <= 4 * 100
    assert max(sizes) <= 100 * LENGTH


# -- what the store does


def lines_of(action: Callable[[], Any]) -> int:
    """Return how many lines of Python something runs, each round of a loop counted."""
    count = 0

    def note(frame: FrameType, what: str, argument: Any) -> Any:
        nonlocal count
        count += what == "line"
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


class Counted(MemoryStore):
    """A store that counts the lines that run in it."""

    placed = written = 0

    def resolve(self, evidence: Evidence, writes: Any) -> Any:
        found: list[Any] = []
        history = evidence.history
        history.prepare()  # what is worked out of the request alone is counted elsewhere
        self.placed = lines_of(lambda: found.append(super(Counted, self).resolve(evidence, writes)))
        return found[0]

    def write(self, replies: Any) -> None:
        self.written = lines_of(lambda: super(Counted, self).write(replies))


@every_dialect
def test_a_store_does_as_much_for_a_long_conversation(dialect: str) -> None:
    """What is looked up and compared for a call does not grow with its conversation."""
    clock = Time()
    store = Counted(Limits(), clock.time)
    talk = Talk(Proxy(store=store, clock=clock), client(dialect))
    placed, written = [], []
    for number in range(TURNS):
        playing = talk.open(User(f"Question {number}"))
        placed.append(store.placed)
        playing.answer(answer(talk, number))
        written.append(store.written)
    assert talk.session
    warm = 80  # by then all that is bounded is full
    assert min(*placed, *written) > 5, "nothing is counted"
    assert max(placed[warm:]) <= max(placed[:warm]) + 5
    assert max(written[warm:]) <= max(written[:warm]) + 5
    assert max(placed) < 400


def test_a_store_looks_for_strangers_in_bounds() -> None:
    """A history of which nothing is known is looked up a bounded number of times."""
    costs = []
    for turns in (300, 600):
        clock = Time()
        store = Counted(Limits(), clock.time)
        talk = Talk(Proxy(store=store, clock=clock))
        for number in range(turns):
            talk.turns += [User(f"Question {number}"), Said(f"Answer {number}, as I said.")]
        assert talk.open(User("And now?")).found.is_new
        costs.append(store.placed)
    assert costs[1] <= costs[0] + 20


# -- time


class Looked(OrderedDict[int, Any]):
    """Sessions in order that count how many of them were looked at, one after the other."""

    count = 0

    def _noted(self, each: Any) -> Any:
        self.count += 1
        return each

    def __iter__(self) -> Iterator[int]:
        return map(self._noted, super().__iter__())

    def values(self) -> Any:
        return map(self._noted, super().values())

    def items(self) -> Any:
        return map(self._noted, super().items())


@pytest.mark.parametrize("most", [20_000, 500])
def test_the_end_of_sessions_is_not_searched_for(most: int) -> None:
    """Over 10,000 sessions and as many sweeps only those are looked at whose time has come."""
    clock = Time()
    store = MemoryStore(Limits(max_sessions=most), clock.time)
    store._records, store._open = looked = Looked(), Looked()
    calls = sweeps = endless = 0
    ended = []
    for number in range(10_000):
        words = Message("user", (Text(f"Question {number}"),))
        history = History(LLMRequest(messages=(words,)), 1729)
        found = store.resolve(Evidence(f"exchange-{number}", history), ())
        ended += found.ended
        if number % 100:
            store.write([Reply(found.turn, "answered")])
        else:
            endless += 1  # a call without an end keeps its session
        calls += 1
        clock.now += 0.7
        ended += store.sweep()
        sweeps += 1
    while clock.now < Time().now + 20_000:
        clock.now += 10
        ended += store.sweep()
        sweeps += 1
    assert len(ended) >= 10_000 - endless
    forgotten = 10_000 - len(store._records)
    asleep = endless * 20_000 // 1800 * 2  # each time that one of the two times is over
    assert looked[0].count + looked[1].count >= len(ended) + forgotten, "nothing is counted"
    counted = looked[0].count + looked[1].count
    assert counted <= len(ended) + forgotten + 2 * (calls + sweeps) + calls + asleep


def test_a_session_that_is_let_go_is_gone() -> None:
    """What is kept of a session is gone with it, without the garbage collector's help."""
    proxy = Proxy(Limits(max_sessions=1))
    talk = Talk(proxy, client("openai.chat"))
    talk.ask("One", "Two.")
    talk.ask("Three", "Four.")
    [record] = map(weakref.ref, proxy.store._records.values())
    gc.disable()
    try:
        Talk(proxy, client("openai.chat")).ask("Something else", "Indeed.")

        assert record() is None
    finally:
        gc.enable()
