"""Golden vectors in tests/data/usage: what providers document about tokens, and what it is here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli

from perimeter.calls import Usage
from perimeter.dialects import (
    anthropic_parser,
    gemini_parser,
    ollama_parser,
    openai_chat_parser,
    openai_responses_parser,
    openai_text_parser,
)


FILES = sorted((Path(__file__).parents[2] / "data/usage").glob("*.toml"))
VECTORS = {
    vector["name"]: vector for file in FILES for vector in tomli.loads(file.read_text())["vector"]
}
PARSERS = {
    "openai.chat": (openai_chat_parser.parse_reply, openai_chat_parser.OpenAIChatStream),
    "openai.text": (openai_text_parser.parse_reply, openai_text_parser.OpenAITextStream),
    "openai.responses": (
        openai_responses_parser.parse_reply,
        openai_responses_parser.OpenAIResponsesStream,
    ),
    "anthropic.messages": (anthropic_parser.parse_reply, anthropic_parser.AnthropicStream),
    "gemini.generate": (gemini_parser.parse_reply, gemini_parser.GeminiStream),
    "ollama": (ollama_parser.parse_reply, ollama_parser.OllamaStream),
}


def usage_of(vector):
    parse_reply, stream = PARSERS[vector["api"]]
    if "reply" in vector:
        return parse_reply(vector["reply"].encode()).usage
    parser = stream()
    for event in vector["events"]:
        line = json.dumps(json.loads(event)).encode()
        parser.feed(line + b"\n" if vector["api"] == "ollama" else b"data: " + line + b"\n\n")
    return parser.reply().usage


def test_every_provider_has_vectors():
    """A file that is not found, or a name that is used twice, would test nothing."""
    assert {vector["api"] for vector in VECTORS.values()} == set(PARSERS)
    entries = [vector for file in FILES for vector in tomli.loads(file.read_text())["vector"]]
    assert len(entries) == len(VECTORS)


@pytest.mark.parametrize("name", VECTORS)
def test_tokens_are_counted_alike(name):
    """Input has the cached tokens in it and output the reasoning, whoever counted."""
    assert usage_of(VECTORS[name]) == Usage(**VECTORS[name]["usage"])
