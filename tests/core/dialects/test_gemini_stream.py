"""The parser of Gemini's streamGenerateContent: streams equal to replies, in both framings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import LLMReply, Message, ParseError, Text, Thinking, ToolCall, Usage
from perimeter.dialects.gemini_parser import GeminiStream, parse_reply
from perimeter.framing import cutter, format_sse


DATA = Path(__file__).parents[2] / "data"
WORDS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
CALLS = st.fixed_dictionaries(
    {"name": WORDS},
    optional={"id": WORDS, "args": st.dictionaries(WORDS, VALUES, max_size=3)},
)
PARTS = st.one_of(
    st.fixed_dictionaries({"text": WORDS}, optional={"thoughtSignature": WORDS}),
    st.fixed_dictionaries({"text": WORDS, "thought": st.just(True)}),
    st.fixed_dictionaries({"functionCall": CALLS}, optional={"thoughtSignature": WORDS}),
    st.fixed_dictionaries(
        {"inlineData": st.fixed_dictionaries({"mimeType": WORDS, "data": WORDS})}
    ),
    st.fixed_dictionaries(
        {"executableCode": st.fixed_dictionaries({"language": WORDS, "code": WORDS})}
    ),
)
TOKENS = st.integers(0, 10**6)
NAMES = ("candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount")
ANSWERS = st.fixed_dictionaries(
    {
        "parts": st.lists(PARTS, max_size=5),
        "reason": st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", 1, 2, 9]),
        "usage": st.fixed_dictionaries(
            {"promptTokenCount": TOKENS},
            optional=dict.fromkeys((*NAMES, "cachedContentTokenCount"), TOKENS),
        ),
        "modelVersion": WORDS,
        "responseId": WORDS,
    }
)


def unstreamed(answer):
    """Write an answer as generateContent does."""
    content = {"role": "model", "parts": answer["parts"]}
    reply = {name: answer[name] for name in ("modelVersion", "responseId")}
    candidate = {"content": content, "finishReason": answer["reason"], "index": 0}
    return {"candidates": [candidate], "usageMetadata": answer["usage"], **reply}


def pieces(part, size):
    """Divide a text; the signature comes with an empty one, after it."""
    text = part.get("text")
    if text is None:
        return [part]
    beside = {"thought": True} if part.get("thought") else {}
    divided = [{"text": text[at : at + size], **beside} for at in range(0, len(text), size)]
    if "thoughtSignature" in part:
        divided.append({"text": "", "thoughtSignature": part["thoughtSignature"]})
    return divided or [part]


def streamed(answer, size):
    """Write the same answer as streamGenerateContent does; all tokens are told of in the end."""
    begun = {"promptTokenCount": answer["usage"]["promptTokenCount"], "candidatesTokenCount": 0}
    reply = {name: answer[name] for name in ("modelVersion", "responseId")}
    for part in answer["parts"]:
        for piece in pieces(part, size):
            content = {"role": "model", "parts": [piece]}
            yield {"candidates": [{"content": content}], "usageMetadata": begun, **reply}
    end = {"content": {"role": "model"}, "finishReason": answer["reason"], "index": 0}
    yield {"candidates": [end], "usageMetadata": answer["usage"], **reply}


def parse(framing, data, at=()):
    """Return what is parsed from a stream that comes in parts, cut at these places."""
    stream, events = GeminiStream(), cutter(framing)
    for begin, end in itertools.pairwise([0, *sorted(at), len(data)]):
        for event in events.feed(data[begin:end]):
            stream.feed(event)
    if rest := events.flush():
        stream.feed(rest)
    return stream.reply()


NOISE = [b": keep-alive\n\n", b"id: 7\nretry: 10\n\n", b'data: {"newField": {}}\n\n']


@given(ANSWERS, st.integers(1, 5), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_a_stream_equals_the_reply_that_is_not_streamed(answer, size, line_end, data):
    """However the provider divides the answer and the network the bytes, whatever comes between."""
    events = []
    for chunk in streamed(answer, size):
        events += [format_sse(json.dumps(chunk)), data.draw(st.sampled_from([b"", *NOISE]))]
    body = b"".join(events).replace(b"\n", line_end)
    at = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    assert parse("sse", body, at) == parse_reply(json.dumps(unstreamed(answer)).encode())


@given(ANSWERS, st.integers(1, 5), st.sampled_from([None, 2]), st.data())
def test_a_json_array_equals_the_reply_that_is_not_streamed(answer, size, indent, data):
    """Element by element, and read as a whole."""
    chunks = [json.dumps(chunk, indent=indent) for chunk in streamed(answer, size)]
    body = ("[" + "\r\n,\r\n".join(chunks) + "\n]").encode()
    at = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    expected = parse_reply(json.dumps(unstreamed(answer)).encode())
    assert parse("json-array", body, at) == expected
    assert parse_reply(body) == expected


EVERY_KIND = {
    "parts": [
        {"text": "Hm, é", "thought": True},
        {"text": "naïve 🙂", "thoughtSignature": "Er"},
        {"functionCall": {"name": "look", "args": {"q": '}]{["\\'}}},
        {"functionCall": {"name": "look"}},
        {"executableCode": {"language": "PYTHON", "code": "1\n2"}},
        {"text": "end"},
    ],
    "reason": "STOP",
    "usage": {"promptTokenCount": 4, "candidatesTokenCount": 5, "thoughtsTokenCount": 6},
    "modelVersion": "gemini-x",
    "responseId": "r",
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_at_every_byte(line_end):
    """Each of two halves, and all bytes one by one, give the same reply."""
    events = [format_sse(json.dumps(chunk)) for chunk in streamed(EVERY_KIND, 4)]
    body = b"".join([*NOISE, *events]).replace(b"\n", line_end)
    expected = parse_reply(json.dumps(unstreamed(EVERY_KIND)).encode())
    assert all(parse("sse", body, [at]) == expected for at in range(len(body)))
    assert parse("sse", body, range(len(body))) == expected


def test_a_json_array_may_be_cut_at_every_byte():
    """The bracket and the commas belong to the elements that they stand before."""
    chunks = [json.dumps(chunk, ensure_ascii=False) for chunk in streamed(EVERY_KIND, 4)]
    body = f"[{','.join(chunks)}]".encode()
    expected = parse_reply(json.dumps(unstreamed(EVERY_KIND)).encode())
    assert all(parse("json-array", body, [at]) == expected for at in range(len(body)))
    assert parse("json-array", body, range(len(body))) == expected


def test_the_samples():
    """Those of the framings, written by hand after recordings."""
    found = parse("sse", (DATA / "sse_crlf.txt").read_bytes())
    assert [type(part) for part in found.message.parts][-1] is ToolCall
    assert found.finish_reason == "STOP"
    body = (DATA / "json_array.json").read_bytes()
    said = Message("assistant", (Text('a ] } " \\[[{{\\"]'),))
    assert parse("json-array", body) == LLMReply("", "", said, "STOP", Usage(input=4))


@pytest.mark.parametrize(
    ("sample", "framing"), [("sse_pretty_error.txt", "sse"), ("json_error.json", "json-array")]
)
def test_errors_in_place_of_a_stream(sample, framing):
    """JSON, pretty perhaps, whatever the content type says."""
    body = (DATA / sample).read_bytes()
    found = parse(framing, body)
    assert found.error
    assert found.error_type.isupper()
    assert found == parse_reply(body)
    assert found == LLMReply(error=found.error, error_type=found.error_type)


def test_an_error_in_an_array_of_its_own():
    """As it comes where no `alt=sse` was asked for, in any framing."""
    body = json.dumps([{"error": {"code": 429, "message": "Slow down."}}], indent=2).encode()
    for framing in ("sse", "json-array"):
        assert parse(framing, body) == LLMReply(error="Slow down.", error_type="429")


def chunk(*parts, **fields):
    candidate = {"content": {"role": "model", "parts": parts}, **fields}
    return format_sse(json.dumps({"candidates": [candidate]}))


def test_an_error_in_the_middle():
    """What came before it stays."""
    overloaded = {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}
    error = format_sse(json.dumps({"error": overloaded}))
    found = parse("sse", chunk({"text": "a"}) + error)
    said = Message("assistant", (Text("a"),))
    assert found == LLMReply(message=said, error="Overloaded.", error_type="UNAVAILABLE")
    again = format_sse(json.dumps({"error": {"message": "Closed."}}))
    both = parse("sse", error + again)
    assert (both.error, both.error_type) == ("Overloaded.", "UNAVAILABLE")


def test_candidates_are_kept_apart():
    """They may come in turns; the first of them is the reply, even if it comes last."""
    events = [
        chunk({"text": "x"}, index=1),
        chunk({"text": "a"}),
        chunk({"text": "y"}, index=1, finishReason="SAFETY"),
        chunk({"text": "b"}, index=0, finishReason="STOP"),
    ]
    found = parse("sse", b"".join(events))
    assert (found.message.text, found.finish_reason) == ("ab", "STOP")


def test_a_stream_that_is_filtered():
    """A candidate without content ends it; the words before are there."""
    end = format_sse('{"candidates": [{"finishReason": "SAFETY"}]}')
    found = parse("sse", chunk({"text": "a"}, finishReason=0) + end)
    assert (found.message.text, found.finish_reason) == ("a", "SAFETY")


def test_the_reason_stays():
    """Chunks after it may have none, and no more than tokens to tell."""
    events = [chunk({"text": "a"}, finishReason="STOP"), chunk({"text": ""})]
    assert parse("sse", b"".join(events)).finish_reason == "STOP"


def test_the_reply_so_far():
    """It can be asked for at any time, and is not changed by what comes later."""
    stream = GeminiStream()
    assert stream.reply() == LLMReply()
    stream.feed(chunk({"text": "a", "thought": True}))
    early = stream.reply()
    stream.feed(chunk({"text": "b"}))
    assert early.message.parts == (Thinking("a"),)
    assert stream.reply().message.parts == (Thinking("a"), Text("b"))


def test_tokens_that_later_chunks_leave_out():
    """They stay as they were; those that come again are not added."""
    first = {"promptTokenCount": 5, "candidatesTokenCount": 1, "cachedContentTokenCount": 4}
    events = [{"usageMetadata": usage} for usage in (first, {"promptTokenCount": 5}, {})]
    body = b"".join(format_sse(json.dumps(event)) for event in events)
    assert parse("sse", body).usage == Usage(input=5, output=1, cache_read=4)


def test_after_an_event_that_cannot_be_read():
    """The parser goes on."""
    stream = GeminiStream()
    for broken in (b"data: {\n\n", b"data: 1\n\n", b',{"a"'):
        with pytest.raises(ParseError):
            stream.feed(broken)
    for nothing in (b"\n]", b"", b"\r\n\r\n", b"data: [DONE]\n\n", b"data:\n\n"):
        stream.feed(nothing)
    stream.feed(chunk({"text": "a"}))
    assert stream.reply().message.text == "a"
