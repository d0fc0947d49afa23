"""The parser of Anthropic's Messages API: streams."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import (
    LLMReply,
    Message,
    ParseError,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from perimeter.dialects.anthropic_parser import AnthropicStream, parse_reply
from perimeter.framing import format_sse


def sse(**data):
    return format_sse(json.dumps(data), data["type"])


def start(index, block):
    return sse(type="content_block_start", index=index, content_block=block)


def delta(index, kind, **fields):
    return sse(type="content_block_delta", index=index, delta={"type": kind, **fields})


def parsed(*events):
    stream = AnthropicStream()
    for event in events:
        stream.feed(event)
    return stream.reply()


BEGIN = sse(
    type="message_start",
    message={
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 1},
    },
)
PING = sse(type="ping")

# One stream as the provider sends it, with everything that was seen in streams.
FULL = [
    BEGIN,
    start(0, {"type": "thinking", "thinking": "", "signature": ""}),
    PING,
    delta(0, "thinking_delta", thinking="H"),
    delta(0, "thinking_delta", thinking="m"),
    delta(0, "signature_delta", signature="Er"),
    sse(type="content_block_stop", index=0),
    start(1, {"type": "thinking", "thinking": "", "signature": ""}),
    delta(1, "signature_delta", signature="Er"),
    start(2, {"type": "redacted_thinking", "data": "Ev"}),
    start(3, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}),
    delta(3, "input_json_delta", partial_json=""),
    delta(3, "input_json_delta", partial_json='{"que'),
    delta(3, "input_json_delta", partial_json='ry": "q"}'),
    start(
        4,
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s1",
            "content": [{"type": "web_search_result", "title": "T", "url": "https://a.test/"}],
        },
    ),
    start(5, {"type": "text", "text": "", "citations": []}),
    delta(5, "citations_delta", citation={"cited_text": "x"}),
    delta(5, "text_delta", text="It "),
    delta(5, "text_delta", text="is."),
    start(6, {"type": "tool_use", "id": "t1", "name": "now", "input": {}, "caller": {}}),
    delta(6, "input_json_delta", partial_json=""),
    sse(
        type="message_delta",
        delta={"stop_reason": "tool_use", "stop_sequence": None},
        usage={"input_tokens": 30, "cache_read_input_tokens": 5, "output_tokens": 7},
        context_management={"applied_edits": []},
    ),
    sse(type="message_stop"),
]


def test_a_stream_is_understood():
    """Every kind of block is put together, and usage that is repeated is counted once."""
    assert parsed(*FULL) == LLMReply(
        id="msg_1",
        model="claude-x",
        message=Message(
            "assistant",
            (
                Thinking("Hm"),
                Thinking(""),
                Thinking(""),
                ToolCall("s1", "web_search", '{"query":"q"}', server=True),
                ToolResult("s1", "T\nhttps://a.test/"),
                Text("It is."),
                ToolCall("t1", "now", "{}"),
            ),
        ),
        finish_reason="tool_use",
        usage=Usage(35, 7, cache_read=5),
    )


def test_a_compaction_in_a_stream_is_the_same_part():
    """The summary comes in a delta of its own kind."""
    block = {"type": "compaction", "content": "Summary"}
    whole = parse_reply(json.dumps({"type": "message", "content": [block]}).encode())
    streamed = parsed(
        sse(type="message_start", message={}),
        start(0, {"type": "compaction", "content": None}),
        delta(0, "compaction_delta", content="Summary"),
    )
    assert streamed == whole


def test_an_error_in_mid_stream_is_kept_beside_what_came():
    """The words so far and their usage count, and the error is told."""
    error = {"type": "overloaded_error", "message": "Overloaded"}
    found = parsed(*FULL[:5], sse(type="error", error=error))
    assert (found.error, found.error_type) == ("Overloaded", "overloaded_error")
    assert found.message == Message("assistant", (Thinking("Hm"),))
    assert found.usage == Usage(15, 1, cache_read=5)
    assert found.finish_reason == ""


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (format_sse('{"error": {"message": "no"}}', "error"), "no"),
        (format_sse('{"error": "no"}'), "no"),
        (format_sse("upstream is gone", "error"), "upstream is gone"),
        (format_sse("{}", "error"), "error"),
    ],
)
def test_errors_of_other_servers_are_errors_too(event, message):
    """They may lack the type, be named by the event alone, or be no JSON."""
    assert parsed(event) == LLMReply(error=message)


def test_arguments_that_never_become_json_are_kept():
    """A call that was cut off has the text that came."""
    found = parsed(
        start(0, {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
        delta(0, "input_json_delta", partial_json='{"a": [1'),
    )
    assert found.message == Message("assistant", (ToolCall("t", "n", '{"a": [1'),))


def test_servers_that_speak_a_dialect_of_it_are_understood():
    """No names of events, no starts of blocks, no indexes, one index for all, and `[DONE]`."""
    found = parsed(
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}\n\n',
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"b"}}\n\n',
        start(0, {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}}),
        b'event: content_block_delta\ndata: {"delta":{"type":"new_delta"}}\n\n',
        b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"}}\n\n',
        b"data: [DONE]\n\n",
    )
    assert found == LLMReply(
        message=Message("assistant", (Text("ab"), ToolCall("t", "n", '{"a":1}'))),
        finish_reason="end_turn",
    )


def test_a_whole_message_may_be_one_event():
    """Servers that do not really stream send all of it at once."""
    message = {"type": "message", "id": "m", "content": [{"type": "text", "text": "Hi"}]}
    assert parsed(sse(**message)) == parse_reply(json.dumps(message).encode())


def test_counters_are_replaced_but_not_emptied():
    """Zeroes in the place of the prompt's size are no news; the answer's tokens may become 0."""
    end = {"input_tokens": 0, "cache_read_input_tokens": None, "output_tokens": 0}
    found = parsed(BEGIN, sse(type="message_delta", delta={}, usage=end))
    assert found.usage == Usage(15, 0, cache_read=5)


def test_a_reply_can_be_asked_for_at_any_time():
    """It only grows; asking changes nothing."""
    stream = AnthropicStream()
    assert stream.reply() == LLMReply()
    for event in FULL:
        stream.feed(event)
        assert stream.reply() == stream.reply()
    assert stream.reply() == parsed(*FULL)


def test_an_event_that_cannot_be_read_is_passed_over():
    """It is told to the caller, without its content; the next ones are read."""
    stream = AnthropicStream()
    stream.feed(BEGIN)
    with pytest.raises(ParseError) as caught:
        stream.feed(b'data: {"type": "secret\n\n')
    assert "secret" not in str(caught.value)
    stream.feed(start(0, {"type": "text", "text": "a"}))
    assert stream.reply().message == Message("assistant", (Text("a"),))
