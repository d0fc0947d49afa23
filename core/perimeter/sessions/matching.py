"""Which of the known turns a conversation goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from perimeter.sessions.evidence import Evidence, Method
from perimeter.sessions.fingerprints import Answer, Trail
from perimeter.sessions.records import Index, Record, Turn


@attrs.define(eq=False)
class Match:
    """
    What a conversation goes on from.

    Attributes:
        record: The session.
        method: What decided.
        turn: The turn that it follows or repeats, None where only the session is known.
        known: How many messages were known.
        repeats: Whether it is the same call once more, because that failed.
        again: Whether the very same was asked before, whatever became of it.
        score: How alike, where they were compared.
    """

    record: Record
    method: Method
    turn: Turn | None = None
    known: int = 0
    repeats: bool = False
    again: bool = False
    score: float | None = None


@attrs.define(eq=False)
class Matcher:
    """
    Finds turns and sessions again.

    Attributes:
        fuzzy_threshold: So much of a history must be known for a session to be the one.
        short: Of histories of at most so many messages all must be known.
        requests: Turns by the chain up to their request.
        replies: Turns by the chain up to their reply.
        answers: Sessions by replies that are hardly given twice.
    """

    fuzzy_threshold: float
    short: int
    requests: Index[Turn] = attrs.field(factory=lambda: Index[Turn](64))
    replies: Index[Turn] = attrs.field(factory=lambda: Index[Turn](64))
    answers: Index[Record] = attrs.field(factory=lambda: Index[Record](8))

    def add(self, turn: Turn) -> None:
        """Make a turn known by its request."""
        self.requests.add(turn.request, turn)

    def add_reply(self, turn: Turn, answer: int) -> None:
        """Make a turn known by its reply too."""
        if turn.reply:
            self.replies.add(turn.reply, turn)
        if answer and turn.distinctive:
            turn.answer = answer
            self.answers.add(answer, turn.session)

    def remove(self, turn: Turn) -> None:
        """Forget a turn."""
        self.requests.remove(turn.request, turn)
        if turn.reply:
            self.replies.remove(turn.reply, turn)
        if turn.answer:
            self.answers.remove(turn.answer, turn.session)

    def repeated(self, evidence: Evidence) -> Match | None:
        """Return the failed call that a request repeats, or that its client says it does."""
        history = evidence.history
        if not history.chain:
            return None
        known = self.requests.get(history.chain[-1])
        if not known:
            return None
        trail = history.trail(-1)
        same = [
            turn
            for turn in reversed(known)
            if turn.system == evidence.system and turn.request_trail == trail
            if not turn.followed and _may_share(turn.session, evidence)
        ]
        for turn in same:
            if turn.state == "failed":
                return Match(turn.session, "prefix", turn, history.count, repeats=True)
        if same and evidence.retry:
            return Match(same[0].session, "prefix", same[0], history.count, repeats=True)
        return None

    def continued(self, evidence: Evidence) -> Match | None:
        """Return the turn that a history's longest known part ends with."""
        history = evidence.history
        for place in range(len(history.chain) - 1, -1, -1):
            if history.is_answer(place):
                turn = self._before(place, evidence)
                if turn is not None:
                    exact = turn.reply == history.chain[place]
                    method: Method = "fingerprint" if exact else "prefix"
                    if not exact and self._is_anothers(turn.session, place, evidence):
                        continue
                    again = self._is_asked_again(turn.session, evidence)
                    known = history.count if again else history.ends[place]
                    return Match(turn.session, method, turn, known, again=again)
        return None

    def _is_asked_again(self, record: Record, evidence: Evidence) -> bool:
        """Whether the very same was asked in a session before, as for another answer."""
        history = evidence.history
        known = self.requests.get(history.chain[-1])
        return bool(known) and any(
            turn.session is record and turn.request_trail == history.trail(-1) for turn in known
        )

    def _before(self, place: int, evidence: Evidence) -> Turn | None:
        """
        Return the turn whose reply is the answer at a place of the chain.

        Of several the one with the same ids of tool calls is the best; then one with exactly this
        reply, then one of the same agent, then one that no call follows yet, then one of the same
        model, and of these the newest.
        """
        history = evidence.history
        exact = self.replies.get(history.chain[place])
        near = self.requests.get(history.chain[place - 1]) if place else ()
        if not exact and not near:
            return None
        if _is_plain(near, exact) and _is_same(exact[0], evidence, history.trail(place)):
            return exact[0]  # the usual case, for which nothing more has to be worked out
        answer, trail = history.answer_before(place), history.trail(place)
        best, best_rank = None, (False,) * 5
        for turn in (*near, *exact):
            is_exact = turn.reply == history.chain[place]
            same_ids = answer is not None and not set(turn.ids).isdisjoint(answer.ids)
            if not (same_ids or _fits(turn, evidence, answer, trail, is_exact)):
                continue
            if not _may_share(turn.session, evidence):
                continue
            same_agent, same_model = turn.system == evidence.system, turn.model == evidence.model
            rank = (same_ids, is_exact, same_agent, not turn.followed, same_model)
            if best is None or rank >= best_rank:
                best, best_rank = turn, rank
        return best

    def _is_anothers(self, record: Record, place: int, evidence: Evidence) -> bool:
        """Whether an answer, there or later, was given word for word by others and not by this."""
        for later, digest in evidence.history.digests.items():
            owners = self.answers.get(digest) if later >= place else []
            known = [owner for owner in owners if _may_share(owner, evidence)]
            if known and record not in known:
                return True
        return False

    def alike(self, evidence: Evidence) -> tuple[Match | None, float | None]:
        """
        Compare a history with those of the sessions that gave one of its answers.

        Returns:
            The session, if one is alike enough, and the best score; None where none was compared.
        """
        history = evidence.history
        said = {*history.old_words, *history.digests.values()}
        least = 1.0 if history.count <= self.short or len(said) < 2 else self.fuzzy_threshold
        best, best_score = None, None
        for record in self._candidates(history.digests.values(), evidence):
            score = len(said.intersection(record.words)) / len(said)
            if best_score is None or score > best_score:
                best, best_score = record, score
        if best is None or best_score is None or best_score < least:
            return None, best_score
        turn = best.turns[-1] if best.turns else None
        known = self.known_in(best, evidence)
        return Match(best, "fuzzy", turn, known, score=best_score), best_score

    def known_in(self, record: Record, evidence: Evidence) -> int:
        """Return how many messages of a request a session knows: to its newest known answer."""
        history = evidence.history
        words = frozenset(record.words)
        for place, digest in history.digests.items():  # the newest first
            if digest in words:
                return history.ends[place]
        return 0

    def _candidates(self, digests: Iterable[int], evidence: Evidence) -> Iterator[Record]:
        seen: set[int] = set()
        for digest in digests:
            for record in reversed(self.answers.get(digest)):
                comparable = bool(record.system) == bool(evidence.system)
                if record.number not in seen and comparable and _may_share(record, evidence):
                    seen.add(record.number)
                    yield record


