"""
Words that a detector found, marked in the text that they stand in.

A text is known by its digest, so that a mark never lands in another one, wherever the text is shown
and however often. Offsets are in code points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable
from itertools import groupby
from typing import Literal

import attrs
import msgspec

from perimeter.findings import digest


Place = Literal["", "marked", "covered", "moved"]
"""What became of a finding's words: marked, in another one's mark or beyond what is shown, gone."""
HIDDEN = "\N{BULLET}" * 3
"""Stands for personal data that nobody has asked to see."""


class Mark(msgspec.Struct, frozen=True):
    """
    A part of a text in which something was found.

    Attributes:
        finding: The finding's id.
        number: The finding's number in its session.
        title: What was found.
        sev: How bad it is.
        kind: What kind of personal data it is; "" where it is none.
        start: Where it begins, in code points.
        end: Where it ends.
    """

    finding: int
    number: int
    title: str
    sev: int
    kind: str
    start: int
    end: int

    def fits(self, text: str) -> bool:
        """Whether it is a part of a text."""
        return 0 <= self.start < self.end <= len(text)


class Run(msgspec.Struct, frozen=True):
    """
    A piece of a text.

    Attributes:
        text: Its words; of personal data only what tells its kind.
        mark: What was found there, None for nothing.
        first: Whether it is the first piece of its finding: another mark can cut one in two, and a
            text can be said twice.
    """

    text: str
    mark: Mark | None = None
    first: bool = False


def runs(
    text: str, marks: Iterable[Mark], *, reveal: Container[int] = (), seen: Iterable[int] = ()
) -> list[Run]:
    """
    Cut a text into plain and marked pieces.

    Args:
        text: The text, or its beginning.
        marks: What is beyond the end of the text is left out. Words that two of them cover are the
            one's that is about personal data, so that no other one shows them; then the one's that
            begins first, and of two that begin together the longer one's.
        reveal: Findings whose personal data is shown.
        seen: Findings that had a piece before, in another text.
    """
    owners: list[Mark | None] = [None] * len(text)
    for mark in sorted(marks, key=_rank, reverse=True):
        start, end = max(mark.start, 0), min(mark.end, len(text))
        if start < end:
            owners[start:end] = [mark] * (end - start)
    found: list[Run] = []
    known = set(seen)
    at = 0
    for owner, group in groupby(owners):
        start, at = at, at + len(list(group))
        found.append(_run(text[start:at], owner, reveal, known))
    return found or [Run(text)]


def _rank(mark: Mark) -> tuple[bool, int, int]:
    return not mark.kind, mark.start, -mark.end


def _run(words: str, owner: Mark | None, reveal: Container[int], seen: set[int]) -> Run:
    if owner is None:
        return Run(words)
    first = owner.finding not in seen
    seen.add(owner.finding)
    hides = owner.kind and owner.finding not in reveal
    return Run(hidden(words) if hides else words, owner, first)


def hidden(words: str) -> str:
    """Return what is shown of personal data: `a•••@example.com`, or only the first letter."""
    name, at, host = words.partition("@")
    if at and name and "." in host and not any(each.isspace() for each in words):
        return f"{name[0]}{HIDDEN}@{host}"
    return f"{words[:1]}{HIDDEN}"


@attrs.define
class Marks:
    """
    The marks of a page, by the texts that they belong in.

    Attributes:
        met: Findings whose text is on the page.
        shown: Those of them that have a mark there; another one's may have taken all its words.
    """

    met: set[int] = attrs.field(factory=set)
    shown: set[int] = attrs.field(factory=set)
    _by_text: defaultdict[str, list[Mark]] = attrs.field(factory=lambda: defaultdict(list))

    def add(self, text_sha: str, mark: Mark) -> None:
        """Look for a text from now on."""
        self._by_text[text_sha].append(mark)

    def of(self, text: str) -> list[Mark]:
        """Return the marks in a text, if it is one of those that are looked for."""
        if not self._by_text:
            return []
        return [mark for mark in self._by_text.get(digest(text), ()) if mark.fits(text)]

    def cut(self, text: str, marks: Iterable[Mark]) -> list[Run]:
        """Return the pieces of a text that the page shows, or of its beginning."""
        found = runs(text, marks, seen=self.shown)
        self.met.update(mark.finding for mark in marks)
        self.shown.update(run.mark.finding for run in found if run.mark)
        return found

    def place(self, finding: int) -> Place:
        """Return what became of the words of a finding."""
        if finding in self.shown:
            return "marked"
        return "covered" if finding in self.met else "moved"

    def hide(self, text: str) -> str:
        """Return a text without the personal data in it."""
        marks = self.of(text)
        return "".join(run.text for run in runs(text, marks)) if marks else text
