"""What the printer shows has gone through core's redaction."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_printer.line import short
from perimeter_plugin_printer.text import body_text, value_text


BODY = "x1Y2" * 8
"""Stands for the secret part of a key; whole keys are only put together at run time."""
KEY = "sk-proj-" + BODY


@pytest.mark.parametrize(
    "shown",
    [
        short,
        lambda text: body_text(text.encode(), 500),
        lambda text: value_text(text, 500),
        lambda text: value_text({"cookie": [text]}, 500),
        lambda text: body_text(json.dumps({"messages": [{"content": text}]}).encode(), 500),
    ],
)
def test_keys_are_masked_wherever_they_are_shown(shown) -> None:
    """Names, bodies and values lose keys, and nothing else."""
    made = shown(f"take {KEY}, please")

    assert f"take sk-proj-{'*' * len(BODY)}, please" in made


@given(st.integers(0, 60), st.integers(1, 60))
def test_a_secret_across_the_end_is_masked_whole(before: int, limit: int) -> None:
    """However much of a key an excerpt would keep, none of its secret part is shown."""
    shown = value_text("." * before + KEY + " tail", limit)

    assert BODY[:4] not in shown
    assert shown.startswith(("." * before + "sk-proj-")[:limit])


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300), st.integers(1, 400))
def test_harmless_text_is_cut_and_no_more(text: str, limit: int) -> None:
    """Where nothing is masked, the beginning is shown, and a sign that there is more."""
    if "*" not in value_text(text, 1000):
        assert value_text(text, limit) == (text if len(text) <= limit else text[:limit] + "…")
