"""Finding secrets in texts of any length, and in texts that come in pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from perimeter.redaction import named, places, prefixes
from perimeter.redaction.found import HOLD, NOTHING, Found, Rule


SLICE = 64 * 1024
"""Characters that patterns see at one time, at most."""

Span = tuple[int, int]

_QUIET = {"}", "]", "\n", ""}

CONTEXT = 64
"""Characters before a piece that rules may look at."""

_PREFIXED = prefixes.rule()
_RULES: tuple[Rule, ...] = (_PREFIXED, named.Named(), *places.rules())

_WORDS = places.WORDS
_SEARCHES = tuple(
    pattern.search
    for pattern in (*(gate.pattern for gate in _PREFIXED.gates), *named.GATES, places.PASSWORD)
)


def _suspicious(text: str, start: int, end: int) -> bool:
    """Whether it is worthwhile to look closely: far from every text has anything like a secret."""
    for word in _WORDS:
        if text.find(word, start, end) >= 0:
            return True
    for search in _SEARCHES:  # noqa: SIM110 - a generator costs more than short texts do
        if search(text, start, end):
            return True
    return False


@attrs.define
class Scan:
    """
    What was found in a part of a text.

    Attributes:
        spans: What to mask, in any order; they may overlap.
        open: What goes on after the part, if it does: patterns of the rest.
        begins: Where those of them begin that were found in the part.
        extents: The last secret of each kind, by the pattern that it was followed with.
        reach: Where the last of them ends.
        safe: Up to where the part is done with. Behind that may be the beginning of a secret,
            at most `HOLD` characters of it.
    """

    spans: list[Span] = attrs.field(factory=list)
    open: list[re.Pattern[str]] = attrs.field(factory=list)
    begins: list[int] = attrs.field(factory=list)
    reach: int = 0
    extents: dict[re.Pattern[str], Span] = attrs.field(factory=dict)
    safe: int = 0


def scan(
    text: str, start: int, end: int, unclosed: Iterable[re.Pattern[str]] = (), *, last: bool = True
) -> Scan:
    """
    Look for secrets in a part of a text.

    Args:
        text: The text.
        start: Where the part begins; what is left of it is context.
        end: Where it ends, at most `SLICE` further on.
        unclosed: What went on after the part before.
        last: Whether nothing comes after the part.
    """
    result = Scan(safe=end)
    for more in unclosed:
        _extend(result, text, start, end, Found(start, start, start, more))
    for rule in _RULES if _suspicious(text, start, end) else ():
        for found in rule.find(text, start, end):
            if _extend(result, text, start, end, found):
                result.begins.append(found.begin)
    if not last and (result.open or not _ends_harmlessly(text, start, end)):
        low = max(start, result.reach)
        result.safe = min([result.safe, *(rule.unfinished(text, low, end) for rule in _RULES)])
    return result


def _extend(result: Scan, text: str, low: int, end: int, found: Found) -> bool:
    """Note a secret with what more belongs to it; say whether it may go on after the part."""
    begin, over = result.extents.get(found.more, (0, -1))
    if begin <= found.start and found.end <= over:
        return False  # it is inside of one that has been followed to its end already
    match = found.more.match(text, found.end, end)
    start, stop = max(low, found.start), found.end if match is None else match.end()
    result.reach = max(result.reach, stop)
    result.extents[found.more] = (start, stop)
    if stop > start:
        result.spans.append((start, stop))
    goes_on = found.more is not NOTHING and stop == end
    if found.more is not NOTHING and 0 < end - stop <= 8 and not text[stop:end].strip("\\"):
        # Half of an escape sequence: what it is shows in the next part.
        goes_on = True
        result.safe = min(result.safe, stop)
    if goes_on:
        result.open.append(found.more)
    return goes_on


def _ends_harmlessly(text: str, start: int, end: int) -> bool:
    """Whether a part ends like most messages do, with nothing that could go on."""
    if text[end - 1 : end] not in _QUIET:
        return False
    tail = text[max(start, end - 480) : end]
    return places.BEGIN not in tail and "earer" not in tail and "asic" not in tail


def joined(spans: Iterable[Span]) -> list[Span]:
    """Put spans in order, and those together that overlap."""
    result: list[Span] = []
    for start, stop in sorted(spans):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return result


def find(text: str) -> list[Span]:
    """Return where the secrets of a whole text are, in order, without those masked already."""
    spans: list[Span] = []
    unclosed: list[re.Pattern[str]] = []
    start = 0
    while start < len(text):
        end = min(start + SLICE, len(text))
        part = scan(text, start, end, unclosed, last=end == len(text))
        spans += part.spans
        unclosed = part.open
        start = part.safe
    return [span for span in joined(spans) if text.count("*", *span) < span[1] - span[0]]


def masked(text: str, spans: Iterable[Span]) -> str:
    """Return the text with a `*` for each character of the spans, which are in order."""
    parts: list[str] = []
    done = 0
    for start, stop in spans:
        parts += text[done:start], "*" * (stop - start)
        done = stop
    return "".join([*parts, text[done:]])


def unfinished(text: str) -> int:
    """Return how many of the last characters may belong to a secret that goes on, up to 512."""
    start = max(0, len(text) - SLICE)
    part = scan(text, start, len(text), last=False)
    begin = min([part.safe, *part.begins])
    return min(len(text) - begin, HOLD)
