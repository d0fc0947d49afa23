"""Histograms, words for the index, bodies in pieces, shortened JSON."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter_plugin_live_trace.store import bodies
from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.search import index_words, match_query
from perimeter_plugin_live_trace.store.shortening import shortened


DURATIONS = st.lists(st.integers(0, 10**13), min_size=1, max_size=60)


def histogram(durations: list[int]) -> Histogram:
    made = Histogram()
    for us in durations:
        made.add(us)
    return made


@settings(max_examples=50)
@given(DURATIONS, st.floats(0, 1))
def test_quantiles_are_nearly_exact(durations: list[int], share: float) -> None:
    """A quantile is within 6.3 % of the duration at that place."""
    found = histogram(durations).quantile(share)
    ordered = sorted(durations)
    place = next(n for n in range(len(ordered)) if n + 1 >= share * len(ordered))
    assert found == pytest.approx(ordered[place], rel=0.063)


@settings(max_examples=50)
@given(DURATIONS, DURATIONS)
def test_histograms_merge_without_loss(one: list[int], other: list[int]) -> None:
    """Two histograms, written, read and merged, are that of all durations."""
    merged = Histogram.from_bytes(histogram(one).to_bytes())
    merged.merge(Histogram.from_bytes(histogram(other).to_bytes()))
    assert merged == histogram(one + other)
    assert len(merged) == len(one) + len(other)


def test_an_empty_histogram_has_no_quantile() -> None:
    """Nothing was counted, so there is nothing to say."""
    assert Histogram().quantile(0.5) is None
    assert Histogram.from_bytes(b"").quantile(0.5) is None


@settings(max_examples=50)
@given(st.binary(max_size=40))
def test_garbage_is_some_histogram(data: bytes) -> None:
    """Bytes from a broken database never raise."""
    Histogram.from_bytes(data).quantile(0.95)


@pytest.fixture(scope="module")
def index() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIRTUAL TABLE fts USING fts5(words, tokenize='unicode61 remove_diacritics 2')"
    )
    for row, text in enumerate(
        ("The quick brown fox", "東京の天気を教えて", "Größe: straße café", "ภาษาไทยไม่มีช่องว่าง")
    ):
        connection.execute("INSERT INTO fts (rowid, words) VALUES (?, ?)", (row, index_words(text)))
    return connection


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("quick", [0]),
        ("QUICK fox", [0]),
        ("fox quick", [0]),
        ('"fox quick"', []),
        ('"brown fox"', [0]),
        ("qui*", [0]),
        ("qui", []),
        ("天気", [1]),
        ("気天", []),
        ("東京 天気", [1]),
        ("cafe", [2]),
        ("Grosse", []),
        ("große", [2]),
        ("größe", [2]),
        ("ไทย", [3]),
    ],
)
def test_queries_find(index: sqlite3.Connection, query: str, rows: list[int]) -> None:
    """All words are looked for, phrases in order, without accents, and Chinese inside of texts."""
    found = index.execute("SELECT rowid FROM fts WHERE fts MATCH ?", (match_query(query),))
    assert [row[0] for row in found] == rows


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_queries_are_never_errors(text: str) -> None:
    """Whatever is typed is a query that FTS5 understands, or nothing."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE VIRTUAL TABLE fts USING fts5(words)")
    query = match_query(text)
    if query:
        connection.execute("SELECT rowid FROM fts WHERE fts MATCH ?", (query,)).fetchall()
    connection.close()


@pytest.mark.parametrize("text", ["", "   ", '"', '""', "*", "- ( )", "\0"])
def test_nothing_to_search_for(text: str) -> None:
    """What has no letter or digit is no query."""
    assert match_query(text) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(max_size=4), JSON),
    st.sampled_from(["messages", "input", "contents"]),
    st.lists(st.dictionaries(st.text(max_size=4), JSON), min_size=1),
)
def test_bodies_are_put_together_again(
    rest: dict[str, object], key: str, items: list[dict[str, object]]
) -> None:
    """A body that was split and joined equals itself, members in their order."""
    body = json.dumps({**rest, key: items, "after": 1}).encode()
    envelope, found, pieces = bodies.split(body)
    assert found == key
    assert len(pieces) == len(items)
    joined = bodies.join(envelope, found, pieces)
    assert json.loads(joined) == json.loads(body)
    assert list(json.loads(joined)) == list(json.loads(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[1, 2]",
        b'{"messages": "text"}',
        b'{"input": "text"}',
        b'{"input": [1, 2, 3]}',
        b'{"messages": []}',
        b'{"messages": [{"a": "\xff"}]}',
        b'{"messages": [{"a": 1}',
        b"[" * 1_000_000,
        b'{"messages": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
        b'{"messages": [{"a": ' + b"[" * 500_000 + b"]" * 500_000 + b"}]}",
    ],
    ids=range(12),
)
def test_what_has_no_messages_stays_whole(body: bytes) -> None:
    """A body without a list of objects, broken or too deep, is all envelope."""
    envelope, key, items = bodies.split(body)
    assert bodies.join(envelope, key, items).replace(b" ", b"") == body.replace(b" ", b"")
    if not key:
        assert envelope == body
        assert items == []


def test_a_cut_envelope_is_no_error() -> None:
    """An envelope that is not JSON any more is returned as it is."""
    assert bodies.join(b'{"model": "x', "messages", [b"{}"]) == b'{"model": "x'


def test_long_texts_are_shortened() -> None:
    """A message that is too large keeps its form, and the beginnings of its texts."""
    item = json.dumps({"role": "user", "content": [{"type": "text", "text": "word " * 400_000}]})
    made = shortened(item.encode(), 100_000)
    assert len(made) <= 100_000
    read = json.loads(made)
    assert read["role"] == "user"
    assert read["content"][0]["text"].startswith("word word")
    assert "more characters, not kept" in read["content"][0]["text"]


@pytest.mark.parametrize("numbers", [list(range(50_000)), {f"k{n}": n for n in range(50_000)}])
def test_long_lists_are_shortened(numbers: Any) -> None:
    """They keep their first entries, and say how many more there were."""
    made = shortened(json.dumps({"a": numbers, "b": "kept"}).encode(), 20_000)
    assert len(made) <= 20_000
    read = json.loads(made)
    assert read["b"] == "kept"
    assert len(read["a"]) == 1_001
    assert b"[49000 more entries, not kept]" in made


def test_what_can_not_be_shortened_says_so() -> None:
    """A large message of very many short lists, or that is too deep, is replaced."""
    many = {f"k{n}": list(range(90)) for n in range(1_000)}
    for item in (json.dumps(many).encode(), b'{"a":' + b"[" * 200_000):
        assert json.loads(shortened(item, 10_000))["content"] == f"[{len(item)} bytes, not kept]"


def test_what_is_small_is_not_touched() -> None:
    """The very same bytes come back."""
    item = b'{ "a" : 1 }'
    assert shortened(item, 100) is item
