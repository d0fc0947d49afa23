"""
Providers' APIs: whose path it is, where credentials go, how errors and ends of streams look.

Public: plugins contribute dialects, and tell by `exchange.dialect` what a request is.
"""

from __future__ import annotations

from perimeter.dialects.anthropic import ANTHROPIC, AnthropicDialect, AnthropicMessages
from perimeter.dialects.base import (
    CONVERSATIONS,
    RAW,
    Dialect,
    DialectTable,
    Operation,
    UpstreamType,
    to_json,
)
from perimeter.dialects.gemini import GEMINI, GeminiDialect, GeminiGenerate, GeminiStream
from perimeter.dialects.ollama import OLLAMA, OllamaDialect, OllamaGenerate, OllamaStream
from perimeter.dialects.openai import (
    OPENAI,
    OpenAIChat,
    OpenAICompletions,
    OpenAIDialect,
    OpenAIEmbeddings,
    OpenAIResponses,
)
from perimeter.dialects.raw import RAW_TYPE
from perimeter.dialects.shared import SHARED_PATHS, is_shared


UPSTREAM_TYPES: dict[str, UpstreamType] = {
    each.name: each for each in (OPENAI, ANTHROPIC, GEMINI, OLLAMA, RAW_TYPE)
}
"""Every `type` of `[upstreams.<name>]`."""

__all__ = [
    "CONVERSATIONS",
    "RAW",
    "SHARED_PATHS",
    "UPSTREAM_TYPES",
    "AnthropicDialect",
    "AnthropicMessages",
    "Dialect",
    "DialectTable",
    "GeminiDialect",
    "GeminiGenerate",
    "GeminiStream",
    "OllamaDialect",
    "OllamaGenerate",
    "OllamaStream",
    "OpenAIChat",
    "OpenAICompletions",
    "OpenAIDialect",
    "OpenAIEmbeddings",
    "OpenAIResponses",
    "Operation",
    "UpstreamType",
    "is_shared",
    "to_json",
]
