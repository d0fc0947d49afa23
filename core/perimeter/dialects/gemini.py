"""Google's Gemini API and, with the same bodies under other paths, that of Vertex AI."""

from __future__ import annotations

import re
from typing import ClassVar

import attrs

from perimeter.calls import LLMReply, LLMRequest, StreamParser
from perimeter.dialects import gemini_parser as parser
from perimeter.dialects.base import NEVER, Dialect, Operation, UpstreamType, to_json


_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Names of google.rpc.Code by HTTP status."""


def _error(status: int, message: str) -> bytes:
    name = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return to_json({"error": {"code": status, "message": message, "status": name}})


@attrs.frozen
class GeminiDialect(Dialect):
    """What all of Gemini's APIs have in common; their `code` is the HTTP status."""

    def error(self, status: int, message: str, code: str) -> bytes:
        """Return `{"error": {code, message, status}}`, the status being a name of google.rpc."""
        return _error(status, message)


@attrs.frozen
class GeminiGenerate(GeminiDialect):
    """`generateContent`."""

    operation: ClassVar[Operation] = "chat"

    def read_request(self, body: bytes, path: str = "") -> LLMRequest:
        """Read a request."""
        return parser.parse_request(body, path)

    def read_reply(self, body: bytes) -> LLMReply:
        """Read a reply."""
        return parser.parse_reply(body)

    def stream_parser(self) -> StreamParser:
        """Return a reader of a stream."""
        return parser.GeminiStream()


@attrs.frozen
class GeminiStream(GeminiGenerate):
    """`streamGenerateContent`; with `alt=sse`, for a JSON array can't be ended by an event."""

    def end_stream(self, reason: str) -> bytes:
        """Return an event that is nothing but an error."""
        return b"data: %s\r\n\r\n" % _error(500, reason)


_MODEL = r"/(?:models|tunedModels|endpoints)/[^/]+(?::|%3[Aa])"
"""A model and, after it, a colon; some clients percent-encode that."""

GENERATE = GeminiGenerate("gemini.generate", "gemini", re.compile(_MODEL + r"generateContent\Z"))

STREAM = GeminiStream("gemini.stream", "gemini", re.compile(_MODEL + r"streamGenerateContent\Z"))

ACTION = (
    r"(?::|%3[Aa])(?:batchEmbedContents|batchGenerateContent|computeTokens|countTokens"
    r"|embedContent|generateContent|predict|predictLongRunning|streamGenerateContent)\Z"
)
"""How paths end that look like those of a model at other providers. (`ft:…` is such a model.)"""

GEMINI = UpstreamType(
    "gemini",
    dialects=(GENERATE, STREAM),
    fallback=GeminiDialect("raw", "gemini", NEVER),
    credential_header=b"x-goog-api-key",
    credential_prefix=b"",
    credential_headers=(b"x-goog-api-key", b"authorization"),  # the latter on Vertex AI
    credential_query=("key",),
    owns=re.compile(
        r"\A(?:/upload|/download)?/v1(?:alpha|beta)\d*/"
        r"|\A/v1/(?:projects/[^/]+/locations|publishers|tunedModels)/"
        rf"|\A/v1/models/[^/]+{ACTION}"
    ),
)
