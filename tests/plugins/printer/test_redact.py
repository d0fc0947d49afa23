"""What is masked, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_printer.redact import MASK, excerpt, mask, mask_query


X = "x1Y2" * 8
"""Stands for the secret part of a key; whole keys are only put together at run time."""


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("sk-" + X, "sk-***"),
        ("sk-proj-" + X, "sk-proj-***"),
        ("sk-ant-api03-" + X, "sk-ant-api03-***"),
        ("(sk_live_" + X + ")", "(sk_live_***)"),
        ("ghp_" + X, "ghp_***"),
        ("AKIA" + "A1B2" * 4, "AKIA***"),
        ("AIza" + X, "AIza***"),
        ("xoxb-" + X, "xoxb-***"),
        ("Authorization: Bearer " + X, "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz" + "d29yZA==", "basic ***"),
        ("eyJ" + X + "." + X + "." + X, "***"),
        ("-----BEGIN " + "PRIVATE KEY-----\n" + X, "-----BEGIN PRIVATE KEY-----***"),
        ('{"api_key": "hunter two"}', '{"api_key": "***"}'),
        ('{"password":"a\\"b"}', '{"password":"***"}'),
        (r'{"arguments":"{\"password\":\"hunter\"}"}', r'{"arguments":"{\"password\":\"***\"}"}'),
        ("GET https://a/b?key=hunter&x=1 failed", "GET https://a/b?key=***&x=1 failed"),
    ],
)
def test_secrets_are_masked(text: str, masked: str) -> None:
    """Key-shaped strings go; the prefix that says what they were stays."""
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "the token: something",
        "task-management-system-for-teams",
        "Basic understanding of a bearer certificate",
        '{"max_tokens": 1024, "password": 1}',
        "AKI, sk- and ghp_ are only prefixes",
        '{"secretary": "Ann"}',
    ],
)
def test_prose_stays(text: str) -> None:
    """Ordinary text about secrets is not mangled."""
    assert mask(text) == text


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("key=abc&alt=sse", "key=***&alt=sse"),
        ("a=1;api_key=abc", "a=1;api_key=***"),
        ("api%5Fkey=abc", "api%5Fkey=***"),
        ("X-Amz-Signature=abc&sig=d&design=e", "X-Amz-Signature=***&sig=***&design=e"),
        ("q=Bearer%20" + X, "q=***"),
        ("access_token=&flag&n=1", "access_token=&flag&n=1"),
        ("sk-" + X, "sk-***"),
        ("", ""),
    ],
)
def test_query_values_are_masked_by_name_and_by_shape(query: str, masked: str) -> None:
    """Values of parameters that sound secret go, and so do values that look secret."""
    assert mask_query(query) == masked


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_secret_across_the_end_is_masked_whole(before: int, limit: int) -> None:
    """However much of a key an excerpt would keep, none of its secret part is shown."""
    shown = excerpt("." * before + "sk-" + X + " tail", limit)
    assert X[:4] not in shown
    if before <= limit - 3:
        assert shown.startswith("." * before + "sk-" + MASK)


@given(st.text(max_size=300), st.integers(0, 400))
def test_excerpts_of_harmless_text_are_its_beginning(text: str, limit: int) -> None:
    """Where nothing is masked, an excerpt is a slice."""
    if mask(text) == text:
        assert excerpt(text, limit) == text[:limit]


def test_hostile_text_is_searched_in_linear_time() -> None:
    """Texts made to confuse the patterns are handled at once, not after minutes of backtracking."""
    pieces = ("sk-a-", "eyJ-", "eyJaaaaaaaaa.", "-----BEGIN ", '\\\\\\"', "bearer ", "?key", "&")
    for text in (piece * 40_000 for piece in pieces):
        assert len(mask(text)) <= len(text)