def _may_share(record: Record, evidence: Evidence) -> bool:
    """Whether a session may be the one: those of another execution may not."""
    return not (record.run and evidence.run) or record.run == evidence.run


def _is_plain(near: Sequence[Turn], exact: Sequence[Turn]) -> bool:
    """Whether only one turn is in question."""
    return len(exact) == 1 and (not near or (len(near) == 1 and near[0] is exact[0]))


def _is_same(turn: Turn, evidence: Evidence, trail: Trail) -> bool:
    """Whether all about a turn is as it is in a history."""
    same = turn.system == evidence.system and turn.reply_trail == trail
    return same and _may_share(turn.session, evidence)


def _fits(
    turn: Turn, evidence: Evidence, answer: Answer | None, trail: Trail, is_exact: bool
) -> bool:
    """Whether a turn's reply can be an answer in a history, without ids that prove it."""
    if turn.reply_trail.contradicts(trail):
        return False
    if answer is not None and turn.shape and turn.shape == answer.shape:
        return False  # ids of the same kind, and none of them the same
    proven = trail.ids and turn.reply_trail.ids == trail.ids
    if turn.system != evidence.system and not proven and not _distinctive(turn, evidence):
        return False
    if is_exact or turn.state == "unknown":
        return True
    if turn.state != "answered" or answer is None:
        return False
    head, tail, calls = [
        ours == theirs and ours != 0
        for ours, theirs in zip(turn.sketch, answer.sketch, strict=True)
    ]
    return head or tail or (calls and not (turn.ids and answer.ids))


def _distinctive(turn: Turn, evidence: Evidence) -> bool:
    """
    Whether what was said is enough of a proof without the system prompt's help.

    Two agents may be asked the same and both say "4"; and examples of documentations are in many a
    history, with and without a system prompt.
    """
    comparable = bool(turn.system) == bool(evidence.system)
    return (comparable and turn.distinctive) or turn.number > 0
