"""The sessions of a playback: those that were found when it happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import attrs

from perimeter.playback.recorded import RecordedSession
from perimeter.sessions.evidence import Ending, Evidence, Method, Reply, Resolution
from perimeter.sessions.matching import Match
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.sessions.records import Record


Key = tuple[str, str | None]
"""A session's id and its workflow."""


@attrs.frozen
class _Expected:
    session: RecordedSession
    named: bool


class PlayedSessions(MemoryStore):
    """
    Places calls where they were placed; those that nothing is known of as it would any other.

    The evidence is looked at all the same: it tells which turn of the session a call goes on from,
    and so what is new in it. Where it leads to another session than the recorded one, it is only
    looked at within the recorded one.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(limits, clock)
        self._expected: dict[str, _Expected] = {}
        self._wanted: RecordedSession | None = None
        self._places: dict[Key, Record] = {}

    def expect(self, exchange_id: str, session: RecordedSession, *, named: bool) -> None:
        """
        Announce where an exchange belongs.

        Args:
            exchange_id: The exchange.
            session: Its session.
            named: Whether the client itself had named it; else that name is not evidence.
        """
        self._expected[exchange_id] = _Expected(session, named)

    def over(self, exchange_id: str) -> None:
        """Forget what was announced of an exchange that never asked."""
        self._expected.pop(exchange_id, None)

    def resolve(self, evidence: Evidence, writes: Sequence[Reply]) -> Resolution:
        """Place a call."""
        expected = self._expected.pop(evidence.exchange_id, None)
        if expected is None:
            return super().resolve(evidence, writes)
        if not expected.named:
            evidence.name, evidence.session_id = 0, ""
        session = self._wanted = expected.session
        try:
            resolution = super().resolve(evidence, writes)
        finally:
            self._wanted = None
        if session.match:
            resolution.method = cast("Method", session.match)
            resolution.score = session.score
        return resolution

    def _match(self, evidence: Evidence) -> tuple[Match | None, float | None]:
        if self._wanted is None:
            return super()._match(evidence)
        record = self._places.get((self._wanted.id, evidence.workflow_id))
        if record is None:
            return None, None
        match, score = super()._match(evidence)
        if match is None or match.record is not record:
            match = self._within(record, evidence)
        return match, score

    def _begin(self, evidence: Evidence) -> Record:
        if self._wanted is None:
            return super()._begin(evidence)
        record = super()._begin(attrs.evolve(evidence, session_id=self._wanted.id))
        self._places[record.id, record.workflow_id] = record
        return record

    def _forget(self, record: Record, reason: Ending) -> None:
        super()._forget(record, reason)
        key = (record.id, record.workflow_id)
        if self._places.get(key) is record:
            del self._places[key]
