"""Chat completions: streams, and the odd shapes of their chunks in real traffic."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import LLMReply, Message, ParseError, Text, ToolCall, Usage
from perimeter.dialects.openai_chat_parser import OpenAIChatStream


def dump(value):
    return json.dumps(value).encode()


def stream(*chunks):
    parser = OpenAIChatStream()
    for chunk in chunks:
        parser.feed(chunk if isinstance(chunk, bytes) else b"data: " + dump(chunk) + b"\n\n")
    return parser.reply()


def delta(fields, **more):
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": fields, **more}]}


def test_azure_begins_with_nothing():
    """The first chunk has empty ids and no choices; the last has only usage."""
    parsed = stream(
        {"id": "", "model": "", "choices": [], "prompt_filter_results": []},
        delta({"role": "assistant", "content": ""}),
        {"choices": [{"index": 0, "content_filter_offsets": {}}]},
        {**delta({"content": "a"}), "id": "c2", "usage": None},
        delta({}, finish_reason="stop"),
        {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 1}},
        b"data: [DONE]\n\n",
    )
    message = Message("assistant", (Text("a"),))
    assert parsed == LLMReply("c1", "m", message, "stop", Usage(2, 1))


def test_odd_deltas():
    """Content that is null or a list, roles repeated, text after the end, extra fields."""
    parsed = stream(
        delta({"role": "assistant", "content": None, "tool_calls": None}),
        delta({"role": "assistant", "content": [{"type": "text", "text": "a"}]}, p="xyz"),
        delta({"content": "b"}, finish_reason="stop"),
        delta({"role": "assistant", "content": "c"}, finish_reason="stop"),
        {"moderation": {}, "choices": []},
    )
    assert parsed.message == Message("assistant", (Text("abc"),))
    assert parsed.finish_reason == "stop"


def test_comments_and_other_events_change_nothing():
    """Keep-alives are passed over, and so are lines without data."""
    assert stream(b": OPENROUTER PROCESSING\n\n", b"event: x\n\n", b"data:\n\n") == LLMReply()


def test_tool_calls_without_a_number():
    """A delta with an id of its own begins a call, one without goes on with the last."""
    calls = [
        {"id": "t1", "function": {"name": "f", "arguments": '{"a"'}},
        {"function": {"arguments": ":1}"}},
        {"id": "t2", "function": {"name": "g", "arguments": None}},
    ]
    parsed = stream(*(delta({"tool_calls": [call]}) for call in calls))
    assert parsed.message.parts == (ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "g", ""))


def test_tool_calls_of_one_number():
    """Gemini's parallel calls are all number 0; each is whole."""
    calls = [{"index": 0, "id": i, "function": {"name": i, "arguments": "{}"}} for i in "ab"]
    parsed = stream(delta({"tool_calls": calls[:1]}), delta({"tool_calls": calls[1:]}))
    assert parsed.message.parts == (ToolCall("a", "a", "{}"), ToolCall("b", "b", "{}"))


def test_names_that_are_repeated():
    """Name and id with every delta are still one name and one id."""
    call = {"index": 0, "id": "t", "function": {"name": "f", "arguments": "x"}}
    parsed = stream(*[delta({"tool_calls": [call]})] * 2)
    assert parsed.message.parts == (ToolCall("t", "f", "xx"),)


def test_several_choices_interleaved():
    """Choices don't mix, and the first is the reply, whichever came first."""
    chunks = [
        {"choices": [{"index": i, "delta": {"content": text}, "finish_reason": reason}]}
        for i, text, reason in [
            (1, "x", None),
            (0, "a", None),
            (1, "y", "length"),
            (0, "b", "stop"),
        ]
    ]
    parsed = stream(*chunks)
    assert (parsed.message.text, parsed.finish_reason) == ("ab", "stop")


@pytest.mark.parametrize(
    "event",
    [
        b'event: error\ndata: {"error": {"message": "boom", "type": "t", "code": "c"}}\n\n',
        b'event: error\ndata: {"message": "boom", "code": "t"}\n\n',
        b'data: {"error": {"message": "boom", "code": "t"}, "choices": [{"delta": {}}]}\n\n',
        b'data: {"choices": [{"delta": {}, "error": {"message": "boom", "type": "t"}}]}\n\n',
        b'{"error": {"message": "boom", "type": "t"}}',
    ],
)
def test_errors_in_mid_stream(event):
    """What came before stays, and the error is told."""
    parsed = stream(delta({"content": "a"}), event)
    assert (parsed.message.text, parsed.error, parsed.error_type) == ("a", "boom", "t")


def test_a_filter_in_mid_stream():
    """It ends the answer, and is no error."""
    filtered = {"error": {"message": "filtered", "code": "content_filter"}}
    parsed = stream(delta({"content": "a"}), filtered)
    assert (parsed.error, parsed.error_type) == ("", "")
    assert (parsed.message.text, parsed.finish_reason) == ("a", "content_filter")


def test_an_error_event_without_a_word():
    """It is one all the same."""
    parsed = stream(b"event: error\ndata: {}\n\n")
    assert (parsed.error, parsed.error_type) == ("error", "")


def test_usage_elsewhere():
    """Groq's stands in `x_groq`, Moonshot's in the choice."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    assert stream({**delta({}), "x_groq": {"usage": usage}}).usage == Usage(1, 2)
    assert stream(delta({}, usage=usage)).usage == Usage(1, 2)


def test_an_event_that_cannot_be_read():
    """It is an error of its own; the stream goes on."""
    parser = OpenAIChatStream()
    parser.feed(b"data: " + dump(delta({"content": "a"})) + b"\n\n")
    with pytest.raises(ParseError):
        parser.feed(b"data: {\n\n")
    parser.feed(b"data: " + dump(delta({"content": "b"})) + b"\n\n")
    assert parser.reply().message.text == "ab"
