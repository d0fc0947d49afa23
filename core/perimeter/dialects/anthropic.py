"""Anthropic's APIs."""

from __future__ import annotations

import re
from typing import ClassVar

import attrs

from perimeter.calls import LLMReply, LLMRequest, StreamParser
from perimeter.dialects import anthropic_parser as messages
from perimeter.dialects.base import NEVER, Dialect, Operation, UpstreamType, to_json


_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status; other ones are invalid requests below 500 and API errors from there on."""


def _error(kind: str, message: str) -> bytes:
    return to_json({"type": "error", "error": {"type": kind, "message": message}})


@attrs.frozen
class AnthropicDialect(Dialect):
    """What all of Anthropic's APIs have in common; their errors have no place for a code."""

    def error(self, status: int, message: str, code: str) -> bytes:
        """Return `{"type": "error", "error": {type, message}}`, the type going by the status."""
        usual = "api_error" if status >= 500 else "invalid_request_error"
        return _error(_TYPES.get(status, usual), message)


@attrs.frozen
class AnthropicMessages(AnthropicDialect):
    """Messages."""

    operation: ClassVar[Operation] = "chat"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return messages.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return messages.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return messages.AnthropicStream()

    def end_stream(self, reason: str) -> bytes:
        """Return the `error` event that Anthropic itself sends when it fails in a stream."""
        return b"event: error\ndata: %s\n\n" % _error("api_error", reason)


# Both need their `/v1`: /v1/threads/<id>/messages is OpenAI's.
MESSAGES = AnthropicMessages(
    "anthropic.messages", "anthropic", re.compile(r"(?:\A|/v1)/messages/?\Z")
)

COUNT_TOKENS = AnthropicDialect(
    "anthropic.count_tokens", "anthropic", re.compile(r"(?:\A|/v1)/messages/count_tokens/?\Z")
)

ANTHROPIC = UpstreamType(
    "anthropic",
    dialects=(MESSAGES, COUNT_TOKENS),
    fallback=AnthropicDialect("raw", "anthropic", NEVER),
    credential_header=b"x-api-key",
    credential_prefix=b"",
    credential_headers=(b"x-api-key", b"authorization"),  # the latter with tokens of OAuth
    owns=re.compile(
        r"\A/anthropic/|\A/v1/(?:complete|dreams|environments|memory_stores|messages|organizations"
        r"|sessions|user_profiles)(?:/|\Z)"
    ),
)
