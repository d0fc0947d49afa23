"""OpenAI's APIs, which most other providers offer too."""

from __future__ import annotations

import re
import time
from typing import Any, ClassVar

import attrs

from perimeter.calls import LLMReply, LLMRequest, StreamParser
from perimeter.dialects import openai_chat_parser as chat
from perimeter.dialects import openai_responses_parser as responses
from perimeter.dialects import openai_text_parser as text
from perimeter.dialects.base import (
    GENERATED_CODE,
    NEVER,
    Dialect,
    Operation,
    UpstreamType,
    to_json,
)


def _error(message: str, kind: str, code: str) -> dict[str, Any]:
    return {"message": message, "type": kind, "param": None, "code": code}


@attrs.frozen
class OpenAIDialect(Dialect):
    """What all of OpenAI's APIs have in common: `{"error": {…}}`."""

    def error(self, status: int, message: str, code: str) -> bytes:
        """Return `{"error": {message, type, param, code}}`."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        if status == 429:
            kind = "requests"  # which limit it was: OpenAI also knows `tokens`
        return to_json({"error": _error(message, kind, code)})


@attrs.frozen
class OpenAIChat(OpenAIDialect):
    """Chat completions."""

    operation: ClassVar[Operation] = "chat"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return chat.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return chat.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return chat.OpenAIChatStream()

    def end_stream(self, reason: str) -> bytes:
        """Return a chunk with an error, as Groq and OpenRouter send it; no `[DONE]` follows it."""
        error = _error(reason, "server_error", GENERATED_CODE)
        return b"data: %s\n\n" % to_json({"error": error})


@attrs.frozen
class OpenAICompletions(OpenAIChat):
    """Legacy completions; their streams end like those of chat completions."""

    operation: ClassVar[Operation] = "text_completion"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return text.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return text.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return text.OpenAITextStream()


@attrs.frozen
class OpenAIEmbeddings(OpenAIDialect):
    """Embeddings, which are no conversation and are never streamed."""

    operation: ClassVar[Operation] = "embeddings"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return text.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return text.parse_reply(body)


@attrs.frozen
class OpenAIResponses(OpenAIDialect):
    """The Responses API."""

    operation: ClassVar[Operation] = "chat"
    links_replies: ClassVar[bool] = True

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return responses.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return responses.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return responses.OpenAIResponsesStream()

    def end_stream(self, reason: str) -> bytes:
        """Return `response.failed`."""
        event = {
            "type": "response.failed",
            "sequence_number": 0,  # required, and the last one is not known here
            "response": _failed_response(reason),
            # The SDKs raise an error for an event that has this, and for nothing else. Without it
            # code that only waits for text would take the stream for complete.
            "error": _error(reason, "server_error", GENERATED_CODE),
        }
        return b"event: response.failed\ndata: %s\n\n" % to_json(event)


def _failed_response(reason: str) -> dict[str, Any]:
    """Return a response with every field that must not be missing, and nothing that is not so."""
    return {
        "id": "",
        "object": "response",
        "created_at": int(time.time()),
        "status": "failed",
        "error": {"code": "server_error", "message": reason},
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


CHAT = OpenAIChat("openai.chat", "openai", re.compile(r"/chat/completions/?\Z"))

RESPONSES = OpenAIResponses("openai.responses", "openai", re.compile(r"/responses/?\Z"))

# Ollama's own /api/embeddings is something else.
EMBEDDINGS = OpenAIEmbeddings(
    "openai.embeddings", "openai", re.compile(r"(?<!\A/api)/embeddings/?\Z")
)

# Others end alike and are something else: /chat/completions, /fim/completions (Mistral),
# /prompts/<id>/completions (Portkey).
COMPLETIONS = OpenAICompletions(
    "openai.completions",
    "openai",
    re.compile(r"(?:\A|/v\d\w*|/beta|/openai|/deployments/[^/]+)/completions/?\Z"),
)

OPENAI = UpstreamType(
    "openai",
    dialects=(CHAT, RESPONSES, EMBEDDINGS, COMPLETIONS),
    fallback=OpenAIDialect("raw", "openai", NEVER),
    # `api-key` is Azure's; some compatible servers take Anthropic's `x-api-key`.
    credential_headers=(b"authorization", b"api-key", b"x-api-key"),
    owns=re.compile(
        r"\A/openai/|\A/v1/(?:assistants|audio|batches|chat/completions|chatkit|completions|containers"
        r"|conversations|edits|embeddings|engines|evals|fine[-_]tun(?:es|ing)|images|moderations"
        r"|organization|realtime|responses|threads|traces|uploads|vector_stores|videos"
        r"|projects(?!/[^/]+/locations/))(?:/|\Z)"  # with locations it is one of Google Cloud
    ),
)
