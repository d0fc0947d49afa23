"""The parser of Anthropic's Messages API: whole requests, replies, counts and errors."""

from __future__ import annotations

import json
import random

import pytest

from perimeter.calls import LLMReply, LLMRequest, Message, Other, Text, Thinking, ToolCall, Usage
from perimeter.dialects.anthropic_parser import parse_reply, parse_request


def request(**fields):
    return parse_request(json.dumps(fields).encode())


def reply(**fields):
    return parse_reply(json.dumps(fields).encode())


def test_a_request_is_understood():
    """Everything that a request says is where the model of a call has its place for it."""
    assert request(
        model="claude-x",
        max_tokens=64,
        temperature=0.5,
        stream=True,
        stop_sequences=["\n"],
        thinking={"type": "enabled", "budget_tokens": 1024},
        system="Be brief.",
        tools=[
            {"name": "add", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            {"type": "mcp_toolset", "mcp_server_name": "files"},
            {"type": "new_kind"},
            "odd",
        ],
        messages=[{"role": "user", "content": "Hi"}],
    ) == LLMRequest(
        model="claude-x",
        messages=(Message("user", (Text("Hi"),)),),
        system="Be brief.",
        tools=("add", "web_search", "files", "new_kind"),
        params={"max_tokens": 64, "temperature": 0.5},
        stream=True,
    )


def test_a_system_prompt_may_be_a_list():
    """Its blocks are the lines of one text, whatever else they say."""
    system = [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral", "ttl": "5m"}},
    ]
    assert request(system=system).system == "One.\nTwo."
    assert request(system=None).system == ""


def test_system_messages_inside_the_conversation_stay_there():
    """Instructions and tools that are added later are messages, in their place."""
    added = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "add"}}
    messages = request(
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}, added]},
        ]
    ).messages
    assert [message.role for message in messages] == ["user", "system"]
    assert messages[1].parts[0] == Text("Be brief.")
    assert messages[1].parts[1].type == "tool_addition"


def test_a_prefilled_answer_is_the_last_message():
    """What the model is to go on from is a message of the assistant, as it was sent."""
    last = request(
        messages=[
            {"role": "user", "content": "JSON!"},
            {"role": "assistant", "content": [{"type": "text", "text": "{"}]},
        ]
    ).messages[-1]
    assert last == Message("assistant", (Text("{"),))


def test_odd_messages_do_no_harm():
    """Content that is null, absent, a single block or a bare string, and messages that are none."""
    assert request(
        messages=[
            {"role": "user", "content": None},
            {"role": "user"},
            {"content": {"type": "text", "text": "a"}},
            {"role": 7, "content": ["b", {"type": "text", "text": None}]},
            "c",
        ]
    ).messages == (
        Message("user"),
        Message("user"),
        Message("", (Text("a"),)),
        Message("", (Text("b"), Text(""))),
        Message("", (Text("c"),)),
    )


def test_the_digest_of_an_unknown_block_lasts():
    """Neither the order of names, nor a cache mark that moves, nor nulls make it another one."""
    (one,), (two,), (other,) = (
        message.parts
        for message in request(
            messages=[
                {"content": [{"type": "new", "a": {"x": 1, "y": 2}, "n": None}]},
                {"content": [{"cache_control": {}, "a": {"y": 2, "x": 1}, "type": "new"}]},
                {"content": [{"type": "new", "a": {"x": 1, "y": 3}}]},
            ]
        ).messages
    )
    assert isinstance(one, Other)
    assert one.type == "new"
    assert one == two
    assert one != other


def test_a_reply_is_understood():
    """Thinking, text and a call come in their order, with the reason it ended and its usage."""
    assert reply(
        type="message",
        id="msg_1",
        model="claude-x",
        role="assistant",
        content=[
            {"type": "thinking", "thinking": "Hm", "signature": "Er"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
        ],
        stop_reason="tool_use",
        stop_sequence=None,
        usage={"input_tokens": 3, "output_tokens": 5},
    ) == LLMReply(
        id="msg_1",
        model="claude-x",
        message=Message(
            "assistant", (Thinking("Hm"), Text("Let me see."), ToolCall("t1", "add", '{"a":1}'))
        ),
        finish_reason="tool_use",
        usage=Usage(3, 5),
    )


@pytest.mark.parametrize("content", [[], None])
def test_an_empty_answer_is_a_message_all_the_same(content):
    """A model may have nothing to say after a tool's result; that is no error."""
    found = reply(type="message", content=content, stop_reason="end_turn")
    assert found == LLMReply(message=Message("assistant"), finish_reason="end_turn")


def test_a_turn_may_pause():
    """The provider's own words for the reason are kept."""
    assert reply(type="message", content=[], stop_reason="pause_turn").finish_reason == "pause_turn"


def test_counted_tokens_are_the_input():
    """A count is usage without a message; what context management would save changes nothing."""
    counted = LLMReply(usage=Usage(input=43))
    assert reply(input_tokens=43) == counted
    managed = {"original_input_tokens": 70}
    assert reply(input_tokens=43, context_management=managed) == counted
    assert reply(input_tokens=0).usage == Usage()
    assert reply(input_tokens="43").usage is None


@pytest.mark.parametrize(
    ("body", "message", "kind"),
    [
        ({"type": "error", "error": {"type": "api_error", "message": "no"}}, "no", "api_error"),
        ({"type": "error", "error": {"type": "api_error"}}, "api_error", "api_error"),
        ({"type": "error", "error": {"odd": 1}}, '{"odd":1}', ""),
        ({"type": "error", "message": "no"}, "no", ""),
        ({"error": {"message": "no", "code": 502}}, "no", "502"),
        ({"error": "no"}, "no", ""),
        ({"message": "no such route"}, "no such route", ""),
    ],
)
def test_errors_say_what_is_wrong(body, message, kind):
    """An error is its message, whatever shape a server gives it, and there is no answer."""
    assert reply(**body) == LLMReply(error=message, error_type=kind)


def test_an_answer_is_no_error():
    """Whatever else is there that has a type or a code."""
    found = reply(type="message", content=[], code=1, stop_reason="refusal")
    assert (found.error, found.error_type) == ("", "")


def test_large_requests_are_read_in_little_time():
    """Many small messages and inline media are both read; time is for the benchmark to judge."""
    words = random.Random(1).choices("abc", k=100_000)
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 1_000_000}}
    messages = [{"role": "user", "content": word} for word in words[:50_000]]
    found = request(messages=[*messages, {"role": "user", "content": [image]}]).messages
    assert len(found) == 50_001
    assert found[-1].parts[0].size == 1_000_000
