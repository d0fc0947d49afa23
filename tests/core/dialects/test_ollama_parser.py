"""The parser of Ollama's chat and generate: requests, replies, lines of a stream."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import (
    LLMReply,
    Media,
    Message,
    Other,
    ParseError,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from perimeter.dialects.ollama_parser import OllamaStream, parse_reply, parse_request
from perimeter.dialects.parsing import digest
from perimeter.framing import cutter


DATA = Path(__file__).parents[2] / "data"

# The fields of the last line, and what they mean by docs.ollama.com/api: tokens of the prompt and
# of the answer, thoughts included; a count of 0 is left out.
USAGES = [
    ({"prompt_eval_count": 26, "eval_count": 298}, Usage(input=26, output=298)),
    ({"eval_count": 298}, Usage(output=298)),
    ({"prompt_eval_count": 26}, Usage(input=26)),
    ({"prompt_eval_count": "26", "eval_count": True}, None),
    ({"total_duration": 5, "prompt_eval_duration": 6, "eval_duration": 7}, None),
    ({}, None),
]


@pytest.mark.parametrize(("fields", "usage"), USAGES)
def test_tokens(fields, usage):
    """Durations stand beside them, and count for nothing."""
    assert parse_reply(json.dumps({"done": True, **fields}).encode()).usage == usage


CHAT = {
    "model": "l-1",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?", "images": ["QUJD", "REVG"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "Hm",
            "tool_calls": [
                {"function": {"name": "look", "arguments": {"at": "é"}}},
                {"id": "c1", "function": {"index": 1, "name": "go", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "look", "content": "A cat.", "images": ["R0hJ"]},
        {"role": "tool", "tool_call_id": "c1", "tool_name": "go", "content": "Gone."},
    ],
    "tools": [{"type": "function", "function": {"name": "look"}}, {"name": "go"}],
    "options": {"temperature": 0.5, "stop": ["x"]},
    "keep_alive": "5m",
    "think": True,
    "format": {"type": "object"},
}


def test_a_chat():
    """Each part of it has its place; a stream is asked for unless it says otherwise."""
    found = parse_request(json.dumps(CHAT).encode(), "/api/chat")
    calls = (ToolCall("", "look", '{"at":"é"}'), ToolCall("c1", "go", "{}"))
    images = tuple(Media(digest(data), "image", 4) for data in ("QUJD", "REVG", "R0hJ"))
    assert found.messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("What is it?"), *images[:2])),
        Message("assistant", (Thinking("Hm"), *calls)),
        Message("tool", (ToolResult("look", "A cat.", media=images[2:]),)),
        Message("tool", (ToolResult("c1", "Gone."),)),
    )
    assert (found.model, found.system, found.tools) == ("l-1", "Be brief.", ("look", "go"))
    assert found.params == {"temperature": 0.5, "keep_alive": "5m", "think": True}


@pytest.mark.parametrize(("said", "stream"), [({}, True), ({"stream": None}, True)])
def test_streams_are_what_it_does_unless_told_not_to(said, stream):
    """Unlike every other API."""
    assert parse_request(json.dumps(said).encode()).stream is stream
    assert not parse_request(b'{"stream": false}').stream


def test_generate():
    """The prompt is a message of the user; the context stands for the conversation before it."""
    body = {"model": "l", "prompt": "a", "suffix": "b", "system": "s", "images": ["Q"], "raw": True}
    found = parse_request(json.dumps(body).encode(), "/api/generate")
    assert found.messages == (
        Message("user", (Text("a"), Text("b"), Media(digest("Q"), "image", 1))),
    )
    assert (found.model, found.system, found.params) == ("l", "s", {"raw": True})
    after = parse_request(json.dumps({"prompt": "a", "context": [1, 2]}).encode())
    assert after.messages == (Message("user", (Other("context", digest("[1,2]")), Text("a"))),)


def test_a_model_that_is_only_loaded():
    """Nothing is said, by either side."""
    assert parse_request(b'{"model": "l", "prompt": "", "context": []}').messages == ()
    found = parse_reply(b'{"model": "l", "response": "", "done": true, "done_reason": "load"}')
    assert found == LLMReply(model="l", message=Message("assistant"), finish_reason="load")


def test_replies():
    """Of chat and of generate."""
    end = {"model": "l", "done": True, "done_reason": "stop", "eval_count": 2}
    chat = {"message": {"role": "assistant", "content": "a", "thinking": "t"}, **end}
    expected = LLMReply(
        model="l",
        message=Message("assistant", (Thinking("t"), Text("a"))),
        finish_reason="stop",
        usage=Usage(output=2),
    )
    assert parse_reply(json.dumps(chat, indent=1).encode()) == expected
    generate = {"response": "a", "thinking": "t", "context": [1], **end}
    assert parse_reply(json.dumps(generate).encode()) == expected


def test_thoughts_that_are_left_in_the_text():
    """Where nobody asked for them to be taken out; the user's text stays as it is."""
    text = "\n<think>\nHm\n</think>\n\nYes."
    said = {"content": text}
    reply = parse_reply(json.dumps({"message": said}).encode())
    assert reply.message.parts == (Thinking("Hm"), Text("Yes."))
    roles = [{"role": role, **said} for role in ("assistant", "user")]
    again, user = parse_request(json.dumps({"messages": roles}).encode()).messages
    assert again == reply.message
    assert user.parts == (Text(text),)
    whole = parse_reply(b'{"response": "<think></think>Yes."}').message
    assert whole.parts == (Text("Yes."),)


