"""The parser of OpenAI's Responses API: requests, replies, and input that is none."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import (
    LLMReply,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from perimeter.dialects.openai_responses_parser import (
    parse_reply,
    parse_request,
)


# From OpenAI's reference of `usage`: input_tokens has cached_tokens in it, and what was written to
# the cache; output_tokens has reasoning_tokens in it.
USAGES = {
    "plain": ({"input_tokens": 11, "output_tokens": 7, "total_tokens": 18}, Usage(11, 7)),
    "details": (
        {
            "input_tokens": 2006,
            "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 64},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 256},
            "total_tokens": 2306,
        },
        Usage(2006, 300, cache_read=1920, cache_write=64, reasoning=256),
    ),
    "xai": (
        {
            "input_tokens": 32,
            "input_tokens_details": {"cached_tokens": 6},
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 8},
            "total_tokens": 41,
            "num_sources_used": 3,
            "cost_in_usd_ticks": 429500,
            "context_details": {"input_tokens": 500, "output_tokens": 500},
        },
        Usage(32, 9, cache_read=6, reasoning=8),
    ),
    "nulls": ({"input_tokens": 5, "output_tokens": None, "input_tokens_details": None}, Usage(5)),
    "no numbers": ({"input_tokens": True, "output_tokens": "7"}, Usage()),
    "none": (None, None),
    "empty": ({}, None),
}


def request(**fields):
    """Parse a request."""
    return parse_request(json.dumps(fields).encode())


def reply(*output, **fields):
    """Parse a reply with an output."""
    status = {"id": "resp_1", "status": "completed", "model": "gpt-5"}
    return parse_reply(json.dumps({**status, "output": output, **fields}).encode())


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_normalised(name):
    """Tokens mean the same as for every other provider."""
    usage, expected = USAGES[name]
    assert reply(usage=usage).usage == expected


def test_a_string_is_the_words_of_the_user():
    """The shortest request there is, with everything else around it."""
    parsed = request(
        model="gpt-5",
        input="Hi",
        instructions="Be kind.",
        temperature=0.5,
        store=False,
        stream=True,
        user=None,
        reasoning={"effort": "low"},
        previous_response_id="resp_0",
        conversation="conv_1",
    )
    assert parsed.messages == (Message("user", (Text("Hi"),)),)
    assert (parsed.model, parsed.system, parsed.stream) == ("gpt-5", "Be kind.", True)
    assert parsed.params == {"temperature": 0.5, "store": False}
    assert (parsed.previous_response_id, parsed.conversation) == ("resp_0", "conv_1")


def test_a_conversation_may_be_an_object():
    """Both ways to name a stored conversation give its id."""
    assert request(conversation={"id": "conv_1"}).conversation == "conv_1"
    assert request(conversation=None).conversation == ""


def test_instructions_and_leading_system_messages_are_the_system_prompt():
    """A list of items is what stored prompts echo; messages later on lead nothing."""
    items = [
        {"role": "developer", "content": "Two."},
        {
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "Three."}],
        },
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "Late."},
    ]
    parsed = request(instructions=[{"role": "system", "content": "One."}], input=items)
    assert parsed.system == "One.\nTwo.\nThree."
    assert [message.role for message in parsed.messages] == [
        "developer",
        "system",
        "user",
        "system",
    ]


def test_a_stored_prompt_needs_no_input():
    """There is nothing to be read, and that is no error."""
    parsed = request(prompt={"id": "pmpt_1", "variables": {"city": "Rome"}})
    assert (parsed.model, parsed.messages) == ("", ())


def test_tools_are_told_by_name_label_or_type():
    """Also those in a namespace, and those that an item of the input adds."""
    tools = [
        {"type": "function", "name": "add"},
        {"type": "custom", "name": "sql"},
        {"type": "mcp", "server_label": "wiki"},
        {"type": "web_search"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "sub"}]},
        None,
    ]
    more = {"type": "additional_tools", "role": "developer", "tools": [{"name": "late"}]}
    parsed = request(input=[more], tools=tools)
    assert parsed.tools == ("add", "sql", "wiki", "web_search", "sub", "late")
    assert parsed.messages[0].role == "developer"
    assert request(input="x", tools=None).tools == ()


CALL = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add"}


def test_what_the_model_made_is_one_message():
    """Reasoning and parallel calls come back in the history as the message they were as a reply."""
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Wait"}]},
        {**CALL, "arguments": '{"a":1}'},
        {**CALL, "call_id": "call_2", "arguments": '{"a":'},
    ]
    results = [
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "function_call_output", "call_id": "call_2", "output": "2"},
    ]
    answer = reply(*output).message
    assert answer == Message(
        "assistant",
        (
            Thinking(""),
            Text("Wait"),
            ToolCall("call_1", "add", '{"a":1}'),
            ToolCall("call_2", "add", '{"a":'),
        ),
    )
    assert request(input=[{"role": "user", "content": "?"}, *output, *results]).messages[1:] == (
        answer,
        Message("tool", (ToolResult("call_1", "1"),)),
        Message("tool", (ToolResult("call_2", "2"),)),
    )


@pytest.mark.parametrize(
    ("fields", "reason", "error"),
    [
        ({"status": "completed"}, "completed", ""),
        ({"status": "queued", "usage": None, "background": True}, "queued", ""),
        ({"status": "in_progress"}, "in_progress", ""),
        ({"status": "cancelled"}, "cancelled", ""),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
            "",
        ),
        ({"status": "incomplete", "incomplete_details": None}, "incomplete", ""),
        ({"status": "failed", "error": {"code": "c", "message": "Broken."}}, "failed", "Broken."),
        ({"status": "failed", "error": None}, "failed", "failed"),
    ],
)
def test_a_reply_that_is_none_yet_or_never(fields, reason, error):
    """What is not complete has no message, and says why."""
    parsed = reply(**fields)
    assert (parsed.finish_reason, parsed.error, parsed.message) == (reason, error, None)
    assert (parsed.id, parsed.model) == ("resp_1", "gpt-5")
    assert parsed.error_type == ("c" if error == "Broken." else "")


@pytest.mark.parametrize(
    ("body", "error", "kind"),
    [
        ({"error": {"message": "Bad key.", "code": "bad_key"}}, "Bad key.", "bad_key"),
        ({"error": {"message": None, "code": "c", "type": "t"}}, "c", "t"),
        ({"error": {}}, "error", ""),
        ({"code": "invalid-argument", "error": "Bad key."}, "Bad key.", "invalid-argument"),
        ({"message": "Bad region."}, "Bad region.", ""),
        ({"detail": "Not Found"}, "Not Found", ""),
    ],
)
def test_bodies_of_errors(body, error, kind):
    """OpenAI's, xAI's and those of gateways in front of them."""
    parsed = parse_reply(b"\n\n " + json.dumps(body).encode())
    assert (parsed.error, parsed.message, parsed.usage) == (error, None, None)
    assert parsed.error_type == kind


def test_a_filter_is_no_error():
    """A prompt that a filter stopped is one reason to finish, as a filtered answer is."""
    body = {"error": {"message": "Filtered.", "type": None, "code": "content_filter"}}
    assert parse_reply(json.dumps(body).encode()) == LLMReply(finish_reason="content_filter")
