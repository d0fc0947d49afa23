"""How well requests were put together: precision and recall over pairs of requests."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence

import attrs


@attrs.frozen
class Score:
    """
    Pairs of requests.

    Attributes:
        right: Of one conversation, and found to be.
        joined: Of two conversations, and taken for one.
        split: Of one conversation, and taken for two.
    """

    right: int = 0
    joined: int = 0
    split: int = 0

    @property
    def precision(self) -> float:
        """How many of the pairs that were put together belong together."""
        return self.right / (self.right + self.joined) if self.right + self.joined else 1.0

    @property
    def recall(self) -> float:
        """How many of the pairs that belong together were put together."""
        return self.right / (self.right + self.split) if self.right + self.split else 1.0

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def score(truth: Sequence[Hashable], found: Sequence[Hashable]) -> Score:
    """
    Compare sessions with the truth.

    Args:
        truth: The conversation of each request.
        found: The session of each request.
    """
    right = _pairs(Counter(zip(truth, found, strict=True)))
    return Score(right, _pairs(Counter(found)) - right, _pairs(Counter(truth)) - right)


def _pairs(groups: Counter[Hashable]) -> int:
    return sum(size * (size - 1) // 2 for size in groups.values())


@attrs.frozen
class Mistake:
    """
    A request that was put in the wrong place.

    Attributes:
        kind: `split`: its conversation was elsewhere before; `joined`: its session was another's.
        play: The request.
        other: The request before it, of its conversation or of its session.
        pairs: How many pairs are wrong between the two groups.
    """

    kind: str
    play: int
    other: int
    pairs: int


def mistakes(truth: Sequence[Hashable], found: Sequence[Hashable]) -> list[Mistake]:
    """Return the places where groups fell apart or ran together, those that cost most first."""
    cells = Counter(zip(truth, found, strict=True))
    wrong = [
        *_mistakes("split", truth, found, cells),
        *_mistakes("joined", found, truth, Counter((b, a) for a, b in cells.elements())),
    ]
    return sorted(wrong, key=lambda each: (-each.pairs, each.play))


def _mistakes(
    kind: str,
    groups: Sequence[Hashable],
    parts: Sequence[Hashable],
    cells: Counter[tuple[Hashable, Hashable]],
) -> Iterator[Mistake]:
    """Yield where a second, third … part of a group begins."""
    before: dict[Hashable, dict[Hashable, int]] = defaultdict(dict)
    last: dict[Hashable, int] = {}
    for play, (group, part) in enumerate(zip(groups, parts, strict=True)):
        if part not in before[group]:
            if before[group]:
                size = cells[group, part]
                pairs = sum(cells[group, each] * size for each in before[group])
                yield Mistake(kind, play, last[group], pairs)
            before[group][part] = play
        last[group] = play
