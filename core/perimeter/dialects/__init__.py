"""
Providers' APIs: whose path it is, where credentials go, how errors and ends of streams look.

Public: plugins contribute dialects, and tell by `exchange.dialect` what a request is.
"""

from __future__ import annotations

from perimeter.dialects.anthropic import ANTHROPIC, AnthropicDialect, AnthropicMessages
from perimeter.dialects.base import RAW, Dialect, DialectTable, UpstreamType, to_json
from perimeter.dialects.gemini import GEMINI, GeminiDialect, GeminiStream
from perimeter.dialects.ollama import OLLAMA, OllamaDialect, OllamaStream
from perimeter.dialects.openai import (
    OPENAI,
    OpenAIChat,
    OpenAICompletions,
    OpenAIDialect,
    OpenAIResponses,
)
from perimeter.dialects.raw import RAW_TYPE
from perimeter.dialects.shared import SHARED_PATHS, is_shared


UPSTREAM_TYPES: dict[str, UpstreamType] = {
    each.name: each for each in (OPENAI, ANTHROPIC, GEMINI, OLLAMA, RAW_TYPE)
}
"""Every `type` of `[upstreams.<name>]`."""

__all__ = [
    "RAW",
    "SHARED_PATHS",
    "UPSTREAM_TYPES",
    "AnthropicDialect",
    "AnthropicMessages",
    "Dialect",
    "DialectTable",
    "GeminiDialect",
    "GeminiStream",
    "OllamaDialect",
    "OllamaStream",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIDialect",
    "OpenAIResponses",
    "UpstreamType",
    "is_shared",
    "to_json",
]
