"""What the rules of redaction have in common."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol


HOLD = 512
"""Characters that an unfinished secret can have before it is recognised, at most."""

BOUNDARY = (
    r"(?:(?<![A-Za-z0-9])"
    # ... or what JSON or a URL has escaped stands in front: \n, \u000a, %20.
    r"|(?<=\\[bfnrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2}))"
)
"""What stands in front of a key: no letter and no digit, as there is one in "risk-"."""


class Found(NamedTuple):
    """
    A secret, as far as a rule's pattern goes.

    Attributes:
        begin: Where that begins which tells that it is one.
        start: Where the part begins that is masked.
        end: Where it ends, as far as it was looked at.
        more: Matches, from there, what else belongs to it, possibly nothing. A secret that reaches
            the end of a text goes on in the next one with this.
    """

    begin: int
    start: int
    end: int
    more: re.Pattern[str]


class Rule(Protocol):
    """
    One way to recognise secrets.

    Nothing right of what a rule has found may change that it is a secret: texts come in pieces.
    """

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """
        Yield what begins in a part of a text.

        Args:
            text: The whole text; what stands left of `start` is only context.
            start: Where to begin.
            end: Where the text ends, for now.
        """

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be a secret's beginning; `end` if it can't."""


NOTHING = re.compile("")
"""Nothing else belongs to it."""


def run_start(text: str, start: int, end: int, characters: str) -> int:
    """Return where the run of `characters` begins that ends the part."""
    return start + len(text[start:end].rstrip(characters))


def beginning_of(word: str, text: str) -> int:
    """Return how long the longest part of a word's beginning is that the text ends with."""
    for length in range(min(len(word) - 1, len(text)), 0, -1):
        if text.endswith(word[:length]):
            return length
    return 0
