"""Untrusted values become safe text, numbers readable ones."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_printer.text import (
    body_text,
    escape,
    human_seconds,
    human_size,
    quote,
    value_text,
)


ANY_TEXT = st.text(st.characters(), max_size=200)


@given(ANY_TEXT)
def test_escaped_text_has_no_control_characters(text: str) -> None:
    """Nothing that steers a terminal, breaks a line or reverses the direction gets through."""
    harmless = {"\u200c", "\u200d", "\u3000"}
    for character in set(escape(text)) - harmless:
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    escape(text).encode("utf-8")


@pytest.mark.parametrize(
    "text", ["plain", "日本語 テキスト", "نمی\u200cشود", "👩\u200d💻", "naïve", "a\u3000b"]
)
def test_ordinary_text_of_any_language_stays(text: str) -> None:
    """Letters, wide characters and joined emoji are not escaped."""
    assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("word", "word"),
        ("/v1/a?b=c", "/v1/a?b=c"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b', r'"a\"b"'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[31m", r'"\u001b[31m"'),
        ("\x9b31m\u202e", r'"\x9b31m\u202e"'),
    ],
)
def test_quoting(text: str, quoted: str) -> None:
    """A value is one word, or a JSON string on one line."""
    assert quote(text) == quoted


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=50))
def test_quoted_printable_text_can_be_read_back(text: str) -> None:
    """A value reads back from its quoted form."""
    quoted = quote(text)
    assert (json.loads(quoted) if quoted.startswith('"') else quoted) == text


def test_bodies_are_cut_with_an_ellipsis() -> None:
    """A body longer than the limit says that something is missing; a fitting one does not."""
    assert body_text("äöü".encode(), 3) == "äöü"
    assert body_text("äöüß".encode(), 3) == "äöü…"
    assert body_text("日本".encode() * 100_000, 2) == "日本…"


def test_what_is_not_text_is_only_measured() -> None:
    """Binary bodies are not shown."""
    assert body_text(b"\x89PNG\xff" + bytes(1200), 100) == "<1.2 kB that are not text>"


@given(st.binary(max_size=100), st.integers(0, 50))
def test_any_body_has_a_text(body: bytes, limit: int) -> None:
    """No body makes it fail."""
    assert isinstance(body_text(body, limit), str)


def test_values_are_json_or_as_they_are() -> None:
    """Strings stand for themselves, everything else is written as JSON, whatever is in it."""
    assert value_text("a b", 10) == "a b"
    assert value_text({"ö": [1, None]}, 20) == '{"ö": [1, null]}'
    assert value_text({"a": {1}}, 20) == '{"a": "{1}"}'
    assert value_text(list(range(10**6)), 7) == "[0, 1, …"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9950, "10 kB"),
        (33_400, "33 kB"),
        (999_499, "999 kB"),
        (999_600, "1.0 MB"),
        (5_600_000, "5.6 MB"),
        (10**13, "10000 GB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """Sizes are short, in decimal units."""
    assert human_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0.4 ms"),
        (0.00996, "10 ms"),
        (0.832, "832 ms"),
        (0.9996, "1.00 s"),
        (3.2149, "3.21 s"),
        (59.996, "1 min 00 s"),
        (125.2, "2 min 05 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Durations are short, without gaps between their units."""
    assert human_seconds(seconds) == text
