"""Ollama's own API; it has OpenAI's as well, under OpenAI's paths."""

from __future__ import annotations

import re
from typing import ClassVar

import attrs

from perimeter.calls import LLMReply, LLMRequest, StreamParser
from perimeter.dialects import ollama_parser as parser
from perimeter.dialects.base import NEVER, Dialect, Operation, UpstreamType, to_json


@attrs.frozen
class OllamaDialect(Dialect):
    """What all of Ollama's APIs have in common: errors are nothing but a message."""

    def error(self, status: int, message: str, code: str) -> bytes:
        """Return `{"error": message}`."""
        return to_json({"error": message})


@attrs.frozen
class OllamaStream(OllamaDialect):
    """Chat, which streams lines of JSON unless told not to."""

    operation: ClassVar[Operation] = "chat"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return parser.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return parser.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return parser.OllamaStream()

    def end_stream(self, reason: str) -> bytes:
        """Return a line with an error."""
        return to_json({"error": reason}) + b"\n"


@attrs.frozen
class OllamaGenerate(OllamaStream):
    """Generate; its bodies tell themselves from those of chat."""

    operation: ClassVar[Operation] = "text_completion"


CHAT = OllamaStream("ollama.chat", "ollama", re.compile(r"/api/chat/?\Z"))

GENERATE = OllamaGenerate("ollama.generate", "ollama", re.compile(r"/api/generate/?\Z"))

OLLAMA = UpstreamType(
    "ollama",
    dialects=(CHAT, GENERATE),
    fallback=OllamaDialect("raw", "ollama", NEVER),
    owns=re.compile(
        r"\A/api/(?:blobs|chat|copy|create|delete|embed|embeddings|generate|ps|pull|push|show|tags"
        r"|version)(?:/|\Z)"
    ),
)
