"""The simulator's embeddings."""

from __future__ import annotations

import httpx
import openai
import pytest


def test_both_codings_hold_the_same_numbers(gpt: openai.OpenAI) -> None:
    """Base64, which the SDK asks for itself, and plain numbers agree exactly."""
    coded = gpt.embeddings.create(model="m", input="green tea").data[0].embedding
    plain = gpt.embeddings.create(model="m", input="green tea", encoding_format="float")
    assert coded == plain.data[0].embedding
    assert len(coded) == 1536
    assert sum(value * value for value in coded) == pytest.approx(1, abs=1e-6)


def test_vectors_follow_the_words(gpt: openai.OpenAI) -> None:
    """Equal words make equal vectors, common ones close vectors, in the order of the input."""
    texts = ["green tea", "Green, tea!", "black tea", "old bicycle"]
    data = gpt.embeddings.create(model="m", input=texts, dimensions=512).data
    assert [item.index for item in data] == [0, 1, 2, 3]
    green, same, black, bicycle = (item.embedding for item in data)

    def likeness(other: list[float]) -> float:
        return sum(a * b for a, b in zip(green, other, strict=True))

    assert green == same
    assert likeness(black) > likeness(bicycle) + 0.3


def test_token_ids(gpt: openai.OpenAI) -> None:
    """One list of ids is one text, a list of lists several."""
    assert len(gpt.embeddings.create(model="m", input=[1, 2, 3]).data) == 1
    assert len(gpt.embeddings.create(model="m", input=[[1, 2], [3]]).data) == 2


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "input": []},
        {"model": "m", "input": 5},
        {"model": "m", "input": "x", "dimensions": 0},
        {"model": "m", "input": "x", "dimensions": 10**9},
        {"model": "m", "input": "x", "encoding_format": "gold"},
    ],
)
def test_bad_requests(http: httpx.Client, body: dict[str, object]) -> None:
    """Empty input, wrong types and absurd sizes are a 400."""
    assert http.post("/v1/embeddings", json=body).status_code == 400
