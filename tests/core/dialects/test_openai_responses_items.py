"""Items and parts of OpenAI's Responses API."""

from __future__ import annotations

import hashlib
import json

import pytest

from perimeter.calls import Media, Message, Other, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.dialects.openai_responses_parser import parse_reply, parse_request


def digest(text: str) -> str:
    """Return what media and unknown parts are told by."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def request(**fields):
    """Parse a request."""
    return parse_request(json.dumps(fields).encode())


def reply(*output, **fields):
    """Parse a reply with an output."""
    status = {"id": "resp_1", "status": "completed", "model": "gpt-5"}
    return parse_reply(json.dumps({**status, "output": output, **fields}).encode())


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add"}
SUMMARY = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
HOSTED = {"id": "x_1", "status": "completed"}
ITEMS: dict[str, tuple[dict, tuple[Part, ...]]] = {
    "summary": ({"type": "reasoning", "summary": SUMMARY}, (Thinking("a\nb"),)),
    "reasoning": (
        {
            "type": "reasoning",
            "summary": SUMMARY,
            "content": [{"type": "reasoning_text", "text": "c"}],
        },
        (Thinking("c"),),
    ),
    "refusal": (
        {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]},
        (Text("No."),),
    ),
    "custom": (
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"},
        (ToolCall("c", "sql", "SELECT 1"),),
    ),
    "arguments object": (
        {**CALL, "arguments": {"a": 1}},
        (ToolCall("call_1", "add", '{"a":1}'),),
    ),
    "arguments null": ({**CALL, "arguments": None}, (ToolCall("call_1", "add", ""),)),
    "computer": (
        {"type": "computer_call", "call_id": "c", "action": {"type": "wait"}},
        (ToolCall("c", "computer", '{"type":"wait"}'),),
    ),
    "screenshot": (
        {
            "type": "computer_call_output",
            "call_id": "c",
            "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,QUJD"},
        },
        (ToolResult("c", "", media=(Media(digest("QUJD"), "image/png", 4),)),),
    ),
    "output list": (
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "file_id": "file-1"},
            ],
        },
        (ToolResult("c", "see", media=(Media(digest("file-1"), "image"),)),),
    ),
    "shell": (
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [{"stdout": "out\n", "stderr": "err", "outcome": {"type": "timeout"}}],
        },
        (ToolResult("c", "out\nerr"),),
    ),
    "patch": (
        {"type": "apply_patch_call_output", "call_id": "c", "status": "failed", "output": "no"},
        (ToolResult("c", "no", is_error=True),),
    ),
    "search tools": (
        {**HOSTED, "type": "tool_search_call", "execution": "server", "arguments": {"q": "x"}},
        (ToolCall("x_1", "tool_search", '{"q":"x"}', server=True),),
    ),
    "tools found": (
        {"type": "tool_search_output", "call_id": "c", "tools": [{"name": "a"}, {"name": "b"}]},
        (ToolResult("c", "a\nb"),),
    ),
    "mcp": (
        {**HOSTED, "type": "mcp_call", "name": "ask", "arguments": "{}", "output": "yes"},
        (ToolCall("x_1", "ask", "{}", server=True), ToolResult("x_1", "yes")),
    ),
    "mcp failed": (
        {**HOSTED, "type": "mcp_call", "name": "ask", "arguments": "{}", "error": "gone"},
        (ToolCall("x_1", "ask", "{}", server=True), ToolResult("x_1", "gone", is_error=True)),
    ),
    "web search": (
        {
            **HOSTED,
            "type": "web_search_call",
            "action": {"url": "u", "type": "open", "x": None, "n": 0},
        },
        (ToolCall("x_1", "web_search", '{"n":0,"type":"open","url":"u"}', server=True),),
    ),
    "file search": (
        {**HOSTED, "type": "file_search_call", "queries": ["q"], "results": [{"text": "found"}]},
        (ToolCall("x_1", "file_search", '["q"]', server=True), ToolResult("x_1", "found")),
    ),
    "code": (
        {
            **HOSTED,
            "type": "code_interpreter_call",
            "code": "1+1",
            "outputs": [{"type": "logs", "logs": "2"}, {"type": "image", "url": "https://x/y"}],
        },
        (
            ToolCall("x_1", "code_interpreter", "1+1", server=True),
            ToolResult("x_1", "2", media=(Media(digest("https://x/y"), "image"),)),
        ),
    ),
    "image": (
        {**HOSTED, "type": "image_generation_call", "result": "QUJD", "output_format": "png"},
        (
            ToolCall("x_1", "image_generation", "", server=True),
            ToolResult("x_1", "", media=(Media(digest("QUJD"), "image/png", 4),)),
        ),
    ),
    "compaction": (
        {"type": "compaction", "encrypted_content": "gA"},
        (Other("compaction", digest('{"encrypted_content":"gA","type":"compaction"}')),),
    ),
    "reference": ({"id": "msg_1"}, (Other("item_reference", digest('{"id":"msg_1"}')),)),
}


@pytest.mark.parametrize("name", ITEMS)
def test_every_item_is_read_alike_in_input_and_output(name):
    """The parts of an item do not depend on where it stands."""
    item, parts = ITEMS[name]
    assert request(input=[item]).messages[0].parts == parts
    assert reply(item).message == Message("assistant", parts)


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "mcp_list_tools"}, "assistant"),
        ({"type": "mcp_approval_request"}, "assistant"),
        ({"type": "mcp_approval_response"}, "user"),
        ({"type": "function_call_output"}, "tool"),
        ({"type": "tool_search_output", "execution": "server"}, "assistant"),
        ({"type": "brand_new_output"}, "tool"),
        ({"type": "brand_new", "role": "critic"}, "critic"),
        ({"content": "Hi"}, "user"),
        (7, ""),
    ],
)
def test_an_item_without_role_belongs_to_who_made_it(item, role):
    """The client its tools' results, the provider the rest."""
    assert [message.role for message in request(input=[item]).messages] == [role]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("bare", Text("bare")),
        ({"type": "input_file", "file_data": "QUJD"}, Media(digest("QUJD"), "file", 4)),
        (
            {"type": "input_image", "image_url": {"url": "https://x/y"}},
            Media(digest("https://x/y"), "image"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
            Media(digest("QUJD"), "audio/wav", 4),
        ),
        ({"type": "hologram"}, Other("hologram", digest('{"type":"hologram"}'))),
        (None, Other("", digest("null"))),
    ],
)
def test_parts_of_a_message(part, expected):
    """Words are kept, media digested, the rest named."""
    message = {"role": "user", "content": [part]}
    assert request(input=[message]).messages == (Message("user", (expected,)),)
