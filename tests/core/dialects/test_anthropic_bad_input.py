"""The parser of Anthropic's Messages API, given what no client or server should send."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import LLMReply, LLMRequest, ParseError, Text, ToolCall
from perimeter.dialects.anthropic_parser import AnthropicStream, parse_reply, parse_request
from perimeter.framing import format_sse


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
BLOCK = {
    "type": "tool_result",
    "text": "a",
    "thinking": "a",
    "id": "i",
    "name": "n",
    "input": {"a": 1},
    "tool_use_id": "i",
    "is_error": True,
    "source": {"type": "base64", "media_type": "image/png", "data": "QUJD", "content": []},
    "content": [{"type": "image", "source": {"type": "url", "url": "u"}}, {"file_id": "f"}],
}
KINDS = [
    "text",
    "thinking",
    "tool_use",
    "tool_result",
    "x_tool_result",
    "image",
    "container_upload",
    "new",
]
USAGE = {
    "input_tokens": 1,
    "cache_read_input_tokens": 1,
    "cache_creation": {"a": 1},
    "output_tokens": 1,
    "output_tokens_details": {"thinking_tokens": 1},
    "iterations": [{"type": "compaction", "input_tokens": 1}],
}
BODY = {
    "id": "i",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "system": [{"type": "text", "text": "a"}],
    "tools": [{"name": "n"}],
    "messages": [{"role": "user", "content": [{**BLOCK, "type": kind}, "a"]} for kind in KINDS],
    "content": [{**BLOCK, "type": kind} for kind in KINDS],
    "stop_reason": "end_turn",
    "usage": USAGE,
    "error": {"type": "t", "message": "m"},
    "input_tokens": 1,
}
EVENTS = [
    {"type": "message_start", "message": {**BODY, "content": [BLOCK]}},
    {"type": "content_block_start", "index": 1, "content_block": {**BLOCK, "type": "tool_use"}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": "{"},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE},
    {"type": "error", "error": {"type": "t", "message": "m"}},
]


def places(value, path=()):
    """Yield the path to every value inside."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def replaced(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


@given(st.sampled_from(list(places(BODY))), VALUES)
def test_any_value_may_stand_anywhere_in_a_body(path, value):
    """Whatever stands in the place of what is known, the rest is read."""
    body = json.dumps(replaced(BODY, path, value)).encode()
    hash((parse_request(body).messages, parse_reply(body)))


@given(st.sampled_from(list(places(EVENTS))), VALUES)
def test_any_value_may_stand_anywhere_in_a_stream(path, value):
    """Only an event that is no object at all can't be read; the others are."""
    stream = AnthropicStream()
    for event in replaced(EVENTS, path, value):
        try:
            stream.feed(format_sse(json.dumps(event)))
        except ParseError:
            assert not isinstance(event, dict)
        hash(stream.reply())


@given(st.binary(max_size=64) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_object_is_a_parse_error_and_nothing_else(body):
    """Any bytes are read, or refused in the one way that callers know."""
    for parse, kind in ((parse_request, LLMRequest), (parse_reply, LLMReply)):
        try:
            assert isinstance(parse(body), kind)
        except ParseError:
            pass
    try:
        AnthropicStream().feed(b"data: " + body + b"\n\n")
    except ParseError:
        pass


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"text"', b"{", b"[" * 1_000_000, b'{"a":' * 200_000]
)
def test_what_cannot_be_read(body):
    """Broken JSON, JSON of another kind, and a megabyte of nested brackets."""
    with pytest.raises(ParseError):
        parse_request(body)
    with pytest.raises(ParseError):
        parse_reply(body)


@pytest.mark.parametrize("kind", [*KINDS, "document"])
@pytest.mark.parametrize("number", ["7", "7" * 30])
def test_deep_nesting_inside_does_no_harm(kind, number):
    """What can be read as JSON, if only just, must not fail later, at any depth."""
    refused = []
    for depth in range(400, 1100, 3):
        deep = "[" * depth + number + "]" * depth
        source = f'{{"content": {deep}}}'
        block = f'{{"type": "{kind}", "input": {deep}, "source": {source}, "x": {deep}}}'
        try:
            parse_reply(f'{{"content": [{block}]}}'.encode())
        except ParseError:
            refused.append(depth)
    assert 400 not in refused


def test_deep_results_of_tools_do_no_harm():
    """Of content inside content, only the levels that a provider's own tools have are looked at."""
    block = {"type": "text", "text": "deep"}
    for _ in range(400):
        block = {"type": "new", "text": "a", "content": [block]}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    found = parse_reply(json.dumps({"content": [result]}).encode()).message.parts[0]
    assert set(found.text.split("\n")) == {"a"}


def test_text_that_is_no_unicode_is_replaced():
    """Invalid UTF-8 and half of a surrogate pair: the rest is text, and can be encoded."""
    for odd in (b"\xff", b"\\ud83d"):
        body = b'{"system": "a%sb", "messages": [{"role": "user", "content": "c"}]}' % odd
        found = parse_request(body)
        assert found.system[0] + found.system[-1] == "ab"
        assert found.system.encode()
        assert found.messages[0].parts == (Text("c"),)


def test_numbers_of_any_size_do_no_harm():
    """Beside text that only a lenient reader reads, so that large integers come as such."""
    body = b'{"messages": [{"content": [{"type": "new", "a": "\xff", "b": %d}, {}]}]}' % 10**80
    found = parse_request(body).messages[0].parts
    assert found[0].digest not in {"", found[1].digest}


def test_of_duplicate_names_the_last_counts():
    """As for the provider's own reader."""
    assert parse_request(b'{"model": "a", "model": "b"}').model == "b"


def test_arguments_may_be_no_object():
    """Text stays as it is, null is nothing, and other values are their JSON."""
    given = ["{broken", None, [1], 2**80]
    blocks = [{"type": "tool_use", "id": "i" * 10_000, "input": value} for value in given]
    reply = parse_reply(json.dumps({"content": blocks}).encode())
    assert reply.message.parts == tuple(
        ToolCall("i" * 10_000, "", text) for text in ("{broken", "", "[1]", str(2**80))
    )
