"""The parser of Anthropic's Messages API: streams equal to replies."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.dialects.anthropic_parser import AnthropicStream, parse_reply
from perimeter.framing import cutter, format_sse


def sse(**data):
    return format_sse(json.dumps(data, ensure_ascii=False), data["type"])


def start(index, block):
    return sse(type="content_block_start", index=index, content_block=block)


def delta(index, kind, **fields):
    return sse(type="content_block_delta", index=index, delta={"type": kind, **fields})


PING = sse(type="ping")
WORDS = st.text(max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
CALLS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["tool_use", "server_tool_use", "mcp_tool_use"]),
        "id": WORDS,
        "name": WORDS,
        "input": st.dictionaries(WORDS, VALUES, max_size=3),
    }
)
PARTS = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": WORDS}),
    st.fixed_dictionaries(
        {"type": st.just("thinking"), "thinking": WORDS, "signature": st.just("Er")}
    ),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": WORDS}),
    CALLS,
    st.fixed_dictionaries(
        {"type": st.just("mcp_tool_result"), "tool_use_id": WORDS, "content": WORDS}
    ),
)
TOKENS = st.integers(0, 10**6)
ANSWERS = st.fixed_dictionaries(
    {
        "type": st.just("message"),
        "id": WORDS,
        "role": st.just("assistant"),
        "model": WORDS,
        "content": st.lists(PARTS, max_size=4),
        "stop_reason": st.sampled_from(["end_turn", "tool_use", "max_tokens", "pause_turn"]),
        "usage": st.fixed_dictionaries(
            {
                "input_tokens": TOKENS,
                "cache_read_input_tokens": TOKENS,
                "cache_creation_input_tokens": TOKENS,
                "output_tokens": TOKENS,
                "output_tokens_details": st.fixed_dictionaries({"thinking_tokens": TOKENS}),
            }
        ),
    }
)
NOISE = [
    b": keep-alive\n\n",
    PING,
    sse(type="new_event", index=0),
    delta(0, "new_delta", text="x"),
    b"id: 7\nretry: 10\n\n",
]


def pieces(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


def streamed_block(index, block, size):
    growing = {"text": "text_delta", "thinking": "thinking_delta", "input": "input_json_delta"}
    field = next((name for name in growing if name in block), "")
    if not field:
        return [start(index, block)]
    empty, text = ({}, json.dumps(block[field])) if field == "input" else ("", block[field])
    if block[field] == {}:
        text = ""
    name = "partial_json" if field == "input" else field
    deltas = [delta(index, growing[field], **{name: piece}) for piece in pieces(text, size)]
    return [start(index, {**block, field: empty}), *deltas, sse(type="content_block_stop")]


def streamed(answer, size):
    begun = {**answer["usage"], "output_tokens": 1}
    del begun["output_tokens_details"]
    message = {**answer, "content": [], "stop_reason": None, "usage": begun}
    yield sse(type="message_start", message=message)
    for index, block in enumerate(answer["content"]):
        yield from streamed_block(index, block, size)
    end = {"stop_reason": answer["stop_reason"], "stop_sequence": None}
    yield sse(type="message_delta", delta=end, usage=answer["usage"])
    yield sse(type="message_stop")


def cut(data, at):
    """Return what is parsed from a stream that comes in parts, cut at these places."""
    stream, events = AnthropicStream(), cutter("sse")
    places = [0, *sorted(at), len(data)]
    for begin, end in itertools.pairwise(places):
        for event in events.feed(data[begin:end]):
            stream.feed(event)
    rest = events.flush()  # where lines end with CR alone, the last event waits for more
    if rest:
        stream.feed(rest)
    return stream.reply()


@given(ANSWERS, st.integers(1, 5), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_a_stream_equals_the_reply_that_is_not_streamed(answer, size, line_end, data):
    """However the provider divides the answer and the network the bytes, whatever comes between."""
    events = []
    for event in streamed(answer, size):
        events += [event, data.draw(st.sampled_from([b"", *NOISE]))]
    body = b"".join(events).replace(b"\n", line_end)
    at = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    assert cut(body, at) == parse_reply(json.dumps(answer).encode())


EVERY_KIND = {
    "type": "message",
    "id": "msg_1",
    "model": "claude-x",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "Er"},
        {"type": "redacted_thinking", "data": "Ev"},
        {"type": "text", "text": "naïve 🙂"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "é"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "T"}]},
        {"type": "tool_use", "id": "t1", "name": "now", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {
        "input_tokens": 1,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 1},
    },
}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_at_every_byte(line_end):
    """Each of two halves, and all bytes one by one, give the same reply."""
    body = b"".join([*NOISE, *streamed(EVERY_KIND, 3)]).replace(b"\n", line_end)
    expected = parse_reply(json.dumps(EVERY_KIND).encode())
    assert all(cut(body, [at]) == expected for at in range(len(body)))
    assert cut(body, range(len(body))) == expected
