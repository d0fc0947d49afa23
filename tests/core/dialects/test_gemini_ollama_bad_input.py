"""The parsers of Gemini's and Ollama's APIs, given what no client or server should send."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import LLMReply, LLMRequest, ParseError, Text
from perimeter.dialects import gemini_parser as gemini
from perimeter.dialects import ollama_parser as ollama
from perimeter.framing import format_sse


PARSERS = [(gemini, gemini.GeminiStream), (ollama, ollama.OllamaStream)]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
MEDIA = [{"inlineData": {"mimeType": "t", "data": "d"}}, {"fileData": {"fileUri": "u"}}]
PARTS = [
    {"text": "a", "thought": True, "thoughtSignature": "E"},
    {"functionCall": {"id": "i", "name": "n", "args": {"a": 1}}},
    {"functionResponse": {"id": "i", "name": "n", "response": {"error": "a"}, "parts": MEDIA}},
    {"toolCall": {"toolType": "t", "args": {}}},
    {"toolResponse": {"toolType": "t", "response": {"a": 1, "b": 2}}},
    {"executableCode": {"language": "l", "code": "c"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "o"}},
    {"newPart": {"a": 1}},
    *MEDIA,
]
GEMINI = {
    "contents": [{"role": "user", "parts": PARTS}, {"role": "model", "parts": PARTS}],
    "systemInstruction": {"parts": [{"text": "a"}]},
    "tools": [{"functionDeclarations": [{"name": "n"}]}],
    "generationConfig": {"temperature": 1, "thinkingConfig": {"thinkingBudget": 1}},
    "candidates": [{"content": {"parts": PARTS}, "finishReason": "STOP", "index": 0}],
    "promptFeedback": {"blockReason": "a", "blockReasonMessage": "b"},
    "usageMetadata": {"promptTokenCount": 1, "thoughtsTokenCount": 1, "totalTokenCount": 2},
    "modelVersion": "m",
    "responseId": "r",
    "error": {"message": "m", "status": "s"},
}
MESSAGE = {
    "role": "assistant",
    "content": "<think>a</think>b",
    "thinking": "t",
    "images": ["d"],
    "tool_calls": [{"id": "i", "function": {"name": "n", "arguments": {"a": 1}}}],
}
OLLAMA = {
    "model": "m",
    "messages": [MESSAGE, {"role": "tool", "tool_name": "n", "content": "a", "images": ["d"]}],
    "tools": [{"function": {"name": "n"}}],
    "options": {"seed": 1},
    "message": MESSAGE,
    "done_reason": "stop",
    "prompt_eval_count": 1,
    "error": {"message": "m"},
}
GENERATE = {
    "prompt": "p",
    "suffix": "s",
    "system": "s",
    "context": [1],
    "images": ["d"],
    "response": "r",
    "thinking": "t",
}


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


CASES = [
    (parser, body, path)
    for parser, body in ((0, GEMINI), (1, OLLAMA), (1, GENERATE))
    for path in places(body)
]


@given(st.sampled_from(CASES), VALUES)
def test_any_value_may_stand_anywhere(case, value):
    """Whatever stands in the place of what is known, the rest is read."""
    index, whole, path = case
    parser, stream_of = PARSERS[index]
    body = json.dumps(replaced(whole, path, value)).encode()
    hash((parser.parse_request(body).messages, parser.parse_reply(body)))
    stream = stream_of()
    for event in (body + b"\n", body + b"\n"):
        stream.feed(event)
        hash(stream.reply())


@given(st.binary(max_size=64) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_object_is_a_parse_error_and_nothing_else(body):
    """Any bytes are read, or refused in the one way that callers know."""
    for parser, stream_of in PARSERS:
        calls = [
            (parser.parse_request, body, LLMRequest),
            (parser.parse_reply, body, LLMReply),
            (stream_of().feed, body, type(None)),
            (stream_of().feed, b"data: " + body + b"\n\n", type(None)),
        ]
        for call, given_body, kind in calls:
            try:
                assert isinstance(call(given_body), kind)
            except ParseError:
                pass


UNREADABLE = [b"", b"null", b'"text"', b"{", b"[" * 1_000_000, b'{"a":' * 200_000]


@pytest.mark.parametrize("body", UNREADABLE)
@pytest.mark.parametrize("parser", [gemini, ollama])
def test_what_cannot_be_read(parser, body):
    """Broken JSON, JSON of another kind, and a megabyte of nested brackets."""
    for parse in (parser.parse_request, parser.parse_reply):
        with pytest.raises(ParseError):
            parse(body)


DEEP = [
    (gemini, '{"candidates": [{"content": {"parts": [{"functionCall": {"args": %s}}]}}]}'),
    (gemini, '{"candidates": [{"content": {"parts": [{"toolResponse": {"response": %s}}]}}]}'),
    (gemini, '{"candidates": [{"content": {"parts": [{"new": %s}]}}]}'),
    (gemini, '{"error": %s}'),
    (ollama, '{"message": {"tool_calls": [{"function": {"arguments": %s}}]}}'),
    (ollama, '{"error": %s}'),
]


@pytest.mark.parametrize(("parser", "body"), DEEP)
@pytest.mark.parametrize("number", ["7", "7" * 30])
def test_deep_nesting_inside_does_no_harm(parser, body, number):
    """What can be read as JSON, if only just, must not fail later, at any depth."""
    refused = []
    for depth in range(400, 1100, 3):
        try:
            parser.parse_reply((body % ("[" * depth + number + "]" * depth)).encode())
        except ParseError:
            refused.append(depth)
    assert 400 not in refused


REQUESTS = [
    (gemini, b'{"systemInstruction": "a%sb", "contents": [{"role": "model", "parts": "c"}]}'),
    (ollama, b'{"system": "a%sb", "messages": [{"role": "user", "content": "c"}]}'),
]


@pytest.mark.parametrize(("parser", "body"), REQUESTS)
@pytest.mark.parametrize("odd", [b"\xff", b"\\ud83d"])
def test_text_that_is_no_unicode_is_replaced(parser, body, odd):
    """Invalid UTF-8 and half of a surrogate pair: the rest is text, and can be encoded."""
    found = parser.parse_request(body % odd)
    assert found.system[0] + found.system[-1] == "ab"
    assert found.system.encode()
    assert found.messages[0].parts == (Text("c"),)


@pytest.mark.parametrize("parser", [gemini, ollama])
def test_of_duplicate_names_the_last_counts(parser):
    """As for the providers' own readers."""
    assert parser.parse_request(b'{"model": "a", "model": "b"}').model == "b"


