"""Texts that are made to keep a search busy."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from perimeter import redaction
from perimeter.redaction import named, places, prefixes, scanning


PEM = "-----BEGIN PRIVATE" + " KEY-----"
WORDS = r"""
_ - . " \ & = : sk- sk-a a- eyJ eyJ- eyJaaaaaaaaaaaaaaaaa. AKIA AIza- SG.a SK0 basic earer ?key
?key= &key=a :// ://a: ://a:b api_key= api_key": key: key= _KEY= _KEY=a token=a1 \" \\\" \u0026 %20
aaaaaaaaaaaaaaaaa- sk-aaa-bbb_ccc- "api_key":" {"password":" 'secret':' \"password\":
"""
HOSTILE = [
    *WORDS.split(),
    *("bearer ", "Bearer a1", "Basic ", "Basic AAAA", " sk-aaa-bbb-ccc-ddd-"),
    *("-----BEGIN ", PEM, PEM + "\\n"),
]
PIECE = 1000


def work(text: str) -> int:
    """Return how many functions are called, those written in C too, to mask a text and a stream."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    body = text.encode()
    stream = redaction.Stream()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        redaction.text(text)
        for place in range(0, len(body), PIECE):
            stream.feed(body[place : place + PIECE])
        stream.flush()
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_with_the_length_only(piece):
    """Four times the text is four times the calls of patterns, and not many for a character."""
    short, long = (work((piece * 40_000)[:length]) for length in (10_000, 40_000))

    assert long <= 5 * short + 1_000
    assert long <= 40 * 40_000


def patterns() -> dict[str, re.Pattern[str]]:
    """Return every pattern of the rules by its source."""
    found: list[re.Pattern[str]] = [
        value
        for module in (named, places, prefixes)
        for value in vars(module).values()
        if isinstance(value, re.Pattern)
    ]
    found += [*named.GATES, *named._MEMBERS.values()]
    for scheme in (places.BEARER, places.BASIC):
        found += [scheme.credentials, scheme.more]
    rule = prefixes.rule()
    found.append(rule.begun)
    for gate in rule.gates:
        found.append(gate.pattern)
        found += [pattern for prefix, _ in gate.keys for pattern in prefixes.patterns(prefix)]
    return {pattern.pattern: pattern for pattern in found}


def repeats(source: str) -> list[str]:
    """Return the repeats in a pattern, as they are written."""
    bare = re.sub(r"\\.", "x", source)
    bare = re.sub(r"\[\^?\]?[^]]*\]", "x", bare)
    return re.findall(r"(?:(?<!\()[*+]|\{\d*,?\d*\})[+?]?", bare)


@pytest.mark.parametrize("source", patterns())
def test_no_pattern_can_go_back_without_end(source):
    """A pattern repeats either a bounded number of times, or without ever going back."""
    for repeat in repeats(source):
        bounded = re.fullmatch(r"\{(\d+,)?(\d+)\}\+?", repeat)
        assert repeat in {"*+", "++"} or (bounded and int(bounded[2]) <= redaction.HOLD), repeat


@pytest.mark.parametrize("piece", HOSTILE)
def test_patterns_see_slices_only(piece, monkeypatch):
    """No rule is given more than a slice, however long the text is."""
    sizes = []
    look = scanning.scan

    def noted(text: str, start: int, end: int, *args: Any, **kwargs: Any) -> Any:
        sizes.append(end - start)
        return look(text, start, end, *args, **kwargs)

    monkeypatch.setattr(scanning, "scan", noted)
    text = (piece * 200_000)[: 3 * scanning.SLICE]
    masked = redaction.text(text)

    assert len(masked) == len(text)
    assert max(sizes) <= scanning.SLICE
    assert sum(sizes) <= len(text) + len(sizes) * redaction.HOLD
