"""Which words of two texts differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

import msgspec


_MOST = 3000
"""Words that are compared one by one; longer texts are compared by lines."""


class Span(msgspec.Struct, frozen=True):
    """A stretch of text: `same`, `gone` (only in the first) or `new` (only in the second)."""

    kind: str
    text: str


def differences(first: str, second: str) -> list[Span]:
    """Return how to get from a text to another."""
    was, now = _words(first), _words(second)
    if max(len(was), len(now)) > _MOST:
        was, now = first.splitlines(keepends=True), second.splitlines(keepends=True)
    if max(len(was), len(now)) > _MOST:
        return [Span("gone", first), Span("new", second)]
    spans: list[Span] = []
    for tag, i, j, k, m in SequenceMatcher(None, was, now).get_opcodes():
        if tag == "equal":
            spans.append(Span("same", "".join(was[i:j])))
            continue
        if i < j:
            spans.append(Span("gone", "".join(was[i:j])))
        if k < m:
            spans.append(Span("new", "".join(now[k:m])))
    return spans


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)
