"""The sessions in memory: the store of one process, and what other stores put their own around."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import attrs

from perimeter.sessions.evidence import (
    AskedTool,
    Ended,
    Ending,
    Evidence,
    Method,
    Reply,
    Resolution,
)
from perimeter.sessions.fingerprints import NO_TRAIL, Trail
from perimeter.sessions.matching import Match, Matcher
from perimeter.sessions.records import FRESH, INDEXED, Record, Turn


OWN = "ses-"
"""What ids begin with that are made up here."""

NAMES = 64
"""So many of a session's newest ids and links lead to it."""


LOOK_SECONDS = 1.0
"""Between calls it is looked no more often than this for sessions whose time is over."""


@attrs.frozen
class Limits:
    """
    What the store keeps, and for how long.

    Attributes:
        max_sessions: So many sessions; beyond that the one that was quiet for longest goes.
        ttl: Seconds since the last activity after which a session is forgotten.
        completion_timeout: Seconds since the last activity after which it counts as over.
        fuzzy_threshold: As `Matcher` has it.
        short: As `Matcher` has it.
    """

    max_sessions: int = 10_000
    ttl: float = 3600.0
    completion_timeout: float = 1800.0
    fuzzy_threshold: float = 0.5
    short: int = 3


class MemoryStore:
    """
    Keeps sessions in memory. Used from one thread.

    Attributes:
        secret: What keys are made with.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], secret: bytes = b"") -> None:
        """
        Start without sessions.

        Args:
            limits: What is kept.
            clock: Tells Unix time, seconds.
            secret: 32 bytes; made up where there is none to be kept.
        """
        self.secret = secret or os.urandom(32)
        self._limits = limits
        self._clock = clock
        self._matcher = Matcher(limits.fuzzy_threshold, limits.short)
        self._records: OrderedDict[int, Record] = OrderedDict()
        self._open: OrderedDict[int, Record] = OrderedDict()
        self._named: dict[int, Record] = {}
        self._shown: dict[str, Record] = {}
        self._numbers = count(1)
        self._ended: list[Ended] = []
        self._look_at = 0.0

    @property
    def active(self) -> int:
        """How many sessions have not ended."""
        return len(self._open)

    def resolve(self, evidence: Evidence, writes: Sequence[Reply]) -> Resolution:
        """Take what became of earlier calls, then place this one."""
        if writes:
            self.write(writes)
        if self._clock() >= self._look_at:
            self._expire()
        match, score = self._match(evidence)
        if match is None:
            method: Method = "header" if evidence.name else "reset" if evidence.reset else "new"
            match = Match(self._begin(evidence), method)
        record = match.record
        is_new, resumed, history = record.calls == 0, record.ended, evidence.history
        self._touch(record)
        turn = self._turn(record, evidence, match)
        asked = record.asked and not match.repeats
        return Resolution(
            session_id=record.id,
            method=match.method,
            turn=(record.number, turn.number),
            is_new=is_new,
            resumed=resumed,
            score=score if match.score is None else match.score,
            known=match.known,
            retry_of=match.turn.exchange_id if match.repeats and match.turn else "",
            again=match.repeats or match.again,
            retold=tuple(filter(record.knows_result, history.result_ids)),
            tools=_answered(record, history.result_ids) if asked else (),
            ended=self._take_ended() if self._ended else (),
        )

    def write(self, replies: Sequence[Reply]) -> None:
        """Take what became of calls."""
        for reply in replies:
            record = self._records.get(reply.turn[0])
            if record is None:
                continue
            record.events += reply.events
            if record.running:
                record.running -= 1
            if reply.tools:
                record.ask(reply.tools)
            self._touch(record)
            for key in reply.links:
                self._name(record, key)
            for turn in reversed(record.turns):  # it is nearly always the newest
                if turn.number == reply.turn[1]:
                    self._note(turn, reply)
                    break

    def sweep(self) -> Sequence[Ended]:
        """Return the sessions that ended since the last time."""
        self._expire()
        return self._take_ended()

    async def close(self) -> Sequence[Ended]:
        """End all sessions."""
        for record in tuple(self._open.values()):
            self._end(record, "shutdown")
        return self._take_ended()

    # -- where a call belongs

    def _match(self, evidence: Evidence) -> tuple[Match | None, float | None]:
        """Return what decides, and the score of fuzzy matching where that was tried."""
        match = self._linked(evidence) or self._matcher.repeated(evidence)
        if match is not None or evidence.name or evidence.reset:
            return match, None
        match = self._matcher.continued(evidence)
        return (match, None) if match is not None else self._matcher.alike(evidence)

    def _linked(self, evidence: Evidence) -> Match | None:
        """Return what the client or the protocol names."""
        if evidence.name:
            record = self._named.get(evidence.name) or self._given_back(evidence)
            return None if record is None else self._within(record, evidence)
        for key in evidence.links:
            record = self._named.get(key)
            if record is not None:
                return self._follows(record, evidence)
        return None

    def _given_back(self, evidence: Evidence) -> Record | None:
        """Return the session whose id we made up, and which a client sends back to us."""
        record = self._shown.get(evidence.session_id)
        return record if record and record.workflow_id == evidence.workflow_id else None

    def _within(self, record: Record, evidence: Evidence) -> Match:
        """Find a call's place in a session that is known already."""
        for find in (self._matcher.repeated, self._matcher.continued):
            match = find(evidence)
            if match is not None and match.record is record:
                match.method = "header"
                return match
        return Match(record, "header", None, self._matcher.known_in(record, evidence))

    def _follows(self, record: Record, evidence: Evidence) -> Match:
        """Return the match of a protocol link, whose request carries only what is new."""
        chain = evidence.history.chain
        for turn in record.turns:
            if turn.state == "failed" and not turn.followed and chain[-1:] == (turn.request,):
                return Match(record, "link", turn, evidence.history.count, repeats=True)
        return Match(record, "link")

    # -- sessions and their turns

    def _begin(self, evidence: Evidence) -> Record:
        while len(self._records) >= self._limits.max_sessions:
            self._forget(next(iter(self._records.values())), "evicted")
        now = self._clock()
        record = Record(
            number=next(self._numbers),
            id=evidence.session_id or OWN + os.urandom(8).hex(),
            agent_id=evidence.agent_id,
            workflow_id=evidence.workflow_id,
            run=evidence.run,
            system=evidence.system,
            started_at=now,
            last_at=now,
        )
        self._records[record.number] = record
        if evidence.name:
            self._name(record, evidence.name)
        else:
            self._shown[record.id] = record
        return record

    def _turn(self, record: Record, evidence: Evidence, match: Match) -> Turn:
        history = evidence.history
        trail = history.trail(-1) if history.chain else NO_TRAIL
        if match.turn is not None:
            match.turn.followed = True
            trail = _kept(match.turn.reply_trail, trail)
        turn = Turn(
            record,
            record.calls,
            history.chain[-1] if history.chain else 0,
            evidence.system,
            evidence.model,
            evidence.exchange_id,
            request_trail=trail,
        )
        record.calls += 1
        record.running += 1
        record.turns.append(turn)
        for key in evidence.links:
            if key not in self._named:
                self._name(record, key)
        if history.chain and not evidence.links:  # else the request is not the whole conversation
            self._matcher.add(turn)
        record.learn(history.new_words(match.known))
        if len(record.turns) > FRESH:
            record.turns[-FRESH - 1].fade()
        if len(record.turns) > INDEXED:
            self._matcher.remove(record.turns.pop(0))
        return turn

    def _note(self, turn: Turn, reply: Reply) -> None:
        """Keep what became of a turn."""
        turn.state = reply.state
        turn.sketch, turn.distinctive = reply.sketch, reply.distinctive
        turn.ids, turn.shape = reply.ids, reply.shape
        turn.reply, turn.reply_trail = reply.key, _kept(turn.request_trail, reply.trail)
        self._matcher.add_reply(turn, reply.answer)
        if reply.answer:
            turn.session.learn((reply.answer,))

    def _name(self, record: Record, key: int) -> None:
        self._named[key] = record
        record.names.append(key)
        if len(record.names) > NAMES:
            self._unname(record, record.names.pop(1))  # the first may be what the client calls it

    def _unname(self, record: Record, key: int) -> None:
        if self._named.get(key) is record:
            del self._named[key]

    # -- time

    def _touch(self, record: Record) -> None:
        number = record.number
        record.last_at = record.touched_at = self._clock()
        record.ended = False
        self._records.move_to_end(number)
        self._open[number] = record
        self._open.move_to_end(number)

    def _expire(self) -> None:
        """Let go of what was quiet for too long; each session is looked at when its time comes."""
        now = self._clock()
        self._look_at = now + LOOK_SECONDS
        for record in self._quiet(self._open, now - self._limits.completion_timeout):
            self._end(record, "idle")
        for record in self._quiet(self._records, now - self._limits.ttl):
            self._forget(record, "expired")

    def _quiet(self, records: OrderedDict[int, Record], before: float) -> Iterator[Record]:
        """Yield those that were quiet since then. A call that still runs keeps its session."""
        while records:
            record = next(iter(records.values()))
            if record.touched_at > before:
                return
            if record.running:
                record.touched_at = self._clock()
                self._records.move_to_end(record.number)
                if record.number in self._open:
                    self._open.move_to_end(record.number)
            else:
                yield record

    def _end(self, record: Record, reason: Ending) -> None:
        del self._open[record.number]
        record.ended = True
        self._ended.append(
            Ended(
                record.id,
                record.agent_id,
                record.workflow_id,
                reason,
                record.started_at,
                record.last_at,
                record.events,
            )
        )

    def _forget(self, record: Record, reason: Ending) -> None:
        if record.number in self._open:
            self._end(record, reason)
        del self._records[record.number]
        if self._shown.get(record.id) is record:
            del self._shown[record.id]
        for key in record.names:
            self._unname(record, key)
        for turn in record.turns:
            self._matcher.remove(turn)
        record.turns.clear()  # they know their session, and would wait for the garbage collector

    def _take_ended(self) -> tuple[Ended, ...]:
        ended = tuple(self._ended)
        self._ended.clear()
        return ended


def _kept(known: Trail, trail: Trail) -> Trail:
    """Return what is known already where it is the same, so that it is kept once."""
    return known if known == trail else trail


def _answered(record: Record, result_ids: Sequence[str]) -> tuple[tuple[str, AskedTool], ...]:
    """Return the asked tools whose results a request brings, once each."""
    found = [(call_id, record.answer(call_id)) for call_id in result_ids]
    return tuple([(call_id, tool) for call_id, tool in found if tool is not None])
