"""What the store in memory keeps of a session, and where it finds it again."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Generic, Literal, TypeVar
from zlib import crc32

import attrs

from perimeter.sessions.evidence import AskedTool, ReplyState
from perimeter.sessions.fingerprints import NO_TRAIL, Sketch, Trail


T = TypeVar("T")

INDEXED = 10
"""So many of a session's newest turns can be found by their chain."""
FRESH = 4
"""So many of them are recognised where a client has changed the answer, or tries again."""
WORDS = 256
"""So many of the newest keys of what was said are kept, for histories that were cut or changed."""
ASKED = 64
"""So many tool calls may wait for their results."""


_NO_SKETCH: Sketch = (0, 0, 0)


@attrs.define(eq=False)
class Turn:
    """
    One call of a session.

    Attributes:
        session: Its session.
        number: Counts the session's calls.
        request: The chain with the request in it.
        system: Key of the system prompt.
        model: The model in short.
        exchange_id: The exchange.
        state: What came of it; `open` while it runs.
        reply: The chain with the reply in it, 0 where there is none.
        answer: Digest of the reply alone, where the session can be found by it.
        sketch: What is left of the reply when a client has changed it.
        distinctive: Whether no other conversation is likely to have the same reply.
        ids: Keys of its tool calls' ids.
        shape: What the first of these ids looks like.
        request_trail: The ids of tool calls up to its request.
        reply_trail: The ids of tool calls up to its reply.
        followed: Whether a later call goes on from it, or repeats it.
    """

    session: Record
    number: int
    request: int
    system: int
    model: int
    exchange_id: str
    state: ReplyState | Literal["open"] = "open"
    reply: int = 0
    answer: int = 0
    sketch: Sketch = (0, 0, 0)
    distinctive: bool = False
    ids: tuple[int, ...] = ()
    shape: int = 0
    request_trail: Trail = NO_TRAIL
    reply_trail: Trail = NO_TRAIL
    followed: bool = False

    def fade(self) -> None:
        """Forget what is only of use for what was said last, to take less memory."""
        self.exchange_id = ""
        self.sketch, self.ids, self.shape = _NO_SKETCH, (), 0


@attrs.define(eq=False)
class Record:
    """
    A session.

    Attributes:
        number: Its own number in this store.
        id: As it is shown.
        agent_id: Its agent.
        workflow_id: Its workflow, or None.
        run: Key of its execution, 0 where unknown.
        system: Key of its system prompt, 0 for none.
        started_at: Unix time of its first call.
        last_at: Unix time of its last call or reply.
        touched_at: When that was, or when it was last seen that a call still runs.
        names: Keys of ids and links that lead to it.
        turns: Its newest turns.
        words: Keys of what was said in it, the newest last.
        asked: Tool calls whose results have not come, by id.
        calls: How many calls it had.
        running: How many of them have no reply yet.
        events: How many events.
        ended: Whether it is over; it can still go on.
        answered: Marks of tool calls whose results have come, the newest last.
    """

    number: int
    id: str
    agent_id: str
    workflow_id: str | None
    run: int
    system: int
    started_at: float
    last_at: float
    touched_at: float = 0.0
    names: list[int] = attrs.field(factory=list)
    turns: list[Turn] = attrs.field(factory=list)
    words: array[int] = attrs.field(factory=lambda: array("Q"))
    asked: dict[str, AskedTool] = attrs.field(factory=dict)
    calls: int = 0
    running: int = 0
    events: int = 0
    ended: bool = False
    answered: array[int] = attrs.field(factory=lambda: array("I"))

    def learn(self, keys: Iterable[int]) -> None:
        """Keep keys of what was said."""
        self.words.extend(keys)
        if len(self.words) > WORDS:
            del self.words[: len(self.words) - WORDS]

    def ask(self, tools: Iterable[tuple[str, AskedTool]]) -> None:
        """Wait for the results of tool calls."""
        for call_id, tool in tools:
            self.asked[call_id] = tool
            if self.knows_result(call_id):
                self.answered.remove(_mark(call_id))
        while len(self.asked) > ASKED:
            del self.asked[next(iter(self.asked))]

    def answer(self, call_id: str) -> AskedTool | None:
        """Take that a tool call's result has come; return the call, if it waited for that."""
        tool = self.asked.pop(call_id, None)
        if tool is not None:
            if not self.asked:
                self.asked = {}  # an emptied dictionary keeps the memory that it has had
            self.answered.append(_mark(call_id))
            del self.answered[:-ASKED]
        return tool

    def knows_result(self, call_id: str) -> bool:
        """Whether the result of a tool call has come before."""
        return bool(self.answered) and _mark(call_id) in self.answered


def _mark(call_id: str) -> int:
    """Return a checksum of an id: a session keeps so few that no two are alike."""
    return crc32(call_id.encode("utf-8", "surrogatepass"))


class Index(Generic[T]):
    """Finds things by keys that several may share, the newest last; bounded for each key."""

    __slots__ = ("_each", "_found")

    def __init__(self, each: int) -> None:
        """
        Start empty.

        Args:
            each: So many may share a key; beyond that the oldest is forgotten.
        """
        self._each = each
        self._found: dict[int, T | list[T]] = {}

    def add(self, key: int, thing: T) -> None:
        """Make a thing known under a key."""
        there = self._found.get(key)
        if there is None:
            self._found[key] = thing
        elif isinstance(there, list):
            there.append(thing)
            if len(there) > self._each:
                del there[0]
        else:
            self._found[key] = [there, thing]

    def get(self, key: int) -> list[T]:
        """Return what is known under a key, the newest last; not to be changed."""
        there = self._found.get(key)
        if there is None:
            return []
        return there if isinstance(there, list) else [there]

    def remove(self, key: int, thing: T) -> None:
        """Forget a thing under a key, if it is known there."""
        there = self._found.get(key)
        if there is thing:
            del self._found[key]
        elif isinstance(there, list) and thing in there:
            there.remove(thing)
            if not there:
                del self._found[key]

    def __len__(self) -> int:
        return len(self._found)
