"""
The conversation of a request as plain data, for a store in another process.

Most calls are placed by their last few turns and need little of it. So only the newest keys are
sent at first. Where a matcher asks for more, `NotGiven` is raised, before anything has changed,
and the call is placed anew with all that a matcher ever looks at.
"""

from __future__ import annotations

from functools import cached_property

import msgspec

from perimeter.sessions.fingerprints import Answer, History, Sketch, Trail
from perimeter.sessions.records import ASKED
from perimeter.sessions.snapshot import PlainTrail, to_bytes, to_text, trail_of


BRIEF = 4
"""So many changes of turn are sent at first."""
TRAILS = 2
"""So many trails: up to the last answer, and of all."""
SHORT = 1
"""Of a history with so few changes of turn all is sent at first."""
RESULTS = 4 * ASKED
"""So many ids of results are sent, the last ones; a session waits for fewer."""


class NotGiven(Exception):
    """More of a history is needed than was sent."""


class PlainAnswer(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An `Answer` and its place in the chain that was sent."""

    place: int
    digest: int
    sketch: Sketch
    distinctive: bool
    ids: tuple[int, ...]
    shape: int


class Wired(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What is sent of a history: the newest part of its chain, and of what belongs to it."""

    chain: tuple[int, ...]
    ends: tuple[int, ...]
    trails: tuple[PlainTrail, ...]
    """Of the newest of these; each has to be worked out."""
    count: int
    ends_with_model: bool
    cut: bool
    """Whether the chain has an older part."""
    known: int
    """After so many messages `new_words` begin, which is what a call usually adds."""
    new_words: tuple[int, ...]
    result_ids: tuple[bytes, ...]
    old_words: tuple[int, ...] | None = None
    """None where `answers` were left out too."""
    answers: tuple[PlainAnswer, ...] = ()
    digested: tuple[int, ...] = ()
    """Places of the answers that `digests` has."""


class PlainHistory:
    """
    Reads as a `History` does, as far as stores read it. Places count within what was sent.

    Attributes:
        wired: What was sent.
        chain: As in `History`, and so are the others.
        ends: See there.
        count: See there.
        ends_with_model: See there.
    """

    def __init__(self, wired: Wired) -> None:
        self.wired = wired
        self.chain = wired.chain
        self.ends = wired.ends
        self.count = wired.count
        self.ends_with_model = wired.ends_with_model

    def is_answer(self, place: int) -> bool:
        """Tell what `History` does; whoever asks for the oldest place needs what is before it."""
        wired = self.wired
        if wired.cut and not place and wired.old_words is None:
            raise NotGiven
        return (len(wired.chain) - 1 - place) % 2 == (0 if wired.ends_with_model else 1)

    def trail(self, place: int) -> Trail:
        """As in `History`."""
        trails = self.wired.trails
        after = (place - len(self.wired.chain)) if place >= 0 else place
        if after < -len(trails):
            raise NotGiven
        return trail_of(trails[after])

    def answer_before(self, place: int) -> Answer | None:
        """As in `History`."""
        return self._answers.get(place)

    @cached_property
    def digests(self) -> dict[int, int]:
        """As in `History`."""
        answers = self._answers
        return {place: answers[place].digest for place in self.wired.digested}

    @property
    def old_words(self) -> tuple[int, ...]:
        """As in `History`."""
        if self.wired.old_words is None:
            raise NotGiven
        return self.wired.old_words

    @property
    def result_ids(self) -> tuple[str, ...]:
        """As in `History`, but for very many."""
        ids = self.wired.result_ids
        return tuple(map(to_text, ids)) if ids else ()

    def new_words(self, known: int) -> tuple[int, ...]:
        """Return what `History` does in the usual case; else the client tells them later."""
        return self.wired.new_words if known == self.wired.known else ()

    @cached_property
    def _answers(self) -> dict[int, Answer]:
        if self.wired.old_words is None:
            raise NotGiven
        return {
            each.place: Answer(each.digest, each.sketch, each.distinctive, each.ids, each.shape)
            for each in self.wired.answers
        }


def usually_known(history: History) -> int:
    """Return how many messages of a request are known if its last turn follows a known one."""
    return history.ends[-2] if len(history.ends) > 1 else 0


def wire(history: History, *, whole: bool) -> Wired:
    """
    Return what is to be sent of a history.

    Args:
        history: The history.
        whole: Whether all that a matcher may look at is needed.
    """
    length = len(history.chain)
    whole = whole or length <= SHORT
    first = 0 if whole else max(0, length - BRIEF)
    known = usually_known(history)
    return Wired(
        history.chain[first:],
        history.ends[first:],
        _trails(history, 0 if whole else length - TRAILS),
        history.count,
        history.ends_with_model,
        first > 0,
        known,
        history.new_words(known),
        tuple([to_bytes(each) for each in history.result_ids[-RESULTS:]]),
        history.old_words if whole else None,
        _answers(history) if whole else (),
        tuple(history.digests) if whole else (),
    )


def _trails(history: History, first: int) -> tuple[PlainTrail, ...]:
    trails = map(history.trail, range(first, len(history.chain)))
    return tuple([(trail.ids, trail.shapes) for trail in trails])


def _answers(history: History) -> tuple[PlainAnswer, ...]:
    """Return the newest answers, those that are not too old to be compared."""
    answers = []
    for place in range(len(history.chain) - 1, -1, -1):
        if history.is_answer(place):
            said = history.answer_before(place)
            if said is None:
                break
            answers.append(_answer(place, said))
    return tuple(answers)


def _answer(place: int, said: Answer) -> PlainAnswer:
    return PlainAnswer(place, said.digest, said.sketch, said.distinctive, said.ids, said.shape)
