"""The query language: what it understands, what it says of the rest, and that it never fails."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.queries.language import EXAMPLES, KEYS, Query, Term, parse


def only(text: str) -> Term:
    """Return the only term of a query that is understood."""
    query = parse(text)
    assert not query.problems
    (term,) = query.terms
    return term


def problem(text: str) -> str:
    """Return the only problem of a query of which nothing is understood."""
    query = parse(text)
    assert not query.terms
    (message,) = query.problems
    return message


@given(st.text())
def test_anything_can_be_typed(text: str) -> None:
    """Reading a query never raises, and what it says is short."""
    query = parse(text)
    assert isinstance(query, Query)
    assert all(len(message) < 400 for message in query.problems)


_PIECES = st.sampled_from(
    [*(f"{key}:" for key in KEYS), '"', "-", ">=", ">", " ", "=", "10k", "$", "*", "30s", "x:"]
)


@given(st.lists(_PIECES | st.text(max_size=5), max_size=12).map("".join))
def test_anything_like_a_query_can_be_typed(text: str) -> None:
    """Also what is nearly right."""
    for term in parse(text).terms:
        assert term.key in {*KEYS, ""}
        assert 0 <= term.number <= 2**62


@pytest.mark.parametrize(
    "example", [each for text in EXAMPLES.values() for each in text.split(" or ")]
)
def test_examples_are_understood(example: str) -> None:
    """What the help shows works."""
    assert only(example).key == example.partition(":")[0]


@pytest.mark.parametrize(
    ("text", "op", "number"),
    [
        ("cost:>0.10", ">", 100_000_000),
        ("cost:$1", "=", 1_000_000_000),
        ("tokens:>=10k", ">=", 10_000),
        ("tokens:<1.5M", "<", 1_500_000),
        ("dur:>30s", ">", 30_000_000),
        ("dur:<=2min", "<=", 120_000_000),
        ("dur:500ms", "=", 500_000),
        ("errors:>0", ">", 0),
        ("sev:>=high", ">=", 3),
        ("severity:critical", "=", 4),
    ],
)
def test_numbers_have_units(text: str, op: str, number: int) -> None:
    """Amounts become the units of their columns."""
    term = only(text)
    assert (term.op, term.number) == (op, number)


def test_words_and_phrases() -> None:
    """Words stay words, phrases stay together, a minus negates either."""
    query = parse('refund "charged twice" -spam -"no reply"')
    assert [(term.value, term.phrase, term.negated) for term in query.terms] == [
        ("refund", False, False), ("charged twice", True, False),
        ("spam", False, True), ("no reply", True, True),
    ]  # fmt: skip
    assert query.words == 'refund "charged twice"'


def test_values_can_be_quoted() -> None:
    """A value with blanks needs quotes; a negation goes in front of the key."""
    term = only('-tool:"web search"')
    assert (term.key, term.value, term.negated) == ("tool", "web search", True)


def test_addresses_and_times_are_words() -> None:
    """A colon alone makes no filter."""
    assert [term.key for term in parse("https://example.org/x 12:30").terms] == ["", ""]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("agnet:x", "agent:"),
        ("modle:gpt", "model:"),
        ("sev:hihg", "high"),
        ("status:stuck", "stalled"),
        ("cost:much", "cost:>0.10"),
        ("tokens:>", "tokens:>10k"),
        ("has:", "has:pii"),
        ("dur:5parsecs", "dur:>30s"),
    ],
)
def test_what_is_wrong_is_said_with_a_suggestion(text: str, hint: str) -> None:
    """The message has what was probably meant."""
    assert hint in problem(text)


def test_a_term_can_be_taken_out() -> None:
    """As the chips of the list do."""
    query = parse('a agent:x -b "c d"')
    assert query.without(query.terms[1]) == 'a -b "c d"'
