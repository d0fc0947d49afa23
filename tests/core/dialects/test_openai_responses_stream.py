"""The stream parser of OpenAI's Responses API."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter.calls import LLMReply, Message, ParseError, Text, Thinking, ToolCall, Usage
from perimeter.dialects.openai_responses_parser import OpenAIResponsesStream, parse_reply
from perimeter.framing import cutter, format_sse
from responses_stream import response_events


def parse(*pieces: bytes) -> LLMReply:
    """Feed a stream, cut into pieces anyhow."""
    cut, stream = cutter("sse"), OpenAIResponsesStream()
    for event in [event for piece in pieces for event in cut.feed(piece)] + [cut.flush()]:
        stream.feed(event)
    return stream.reply()


def write(events, *, named=True):
    """Return events as a stream."""
    return b"".join(format_sse(json.dumps(e), e["type"] if named else "") for e in events)


TEXTS = st.text(max_size=12)
IDS = st.text("abc_1", min_size=1, max_size=4)


def parts(*kinds):
    """Parts of the given types."""
    return st.lists(
        st.builds(
            lambda kind, text: {"type": kind, "refusal" if kind == "refusal" else "text": text},
            st.sampled_from(kinds),
            TEXTS,
        ),
        max_size=3,
    )


def item(kind, **fields):
    """Items of a type."""
    return st.fixed_dictionaries(
        {"type": st.just(kind), "id": IDS, "status": st.just("completed"), **fields}
    )


ITEMS = st.one_of(
    item("message", role=st.just("assistant"), content=parts("output_text", "refusal")),
    item("reasoning", summary=parts("summary_text"), encrypted_content=TEXTS),
    item("reasoning", summary=st.just([]), content=parts("reasoning_text")),
    item("function_call", call_id=IDS, name=IDS, arguments=TEXTS),
    item("custom_tool_call", call_id=IDS, name=IDS, input=TEXTS),
    item("mcp_call", name=IDS, arguments=TEXTS, output=TEXTS | st.none()),
    item("code_interpreter_call", code=TEXTS, outputs=st.none()),
)
COUNTS = st.integers(0, 10**6)
USAGE = st.fixed_dictionaries(
    {
        "input_tokens": COUNTS,
        "input_tokens_details": st.fixed_dictionaries({"cached_tokens": COUNTS}),
        "output_tokens": COUNTS,
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": COUNTS}),
    }
)
RESPONSES = st.fixed_dictionaries(
    {
        "id": IDS,
        "object": st.just("response"),
        "model": IDS,
        "status": st.sampled_from(["completed", "incomplete", "failed"]),
        "incomplete_details": st.just({"reason": "max_output_tokens"}),
        "output": st.lists(ITEMS, max_size=4),
        "usage": USAGE | st.none(),
        "error": st.none() | st.just({"code": "server_error", "message": "Broken."}),
    }
)

NOISE = [
    b": keep-alive\n\n",
    b'event: keepalive\ndata: {"type":"keepalive","sequence_number":1}\n\n',
    b'data: {"type":"response.brand_new.delta","delta":"x","output_index":0}\n\n',
    b"data: [DONE]\n\n",
    b'data: {"type":"response.output_text.annotation.added","output_index":0}\n\n',
]


@st.composite
def streams(draw):
    """A response, and its stream cut into pieces."""
    response = draw(RESPONSES)
    events = [
        write([event], named=draw(st.booleans()))
        for event in response_events(response, output_at_end=draw(st.booleans()))
    ]
    for noise in draw(st.lists(st.sampled_from(NOISE), max_size=3)):
        events.insert(draw(st.integers(0, len(events))), noise)
    data = b"".join(events).replace(b"\n", draw(st.sampled_from([b"\n", b"\r\n", b"\r"])))
    places = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=8))})
    return response, [data[start:end] for start, end in pairwise(places)]


@settings(max_examples=300, deadline=None)
@given(streams())
def test_a_streamed_reply_equals_the_same_one_unstreamed(drawn):
    """However it is cut, whatever ends its lines, whatever else comes in between."""
    response, pieces = drawn
    assert parse(*pieces) == parse_reply(json.dumps(response).encode())


@settings(max_examples=200, deadline=None)
@given(RESPONSES)
def test_an_answer_is_there_before_anything_says_that_it_is_whole(response):
    """Deltas alone, `done` events alone, and parts alone tell the same."""
    expected = parse_reply(json.dumps(response).encode()).message
    for left_out in ((".done", ".completed", ".failed", ".incomplete"), (".delta",)):
        events = [e for e in response_events(response) if not e["type"].endswith(left_out)]
        if ".done" in left_out:
            for event in events:  # nothing but done events would say these
                item = event.get("item") or {}
                if item.get("type") == "mcp_call":
                    item["output"] = response["output"][event["output_index"]]["output"]
        assert parse(write(events)).message == expected


OUTPUT = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "Hm."}, {"type": "summary_text", "text": "Ä"}],
    },
    {
        "type": "message",
        "id": "msg_1",
        "content": [
            {"type": "output_text", "text": "Hi 🙂\r\n\r\ndata: x"},
            {"type": "refusal", "refusal": "No."},
        ],
    },
    {"type": "function_call", "id": "f1", "call_id": "c1", "name": "a", "arguments": '{"x":1}'},
    {"type": "function_call", "id": "f2", "call_id": "c2", "name": "b", "arguments": ""},
]
RESPONSE = {
    "id": "resp_1",
    "model": "gpt-5",
    "status": "completed",
    "output": OUTPUT,
    "usage": {"input_tokens": 3, "output_tokens": 4},
}
ANSWER = Message(
    "assistant",
    (
        Thinking("Hm.\nÄ"),
        Text("Hi 🙂\r\n\r\ndata: x"),
        Text("No."),
        ToolCall("c1", "a", '{"x":1}'),
        ToolCall("c2", "b", ""),
    ),
)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_may_be_cut_at_every_byte(line_end):
    """In two at each place, and into single bytes."""
    data = write(response_events(RESPONSE)).replace(b"\n", line_end)
    expected = LLMReply("resp_1", "gpt-5", ANSWER, "completed", Usage(3, 4))
    assert parse(*(data[place : place + 1] for place in range(len(data)))) == expected
    for place in range(0, len(data), 7):
        assert parse(data[:place], data[place:]) == expected


def test_parallel_calls_may_be_interleaved():
    """Deltas belong to the item that `output_index` says, in its order."""
    events = [*response_events(RESPONSE)][:-1]
    by_item = [[e for e in events if e.get("output_index") == index] for index in (3, 2)]
    mixed = [e for pair in zip(*(e[:3] for e in by_item), strict=True) for e in pair]
    assert parse(write([*mixed, by_item[1][-1]])).message == Message("assistant", ANSWER.parts[3:])


def test_parts_stand_where_their_numbers_say():
    """Even if the second comes first."""
    events = [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 1, "delta": "b"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "a"},
    ]
    assert parse(write(events)).message == Message("assistant", (Text("a"), Text("b")))


def test_what_is_under_way_is_told_by_its_items():
    """The output of a response counts at its end only; after that nothing does."""
    early = {**RESPONSE, "status": "in_progress", "output": OUTPUT[:1]}
    begun = {"type": "response.in_progress", "response": early}
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}
    assert parse(write([begun])).message == Message("assistant", ANSWER.parts[:1])
    assert parse(write([begun, delta])).message == Message("assistant", (Text("Hi"),))
    ended = {"type": "response.completed", "response": RESPONSE}
    reply = parse(write([begun, delta, ended, begun]))
    assert (reply.message, reply.finish_reason) == (ANSWER, "completed")


def test_the_reply_grows_with_the_stream():
    """At any time there is one, as far as it has come."""
    stream, replies = OpenAIResponsesStream(), []
    for event in response_events(RESPONSE):
        stream.feed(write([event]))
        replies.append(stream.reply())
    assert replies[0] == LLMReply("resp_1", "gpt-5", None, "in_progress")
    texts = [reply.message.text for reply in replies if reply.message]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert replies[-1].usage == Usage(3, 4)


def test_a_background_response_is_queued_first():
    """Nothing has been said then, and nothing has gone wrong."""
    queued = {"id": "resp_1", "status": "queued", "output": [], "usage": None}
    reply = parse(write([{"type": "response.queued", "response": queued}]))
    assert reply == LLMReply("resp_1", finish_reason="queued")


def test_an_incomplete_response_says_why():
    """It may be the last event, its output left out."""
    ended = {
        "id": "resp_1",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [],
    }
    delta = {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"}
    reply = parse(write([delta, {"type": "response.incomplete", "response": ended}]))
    assert reply.finish_reason == "max_output_tokens"
    assert reply.message == Message("assistant", (Text("Hi"),))


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'event: error\ndata: {"type":"error","code":"c","message":"Broken."}\n\n', "c"),
        (b'event: error\ndata: {"code":"c","message":"Broken."}\n\n', "c"),
        (b'data: {"type":"error","error":{"type":"t","message":"Broken."}}\n\n', "t"),
        (b'data: {"error":{"message":"Broken."}}\n\n', ""),
        (b'data: {"error":"Broken."}\n\n', ""),
        (
            (
                b'data: {"type":"response.failed","response":{"id":"","status":"failed",'
                b'"output":[],"error":{"code":"server_error","message":"Broken."}}}\n\n'
            ),
            "server_error",
        ),
    ],
)
def test_an_error_in_mid_stream_keeps_what_was_said(event, kind):
    """The half answer is there, its id, and what broke it."""
    begun = write([*response_events({**RESPONSE, "output": OUTPUT[1:2]})][:-1])
    reply = parse(begun, event)
    assert (reply.id, reply.model, reply.error) == ("resp_1", "gpt-5", "Broken.")
    assert reply.error_type == kind
    assert reply.message == Message("assistant", ANSWER.parts[1:3])


def test_a_filter_in_mid_stream():
    """It ends the answer, and is no error."""
    event = b'event: error\ndata: {"error":{"message":"Filtered.","code":"content_filter"}}\n\n'
    reply = parse(event)
    assert (reply.finish_reason, reply.error, reply.error_type) == ("content_filter", "", "")


def test_items_without_numbers_follow_each_other():
    """Servers that leave `output_index` out, or count wrongly, announce and finish in order."""
    events = [e for e in response_events(RESPONSE) if "response" not in e]
    for index in ({}, {"output_index": 0}):
        changed = [{**e, **index} if index else {**e, "output_index": None} for e in events]
        assert parse(write(changed)).message == ANSWER


def test_an_event_that_can_not_be_read_spoils_no_other():
    """The parser says so, and goes on."""
    stream = OpenAIResponsesStream()
    with pytest.raises(ParseError):
        stream.feed(b'data: {"type":"response.output_te\n\n')
    stream.feed(write([{"type": "response.output_text.delta", "delta": "Hi"}]))
    assert stream.reply().message == Message("assistant", (Text("Hi"),))
