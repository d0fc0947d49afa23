"""The parser of OpenAI's Responses API, given what no client or server should send."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter.calls import LLMReply, LLMRequest, ParseError, ToolCall
from perimeter.dialects.openai_responses_parser import (
    OpenAIResponsesStream,
    parse_reply,
    parse_request,
)
from perimeter.framing import format_sse


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
PART = {"type": "output_text", "text": "a", "image_url": {"url": "u"}, "refusal": "r"}
ITEM = {
    "type": "message",
    "id": "i",
    "call_id": "c",
    "role": "user",
    "name": "n",
    "content": [PART],
    "summary": [PART],
    "arguments": "{}",
    "input": "x",
    "code": "x",
    "action": {"type": "t"},
    "queries": ["q"],
    "output": [PART],
    "outputs": [PART],
    "results": [PART],
    "result": "QUJD",
    "tools": [{"name": "n", "tools": [{"name": "m"}]}],
    "status": "failed",
    "error": {"message": "m"},
    "execution": "server",
    "environment": {"type": "t"},
}
BODY = {
    "id": "r",
    "type": "error",
    "model": "m",
    "status": "incomplete",
    "input": [ITEM],
    "output": [ITEM],
    "instructions": [ITEM],
    "tools": [{"type": "function", "function": {"name": "n"}}],
    "conversation": {"id": "c"},
    "previous_response_id": "p",
    "error": {"message": "m"},
    "incomplete_details": {"reason": "r"},
    "usage": {
        "input_tokens": 1,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens_details": {"reasoning_tokens": 1},
    },
}
EVENT = {
    "type": "response.output_text.delta",
    "output_index": 0,
    "content_index": 0,
    "summary_index": 0,
    "item": ITEM,
    "part": PART,
    "delta": "d",
    "text": "t",
    "arguments": "a",
    "error": {"message": "m"},
    "response": BODY,
}
TYPES = [
    *("message", "reasoning", "function_call", "function_call_output", "shell_call_output"),
    *("mcp_call", "tool_search_call", "tool_search_output", "web_search_call", "item_reference"),
    *("code_interpreter_call", "image_generation_call", "computer_call", "mcp_list_tools"),
]
EVENTS = [
    *("response.created", "response.completed", "response.output_item.added", "error", "keepalive"),
    *("response.output_item.done", "response.output_text.delta", "response.refusal.done"),
    *("response.reasoning_summary_text.delta", "response.content_part.done", "response."),
    *("response.function_call_arguments.done", "response.reasoning_summary_part.added"),
]


def places(value, path=()):
    """Return every place in a value."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*path, index))


def put(value, path, new):
    """Return a copy with something else in one place."""
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def spoilt(value):
    """Return a strategy: the value with arbitrary JSON in one of its places."""
    return st.builds(
        lambda path, new: put(value, path, new), st.sampled_from([*places(value)]), VALUES
    )


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(TYPES).flatmap(lambda kind: spoilt(put(BODY, ("input", 0, "type"), kind))))
def test_anything_anywhere_in_a_body_is_tolerated(value):
    """Only a body that is no object can't be read."""
    if isinstance(value, dict):
        value = {**value, "output": value.get("input")}
    body = json.dumps(value).encode()
    for parse in (parse_request, parse_reply):
        try:
            hash(repr(parse(body)))
        except ParseError:
            assert not isinstance(value, dict)
        else:
            assert isinstance(value, dict)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(EVENTS).flatmap(lambda kind: spoilt(put(EVENT, ("type",), kind))),
        min_size=1,
        max_size=5,
    ),
    st.booleans(),
)
def test_anything_anywhere_in_an_event_is_tolerated(events, answered):
    """Only an event that is no object can't be read, and the next one is read all the same."""
    stream = OpenAIResponsesStream()
    for value in events:
        if isinstance(value, dict) and not answered:
            value.pop("response", None)
        try:
            stream.feed(format_sse(json.dumps(value)))
        except ParseError:
            assert not isinstance(value, dict)
        assert isinstance(stream.reply(), LLMReply)


@pytest.mark.parametrize("body", [b"", b"  ", b"{", b"7", b"null", b'"x"', b"\xff", b"%PDF-1.7"])
def test_what_is_no_json_object_is_a_parse_error(body):
    """The one error there is."""
    for parse in (parse_request, parse_reply):
        with pytest.raises(ParseError):
            parse(body)
    if body.strip():
        with pytest.raises(ParseError):
            OpenAIResponsesStream().feed(b"data: " + body + b"\n\n")


@pytest.mark.parametrize("depth", [100, 400, 900, 1_000_000])
@pytest.mark.parametrize("bracket", ["[]", '{"output":}'])
def test_nested_brackets_end_in_no_recursion_error(depth, bracket):
    """Deep nesting is read, or is a parse error."""
    opening, closing = bracket[:-1], bracket[-1]
    depth = min(depth, 1_000_000 // len(opening))
    nested = opening * depth + ("0" if closing == "}" else "") + closing * depth
    part = f'{{"type":"x","content":{nested},"output":{nested}}}'
    for item in (nested, part, part.replace('"x"', '"function_call_output"')):
        body = f'{{"input":[{item}],"output":[{item}],"instructions":{nested}}}'.encode()
        for parse in (parse_request, parse_reply):
            try:
                parse(body)
            except ParseError:
                pass


def test_text_that_can_not_be_encoded_is_read():
    """Lone surrogates, bytes that are not UTF-8, and keys that come twice."""
    body = rb'{"input":"no","input":[{"role":"user","content":[{"type":"\ud800","x":"\udfff"}]},'
    body += rb'{"type":"function_call","call_id":"c","arguments":{"\ud800":1}},"' + b'\xff"]}'
    parsed = parse_request(body)
    assert [message.role for message in parsed.messages] == ["user", "assistant", "user"]
    assert parse_reply(body.replace(b'"input":[', b'"output":[')).message is not None
    OpenAIResponsesStream().feed(b"data: " + body + b"\n\n")


def test_numbers_beyond_64_bits_are_read():
    """They are as good a tool's arguments as any."""
    call = b'{"type":"function_call","arguments":{"a":%s}}' % (b"9" * 30)
    message = parse_reply(b'{"output":[%s]}' % call).message
    assert message is not None
    (part,) = message.parts
    assert isinstance(part, ToolCall)
    assert part.arguments.startswith('{"a":9')


def test_long_ids_and_long_histories_are_read():
    """10,000 characters of an id, 50,000 messages."""
    items = [{"role": "user", "content": str(number)} for number in range(50_000)]
    parsed = parse_request(
        json.dumps({"input": items, "previous_response_id": "r" * 10_000}).encode()
    )
    assert isinstance(parsed, LLMRequest)
    assert len(parsed.messages) == 50_000
    assert len(parsed.previous_response_id) == 10_000
