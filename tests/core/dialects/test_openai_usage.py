"""Golden vectors: what providers document about their `usage`, and what it is here."""

from __future__ import annotations

import pytest

from perimeter.calls import Usage
from perimeter.dialects.openai_usage import error_of, usage_of


VECTORS = {
    "openai: cached and reasoning are counted in": (
        {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 256, "audio_tokens": 0},
        },
        Usage(input=2006, output=300, cache_read=1920, reasoning=256),
    ),
    "openrouter: tokens written to a cache are counted in": (
        {
            "prompt_tokens": 900,
            "completion_tokens": 9,
            "total_tokens": 909,
            "cost": 0.01,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 700},
        },
        Usage(input=900, output=9, cache_read=100, cache_write=700),
    ),
    "deepseek: hit and miss are the prompt": (
        {
            "prompt_tokens": 50,
            "prompt_cache_hit_tokens": 40,
            "prompt_cache_miss_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 55,
        },
        Usage(input=50, output=5, cache_read=40),
    ),
    "moonshot": (
        {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55, "cached_tokens": 30},
        Usage(input=50, output=5, cache_read=30),
    ),
    "xai: reasoning is not in the completion": (
        {
            "prompt_tokens": 37,
            "completion_tokens": 530,
            "total_tokens": 800,
            "completion_tokens_details": {"reasoning_tokens": 233},
        },
        Usage(input=37, output=763, reasoning=233),
    ),
    "a gateway that counts like anthropic": (
        {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "cache_read_input_tokens": 400,
            "cache_creation_input_tokens": 90,
        },
        Usage(input=500, output=5, cache_read=400, cache_write=90),
    ),
    "embeddings": ({"prompt_tokens": 8, "total_tokens": 8}, Usage(input=8)),
    "voyage": ({"total_tokens": 3}, Usage(input=3)),
    "null inside": (
        {"prompt_tokens": 7, "completion_tokens": None, "prompt_tokens_details": None},
        Usage(input=7),
    ),
    "nothing said": ({"prompt_tokens": None}, None),
    "missing": (None, None),
    "nonsense": ({"prompt_tokens": -5, "completion_tokens": "many"}, Usage()),
}


@pytest.mark.parametrize("name", VECTORS)
def test_tokens_are_counted_alike(name):
    """Input has the cached tokens in it and output the reasoning, whoever counted."""
    given, expected = VECTORS[name]
    assert usage_of(given) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"error": {"message": "too long", "code": "x"}}, "too long"),
        ({"error": {"code": 502}}, "502"),
        ({"error": "no such model"}, "no such model"),
        ({"object": "error", "message": "unauthorised"}, "unauthorised"),
        ({"detail": [{"msg": "missing"}]}, '[{"msg":"missing"}]'),
        ({"error": None, "choices": []}, ""),
        ({"choices": [], "message": "not an error"}, ""),
        ({}, ""),
    ],
)
def test_errors_of_all_servers(fields, expected):
    """An error is found wherever it stands, and what is none is not taken for one."""
    assert error_of(fields) == expected
