"""
Sessions as bytes and back, and what a store that others share needs beside placing calls.

Nothing of what was said is in the bytes: keys, ids, and the names of tools that were asked for.
"""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import msgspec

from perimeter.sessions.evidence import AskedTool, Ended, Evidence, ReplyState
from perimeter.sessions.fingerprints import NO_TRAIL, Sketch, Trail
from perimeter.sessions.memory import OWN, MemoryStore
from perimeter.sessions.records import Record, Turn


PlainTrail = tuple[int, int]
PlainTool = tuple[bytes, bytes, float, str, str]
"""The call's id, the tool's name, when, the span of its events, the span of its call."""


class KeptTurn(msgspec.Struct, array_like=True, gc=False):
    """A `Turn`. New fields go to the end and have a default, so that older rows can be read."""

    number: int
    request: int
    system: int
    model: int
    exchange_id: str
    state: ReplyState
    reply: int
    answer: int
    sketch: Sketch
    distinctive: bool
    ids: tuple[int, ...]
    shape: int
    request_trail: PlainTrail
    reply_trail: PlainTrail
    followed: bool
    indexed: bool
    """Whether it could be found by its request."""


class KeptSession(msgspec.Struct, array_like=True, gc=False):
    """A `Record`, and fields are added to it as to `KeptTurn`."""

    number: int
    id: bytes
    agent_id: bytes
    workflow_id: bytes | None
    run: int
    system: int
    started_at: float
    last_at: float
    names: list[int]
    words: bytes
    asked: list[PlainTool]
    calls: int
    events: int
    ended: bool
    turns: list[KeptTurn]
    answered: list[int]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptSession).decode


class SharedStore(MemoryStore):
    """A store in memory that keeps the sessions of others too: of workers, or of a file."""

    def unanswered(self, evidence: Evidence) -> list[tuple[int, int]] | None:
        """
        Return the turns that a call may follow or repeat, and of which no reply is known yet.

        None says that it may be any: the newest answer that the call goes on from is not known.
        """
        chain, find = evidence.history.chain[-3:], self._matcher
        if len(chain) > 1 and not any(map(find.replies.get, chain)):
            return None
        turns: list[Turn] = []
        for key in chain:
            turns += find.requests.get(key)
        if evidence.links:
            records = [self._named[key] for key in evidence.links if key in self._named]
            if not records:
                return None
            turns += [turn for record in records for turn in record.turns]
        return [(turn.session.number, turn.number) for turn in turns if turn.state == "open"]

    def learn(self, number: int, words: Iterable[int]) -> None:
        """Keep keys of what was said in a session, which were worked out after it was found."""
        record = self._records.get(number)
        if record is not None:
            record.learn(words)

    def end_all(self) -> Sequence[Ended]:
        """End all sessions; the store goes on."""
        for record in tuple(self._open.values()):
            self._end(record, "shutdown")
        return self._take_ended()

    def pack(self, number: int) -> tuple[Record, bytes] | None:
        """Return a session, and what is to be kept of it; None if it was forgotten."""
        record = self._records.get(number)
        return None if record is None else (record, _encode(self._kept(record)))

    def restore(self, packed: Iterable[bytes], last: int) -> set[int]:
        """
        Take in sessions that were packed, into an empty store.

        Args:
            packed: The sessions, the one that was quiet for longest first.
            last: The highest number that any session had.

        Returns:
            The numbers of those that could be read.
        """
        with _no_collection():
            numbers = set(self._restored(packed))
        self._numbers = count(last + 1)
        return numbers

    def _restored(self, packed: Iterable[bytes]) -> Iterator[int]:
        now = self._clock()
        for data in packed:
            try:
                kept = _decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
            self._take_in(kept, _record(kept, now))
            yield kept.number

    def _kept(self, record: Record) -> KeptSession:
        return KeptSession(
            record.number,
            to_bytes(record.id),
            to_bytes(record.agent_id),
            None if record.workflow_id is None else to_bytes(record.workflow_id),
            record.run,
            record.system,
            record.started_at,
            record.last_at,
            record.names,
            record.words.tobytes(),
            plain_tools(record.asked.items()),
            record.calls,
            record.events,
            record.ended,
            [self._kept_turn(turn) for turn in record.turns],
            record.answered.tolist(),
        )

    def _kept_turn(self, turn: Turn) -> KeptTurn:
        return KeptTurn(
            turn.number,
            turn.request,
            turn.system,
            turn.model,
            turn.exchange_id,
            "unknown" if turn.state == "open" else turn.state,  # nobody will tell any more
            turn.reply,
            turn.answer,
            turn.sketch,
            turn.distinctive,
            turn.ids,
            turn.shape,
            (turn.request_trail.ids, turn.request_trail.shapes),
            (turn.reply_trail.ids, turn.reply_trail.shapes),
            turn.followed,
            turn in self._matcher.requests.get(turn.request),
        )

    def _take_in(self, kept: KeptSession, record: Record) -> None:
        self._records[record.number] = record
        if not record.ended:
            self._open[record.number] = record
        for key in record.names:
            self._named[key] = record
        if record.id.startswith(OWN):
            self._shown.setdefault(record.id, record)
        for each in kept.turns:
            turn = _turn(each, record)
            record.turns.append(turn)
            if each.indexed:
                self._matcher.add(turn)
            self._matcher.add_reply(turn, turn.answer)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: among so many new objects it takes as long as all the rest."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _record(kept: KeptSession, now: float) -> Record:
    last_at = min(kept.last_at, now)  # a clock that was set back must not keep it for ever
    return Record(
        number=kept.number,
        id=to_text(kept.id),
        agent_id=to_text(kept.agent_id),
        workflow_id=None if kept.workflow_id is None else to_text(kept.workflow_id),
        run=kept.run,
        system=kept.system,
        started_at=kept.started_at,
        last_at=last_at,
        touched_at=last_at,
        names=kept.names,
        words=array("Q", kept.words),
        asked=dict(asked_tools(kept.asked)),
        calls=kept.calls,
        events=kept.events,
        ended=kept.ended,
        answered=array("I", kept.answered),
    )


def _turn(kept: KeptTurn, record: Record) -> Turn:
    return Turn(
        record,
        kept.number,
        kept.request,
        kept.system,
        kept.model,
        kept.exchange_id,
        kept.state,
        kept.reply,
        kept.answer,
        kept.sketch,
        kept.distinctive,
        kept.ids,
        kept.shape,
        trail_of(kept.request_trail),
        trail_of(kept.reply_trail),
        kept.followed,
    )


def trail_of(plain: PlainTrail) -> Trail:
    """Return a trail from its two keys; the many empty ones are one object."""
    return Trail(*plain) if plain != (0, 0) else NO_TRAIL


def plain_tools(tools: Iterable[tuple[str, AskedTool]]) -> list[PlainTool]:
    """Return asked tools as plain data."""
    return [
        (to_bytes(call_id), to_bytes(tool.name), tool.at, tool.span_id, tool.call_span_id)
        for call_id, tool in tools
    ]


def asked_tools(tools: Iterable[PlainTool]) -> tuple[tuple[str, AskedTool], ...]:
    """Return asked tools from plain data."""
    return tuple(
        [
            (to_text(call_id), AskedTool(to_text(name), at, span_id, call_span_id))
            for call_id, name, at, span_id, call_span_id in tools
        ]
    )


def to_bytes(text: str) -> bytes:
    """Return any text as bytes; JSON can have lone surrogates, which are no UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def to_text(data: bytes) -> str:
    """Return the text that `to_bytes` was given."""
    return data.decode("utf-8", "surrogatepass")