def test_very_long_conversations_and_ids():
    """50,000 messages, and ids of 10,000 characters, are read like any others."""
    call = {"functionCall": {"id": "i" * 10_000, "name": "n"}}
    contents = [{"role": "model", "parts": [{"text": "a"}]}] * 50_000
    body = json.dumps({"contents": [*contents, {"role": "model", "parts": [call]}]}).encode()
    (message,) = gemini.parse_request(body).messages
    assert message.text == "a" * 50_000
    assert message.parts[-1].id == "i" * 10_000
    messages = [{"role": "user", "content": "a"}] * 50_000
    found = ollama.parse_request(json.dumps({"messages": messages}).encode())
    assert len(found.messages) == 50_000


@pytest.mark.parametrize("arguments", ["{broken", None, [1], 2**80])
def test_arguments_may_be_no_object(arguments):
    """Text stays as it is, and other values are their JSON."""
    said = arguments if isinstance(arguments, str) else json.dumps(arguments)
    part = {"functionCall": {"name": "n", "args": arguments}}
    reply = {"candidates": [{"content": {"parts": [part]}}]}
    stream = gemini.GeminiStream()
    stream.feed(format_sse(json.dumps(reply)))
    assert stream.reply().message.parts[0].arguments == ("{}" if arguments is None else said)
    call = {"function": {"name": "n", "arguments": arguments}}
    body = json.dumps({"message": {"tool_calls": [call]}}).encode()
    found = ollama.parse_reply(body).message.parts[0].arguments
    assert found == ("" if arguments is None else said)
