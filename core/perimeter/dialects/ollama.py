"""Ollama's own API; it has OpenAI's as well, under OpenAI's paths."""

from __future__ import annotations

import re

import attrs

from perimeter.dialects.base import NEVER, Dialect, UpstreamType, to_json


@attrs.frozen
class OllamaDialect(Dialect):
    """What all of Ollama's APIs have in common: errors are nothing but a message."""

    def error(self, status: int, message: str, code: str) -> bytes:
        """Return `{"error": message}`."""
        return to_json({"error": message})


@attrs.frozen
class OllamaStream(OllamaDialect):
    """Chat and generate, which stream lines of JSON unless told not to."""

    def end_stream(self, reason: str) -> bytes:
        """Return a line with an error."""
        return to_json({"error": reason}) + b"\n"


CHAT = OllamaStream("ollama.chat", "ollama", re.compile(r"/api/chat/?\Z"))

GENERATE = OllamaStream("ollama.generate", "ollama", re.compile(r"/api/generate/?\Z"))

OLLAMA = UpstreamType(
    "ollama",
    dialects=(CHAT, GENERATE),
    fallback=OllamaDialect("raw", "ollama", NEVER),
    owns=re.compile(
        r"\A/api/(?:blobs|chat|copy|create|delete|embed|embeddings|generate|ps|pull|push|show|tags"
        r"|version)(?:/|\Z)"
    ),
)