@pytest.mark.parametrize(
    ("error", "message", "kind"),
    [
        ("No.", "No.", ""),
        ({"message": "No.", "type": "api_error"}, "No.", "api_error"),
        ({"a": 1}, '{"a":1}', ""),
    ],
)
def test_errors(error, message, kind):
    """Alone, and after the beginning of a stream."""
    body = json.dumps({"error": error}).encode()
    assert parse_reply(body) == LLMReply(error=message, error_type=kind)
    stream = OllamaStream()
    stream.feed(b'{"response": "a"}\n')
    stream.feed(body + b"\n")
    said = Message("assistant", (Text("a"),))
    assert stream.reply() == LLMReply(message=said, error=message, error_type=kind)


WORDS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
CALLS = st.fixed_dictionaries(
    {
        "function": st.fixed_dictionaries(
            {"name": WORDS, "arguments": st.dictionaries(WORDS, VALUES, max_size=3)}
        )
    },
    optional={"id": WORDS},
)
COUNTS = {"prompt_eval_count": st.integers(1, 10**6), "eval_count": st.integers(1, 10**6)}
ANSWERS = st.fixed_dictionaries(
    {
        "text": WORDS | WORDS.map(lambda word: f"<think>{word}</think> {word}"),
        "thinking": WORDS,
        "calls": st.lists(CALLS, max_size=3),
        "end": st.fixed_dictionaries(
            {"done_reason": st.sampled_from(["stop", "length"])}, optional=COUNTS
        ),
    }
)


def line(answer, api, *, done=False, text="", thinking="", calls=()):
    """Write a line as either API does, or all of a reply."""
    end = answer["end"] if done else {}
    if api == "generate":
        return {"model": "l", "response": text, "thinking": thinking, "done": done, **end}
    message = {"role": "assistant", "content": text, "thinking": thinking}
    if calls:
        message["tool_calls"] = list(calls)
    return {"model": "l", "message": message, "done": done, **end}


def unstreamed(answer, api):
    whole = {name: answer[name] for name in ("text", "thinking", "calls")}
    return line(answer, api, done=True, **whole)


def streamed(answer, api, size):
    for name in ("thinking", "text"):
        for at in range(0, len(answer[name]), size):
            yield line(answer, api, **{name: answer[name][at : at + size]})
    for call in answer["calls"]:
        yield line(answer, api, calls=[call])
    yield line(answer, api, done=True)


def parse(data, at=()):
    """Return what is parsed from a stream that comes in parts, cut at these places."""
    stream, lines = OllamaStream(), cutter("ndjson")
    for begin, end in itertools.pairwise([0, *sorted(at), len(data)]):
        for event in lines.feed(data[begin:end]):
            stream.feed(event)
    if rest := lines.flush():
        stream.feed(rest)
    return stream.reply()


APIS = st.sampled_from(["chat", "generate"])
ENDS = st.sampled_from(["\n", "\r\n", "\n\n", '\n{"new_field": 1}\n'])


@given(ANSWERS, APIS, st.integers(1, 5), ENDS, st.data())
def test_a_stream_equals_the_reply_that_is_not_streamed(answer, api, size, end, data):
    """However the server divides the answer and the network the bytes; also read as a whole."""
    lines = streamed(answer, api, size)
    body = "".join(json.dumps(entry, ensure_ascii=False) + end for entry in lines).encode()
    at = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    expected = parse_reply(json.dumps(unstreamed(answer, api)).encode())
    assert parse(body, at) == expected
    assert parse_reply(body) == expected


@pytest.mark.parametrize("sample", ["ndjson.txt", "ndjson_thinking.txt"])
def test_a_stream_may_be_cut_at_every_byte(sample):
    """Each of two halves, and all bytes one by one, give the same reply."""
    body = (DATA / sample).read_bytes()
    expected = parse(body)
    assert all(parse(body, [at]) == expected for at in range(len(body)))
    assert parse(body, range(len(body))) == expected


def test_the_samples():
    """Written by hand after recordings."""
    calls = (ToolCall("", "look_up", '{"q":"}{"}'),)
    message = Message("assistant", (Text("Hel\nlo"), *calls))
    end = {"model": "l-1", "finish_reason": "stop", "usage": Usage(input=9, output=2)}
    assert parse((DATA / "ndjson.txt").read_bytes()) == LLMReply(message=message, **end)
    calls = (ToolCall("c1", "add", '{"a":1,"b":2}'), ToolCall("c2", "add", '{"a":3,"b":4}'))
    message = Message("assistant", (Thinking("One, naïve."), Text("Sum:"), *calls))
    assert parse((DATA / "ndjson_thinking.txt").read_bytes()) == LLMReply(message=message, **end)


def test_after_a_line_that_cannot_be_read():
    """The parser goes on; the reply can be asked for at any time."""
    stream = OllamaStream()
    assert stream.reply() == LLMReply()
    for broken in (b"{\n", b"[]\n", b"1\n", b"<html>"):
        with pytest.raises(ParseError):
            stream.feed(broken)
    for nothing in (b"\r\n", b"\n"):
        stream.feed(nothing)
    stream.feed(b'{"response": "a"}\n')
    assert stream.reply().message.text == "a"
