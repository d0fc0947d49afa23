"""Chat completions: a stream says what the same answer says unstreamed; nothing makes it fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import ParseError
from perimeter.dialects import openai_chat_parser as chat
from perimeter.dialects import openai_text_parser as text_api
from perimeter.framing import cutter


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("abc_", min_size=1, max_size=5)
pieces = st.lists(words, max_size=4)
tokens = st.integers(0, 10_000)
calls = st.lists(st.tuples(names, pieces), max_size=3)
usages = st.none() | st.fixed_dictionaries(
    {
        "prompt_tokens": tokens,
        "completion_tokens": tokens,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": tokens}),
        "completion_tokens_details": st.fixed_dictionaries({"reasoning_tokens": tokens}),
    }
)
answers = st.fixed_dictionaries(
    {
        "content": pieces,
        "reasoning_content": pieces,
        "refusal": pieces,
        "calls": calls,
        "usage": usages,
        "reason": st.sampled_from(["stop", "tool_calls", "length"]),
    }
)
STREAMED = ("reasoning_content", "content", "refusal")


def unstreamed(answer):
    message = {"role": "assistant"} | {name: "".join(answer[name]) for name in STREAMED}
    message["tool_calls"] = [
        {"id": f"t{i}", "type": "function", "function": {"name": name, "arguments": "".join(given)}}
        for i, (name, given) in enumerate(answer["calls"])
    ]
    choice = {"index": 0, "message": message, "finish_reason": answer["reason"]}
    return {"id": "c1", "model": "m", "choices": [choice], "usage": answer["usage"]}


def deltas(answer):
    yield {"role": "assistant", "content": ""}
    for name in STREAMED:
        yield from ({name: piece} for piece in answer[name])
    for index, (name, arguments) in enumerate(answer["calls"]):
        function = {"name": name, "arguments": ""}
        yield {"tool_calls": [{"index": index, "id": f"t{index}", "function": function}]}
        for piece in arguments:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def chunks(answer):
    head = {"id": "c1", "model": "m", "usage": None}
    for delta in deltas(answer):
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": answer["reason"]}]}
    yield {**head, "choices": [], "usage": answer["usage"]}


def write(values, line_end):
    events = [": ping", "event: other", *(f"data: {json.dumps(value)}" for value in values)]
    return "".join(event + line_end * 2 for event in [*events, "data: [DONE]"]).encode()


def read(body, cuts, stream):
    cut, start = cutter("sse"), 0
    for end in [*sorted(cuts), len(body)]:
        for event in cut.feed(body[start:end]):
            stream.feed(event)
        start = max(start, end)
    stream.feed(cut.flush())
    return stream.reply()


line_ends = st.sampled_from(["\n", "\r\n", "\r"])


@given(answers, line_ends, st.lists(st.integers(0, 3000), max_size=20))
def test_a_stream_equals_the_same_answer_unstreamed(answer, line_end, cuts):
    """However the stream is cut, and whatever its line ends are, the reply is the same."""
    body = write(chunks(answer), line_end)
    cuts = [min(cut, len(body)) for cut in cuts]
    expected = chat.parse_reply(json.dumps(unstreamed(answer)).encode())
    assert read(body, cuts, chat.OpenAIChatStream()) == expected
    assert chat.parse_reply(body) == expected


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_stream_cut_at_every_byte(line_end):
    """At each boundary of a stream with everything in it, and at all of them at once."""
    answer = {
        "content": ["Grüße ", "😀"],
        "reasoning_content": ["so"],
        "refusal": [],
        "calls": [("f", ['{"a"', ":1}"]), ("g", [])],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
        "reason": "tool_calls",
    }
    body = write(chunks(answer), line_end)
    expected = chat.parse_reply(json.dumps(unstreamed(answer)).encode())
    for cuts in [range(len(body)), *([cut] for cut in range(len(body)))]:
        assert read(body, cuts, chat.OpenAIChatStream()) == expected


@given(pieces, usages, line_ends)
def test_a_legacy_stream_equals_the_same_answer_unstreamed(content, usage, line_end):
    """The same holds for legacy completions."""
    head = {"id": "c1", "model": "m"}
    choices = [{"index": 0, "text": piece, "finish_reason": None} for piece in content]
    last = {"index": 0, "text": "", "finish_reason": "stop"}
    events = [{**head, "choices": [choice]} for choice in [*choices, last]]
    body = write([*events, {**head, "choices": [], "usage": usage}], line_end)
    whole = {**head, "choices": [{**last, "text": "".join(content)}], "usage": usage}
    expected = text_api.parse_reply(json.dumps(whole).encode())
    assert read(body, [7, 40], text_api.OpenAITextStream()) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "text", "function", "arguments", "id", "index", "url", "data"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
FIELDS = [
    "role",
    "content",
    "tool_calls",
    "function_call",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "refusal",
    "audio",
    "images",
    "executed_tools",
    "index",
    "finish_reason",
    "error",
    "text",
    "usage",
    "id",
    "model",
    "choices",
    "messages",
    "prompt",
    "input",
    "tools",
    "functions",
    "x_groq",
    "value",
    "image_url",
    "input_audio",
    "file",
    "source",
    "message",
    "detail",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "stream",
    "suffix",
]
objects = st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=6)


@given(objects, objects, objects)
def test_nothing_else_is_ever_raised(top, choice, message):
    """Any JSON in any place is read somehow, by all of the parsers."""
    choice = {**choice, "message": message, "delta": message}
    whole = json.dumps({**top, "choices": [choice, top], "messages": [message, top]}).encode()
    for body in (whole, json.dumps(top).encode()):
        for api in (chat, text_api):
            api.parse_request(body)
            api.parse_reply(body)
        stream = chat.OpenAIChatStream()
        for event in (b"data: %s\n\n" % body, b"event: error\ndata: %s\n\n" % body):
            stream.feed(event)
        stream.reply()


@given(st.binary(max_size=60), st.sampled_from([b"", b"data: ", b'{"choices": [{"delta": ']))
def test_any_bytes_are_read_or_refused(data, prefix):
    """Bytes that are anything at all raise nothing but the one documented error."""
    readers = [
        chat.parse_request,
        chat.parse_reply,
        text_api.parse_request,
        text_api.parse_reply,
        chat.OpenAIChatStream().feed,
    ]
    for reader in readers:
        try:
            reader(prefix + data)
        except ParseError:
            pass
