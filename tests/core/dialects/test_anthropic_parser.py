"""The parser of Anthropic's Messages API: blocks of content, and usage."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import (
    Media,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from perimeter.dialects.anthropic_parser import parse_reply, parse_request


ADDRESS = "b5d4045c3f466fa91fe2cc6abe79232a"  # of ABC
INLINE = "d9cae0dbdbf078b2020e2abe5fcd74bc"  # of QUJD, the text, not what it decodes to

# What the provider documents: `input_tokens` are those after the last cache breakpoint, neither
# read from nor written to a cache; all of the prompt is the sum of the three. `output_tokens` have
# the thinking in them. The sums leave out compactions, and advisors, which are other models.
USAGE = {
    "plain": ({"input_tokens": 14, "output_tokens": 11}, Usage(14, 11)),
    "cached": (
        {
            "input_tokens": 16,
            "cache_creation_input_tokens": 7049,
            "cache_read_input_tokens": 13637,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 7000,
                "ephemeral_1h_input_tokens": 49,
            },
            "output_tokens": 344,
            "output_tokens_details": {"thinking_tokens": 33},
            "server_tool_use": {"web_search_requests": 5},
            "service_tier": "standard",
            "inference_geo": "global",
        },
        Usage(20702, 344, cache_read=13637, cache_write=7049, reasoning=33),
    ),
    "cache written, by lifetime only": (
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 4},
        },
        Usage(35, 2, cache_write=34),
    ),
    "nulls": (
        {
            "input_tokens": 3,
            "cache_creation_input_tokens": None,
            "cache_read_input_tokens": None,
            "cache_creation": None,
            "output_tokens": 1,
            "output_tokens_details": None,
            "server_tool_use": None,
            "iterations": None,
        },
        Usage(3, 1),
    ),
    "compaction": (
        {
            "input_tokens": 23000,
            "output_tokens": 1000,
            "iterations": [
                {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                {"type": "message", "input_tokens": 23000, "output_tokens": 1000},
            ],
        },
        Usage(203000, 4500),
    ),
    "advisor": (
        {
            "input_tokens": 2417,
            "output_tokens": 133,
            "iterations": [
                {"type": "message", "input_tokens": 1128, "output_tokens": 121},
                {"type": "advisor_message", "input_tokens": 2529, "output_tokens": 38},
                {"type": "message", "input_tokens": 1289, "output_tokens": 12},
            ],
        },
        Usage(2417, 133),
    ),
    "nothing": ({}, Usage()),
    "absent": (None, None),
}

# Each block as it stands in content, and what it is.
BLOCKS = {
    "text": ({"type": "text", "text": "Hi", "citations": [{"cited_text": "x"}]}, Text("Hi")),
    "bare string": ("Hi", Text("Hi")),
    "text without type": ({"text": "Hi"}, Text("Hi")),
    "thinking": ({"type": "thinking", "thinking": "Hm", "signature": "Er"}, Thinking("Hm")),
    "only signed": ({"type": "thinking", "thinking": "", "signature": "Er"}, Thinking("")),
    "redacted": ({"type": "redacted_thinking", "data": "Ev"}, Thinking("")),
    "tool": (
        {
            "type": "tool_use",
            "id": "t1",
            "name": "add",
            "input": {"b": "é", "a": [1]},
            "caller": {},
        },
        ToolCall("t1", "add", '{"b":"é","a":[1]}'),
    ),
    "tool without arguments": (
        {"type": "tool_use", "id": "t1", "name": "now", "input": {}},
        ToolCall("t1", "now", "{}"),
    ),
    "server tool": (
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
        ToolCall("s1", "web_search", '{"query":"q"}', server=True),
    ),
    "mcp tool": (
        {"type": "mcp_tool_use", "id": "m1", "name": "echo", "server_name": "x", "input": {}},
        ToolCall("m1", "echo", "{}", server=True),
    ),
    "result": (
        {"type": "tool_result", "tool_use_id": "t1", "content": "4"},
        ToolResult("t1", "4"),
    ),
    "result without content": ({"type": "tool_result", "tool_use_id": "t1"}, ToolResult("t1", "")),
    "failed result": (
        {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True},
        ToolResult("t1", "no", is_error=True),
    ),
    "result of blocks": (
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [
                {"type": "text", "text": "one"},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                },
                {"type": "tool_reference", "tool_name": "add"},
                {
                    "type": "search_result",
                    "title": "T",
                    "source": "S",
                    "content": [{"type": "text", "text": "hit"}],
                },
            ],
        },
        ToolResult(
            "t1",
            "one\nadd\nT\nS\nhit",
            media=(Media(INLINE, "image/png", 4),),
        ),
    ),
    "web search": (
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [
                {
                    "type": "web_search_result",
                    "title": "T",
                    "url": "https://a.test/",
                    "encrypted_content": "Eo",
                    "page_age": None,
                }
            ],
        },
        ToolResult("s1", "T\nhttps://a.test/"),
    ),
    "failed web search": (
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"},
        },
        ToolResult("s1", "max_uses_exceeded", is_error=True),
    ),
    "web fetch": (
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s1",
            "content": {
                "type": "web_fetch_result",
                "url": "https://a.test/",
                "content": {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "page"},
                },
            },
        },
        ToolResult("s1", "https://a.test/\npage"),
    ),
    "bash": (
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "s1",
            "content": {
                "type": "bash_code_execution_result",
                "stdout": "out",
                "stderr": "err",
                "return_code": 1,
                "content": [{"type": "bash_code_execution_output", "file_id": "ABC"}],
            },
        },
        ToolResult(
            "s1",
            "out\nerr",
            media=(Media(ADDRESS, "bash_code_execution_output"),),
        ),
    ),
    "tool search": (
        {
            "type": "tool_search_tool_result",
            "tool_use_id": "s1",
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "add"}],
            },
        },
        ToolResult("s1", "add"),
    ),
    "advisor": (
        {
            "type": "advisor_tool_result",
            "tool_use_id": "s1",
            "content": {"type": "advisor_result", "text": "Do.", "stop_reason": "end_turn"},
        },
        ToolResult("s1", "Do."),
    ),
    "mcp result": (
        {
            "type": "mcp_tool_result",
            "tool_use_id": "m1",
            "is_error": False,
            "content": [{"type": "text", "text": "echo"}],
        },
        ToolResult("m1", "echo"),
    ),
    "image by address": (
        {"type": "image", "source": {"type": "url", "url": "ABC"}},
        Media(ADDRESS, "image"),
    ),
    "document by file": (
        {"type": "document", "source": {"type": "file", "file_id": "ABC"}, "title": "T"},
        Media(ADDRESS, "document"),
    ),
    "upload": (
        {"type": "container_upload", "file_id": "ABC"},
        Media(ADDRESS, "container_upload"),
    ),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_is_counted_as_for_every_provider(name):
    """Input has cached tokens in it, whichever fields say so, and nothing is counted twice."""
    given, expected = USAGE[name]
    body = {"type": "message", "content": [], "usage": given}
    assert parse_reply(json.dumps(body).encode()).usage == expected


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_has_its_part(name):
    """A block is the same part whether a client sends it or the provider answers with it."""
    block, part = BLOCKS[name]
    request = {"messages": [{"role": "assistant", "content": [block]}]}
    assert parse_request(json.dumps(request).encode()).messages[0].parts == (part,)
    reply = parse_reply(json.dumps({"type": "message", "content": [block]}).encode())
    assert reply.message == Message("assistant", (part,))
