"""Chat completions: requests, replies, and the odd shapes of real traffic."""

from __future__ import annotations

import json

import pytest

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
from perimeter.dialects.openai_chat_parser import parse_reply, parse_request
from perimeter.dialects.parsing import digest


def dump(value):
    return json.dumps(value).encode()


def request(*messages, **more):
    return parse_request(dump({"model": "m", "messages": list(messages), **more}))


def reply(message, **more):
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return parse_reply(dump({"id": "c1", "model": "m", "choices": [{**choice, **more}]}))


def parts(message):
    return reply(message).message.parts


class TestRequests:
    def test_a_whole_conversation(self):
        """Every kind of message becomes what it is in the model."""
        call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        parsed = request(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "And kind."}]},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "42"},
            {"role": "system", "content": "Now stop."},
            tools=[
                {"type": "function", "function": {"name": "f"}},
                {"type": "custom", "custom": {"name": "g"}},
                {"type": "web_search"},
            ],
            functions=[{"name": "old"}],
            temperature=0.5,
            stream=True,
            metadata={"a": "b"},
        )
        assert parsed.system == "Be brief.\nAnd kind."
        assert parsed.tools == ("f", "g", "web_search", "old")
        assert parsed.params == {"temperature": 0.5}
        assert parsed.stream
        assert parsed.messages[3:] == (
            Message("assistant", (ToolCall("t1", "f", "{}"),)),
            Message("tool", (ToolResult("t1", "42"),)),
            Message("system", (Text("Now stop."),)),
        )

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ({"role": "user", "content": None}, Message("user")),
            ({"role": "user"}, Message("user")),
            ({"role": "user", "content": ["a", "b"]}, Message("user", (Text("a"), Text("b")))),
            ("hello", Message("user", (Text("hello"),))),
            (7, Message("", (Other("", digest("7")),))),
            (None, Message("", (Other("", digest("")),))),
            (
                {"role": "function", "name": "f", "content": "1"},
                Message("function", (ToolResult("f", "1"),)),
            ),
            (
                {"role": "assistant", "content": "", "function_call": {"name": "f"}},
                Message("assistant", (ToolCall("", "f", ""),)),
            ),
            (
                {"role": "tool", "tool_call_id": "t", "content": [{"type": "text", "text": "x"}]},
                Message("tool", (ToolResult("t", "x"),)),
            ),
        ],
    )
    def test_odd_messages(self, message, expected):
        """Content that is null, absent or a list of strings, and messages that are no object."""
        assert request(message).messages == (expected,)

    @pytest.mark.parametrize(
        ("part", "expected"),
        [
            (
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                Media(digest("QQ=="), "image/png", 4),
            ),
            (
                {"type": "image_url", "image_url": "https://h/a"},
                Media(digest("https://h/a"), "image"),
            ),
            (
                {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
                Media(digest("QQ=="), "audio/wav", 4),
            ),
            ({"type": "file", "file": {"file_id": "f1"}}, Media(digest("f1"), "file")),
            (
                {"type": "image", "source": {"media_type": "image/png", "data": "QQ=="}},
                Media(digest("QQ=="), "image/png", 4),
            ),
            ({"type": "new"}, Other("new", digest('{"type":"new"}'))),
        ],
    )
    def test_media(self, part, expected):
        """Media are told by digests, in all the forms that servers take."""
        assert request({"role": "user", "content": [part]}).messages[0].parts == (expected,)

    def test_nulls_for_lists(self):
        """Null where a list is expected is an empty list, and no model is none."""
        body = dump({"messages": None, "tools": None, "functions": None})
        parsed = parse_request(body)
        assert (parsed.model, parsed.messages, parsed.tools) == ("", (), ())

    def test_the_model_in_the_path(self):
        """Azure names the deployment in the path."""
        path = "/openai/deployments/my%20gpt/chat/completions"
        assert parse_request(b"{}", path).model == "my gpt"
        assert parse_request(b'{"model": "m"}', path).model == "m"

    def test_many_messages(self):
        """50,000 messages and ids of 10,000 characters are read."""
        message = {"role": "tool", "tool_call_id": "x" * 10_000, "content": "y"}
        parsed = request(message, *[{"role": "user", "content": "a"}] * 50_000)
        assert len(parsed.messages) == 50_001
        assert len(parsed.messages[0].parts[0].call_id) == 10_000


class TestReplies:
    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            ({"content": None}, ()),
            ({}, ()),
            ({"content": ""}, ()),
            ({"content": "a", "tool_calls": None}, (Text("a"),)),
            ({"content": "a", "tool_calls": [], "annotations": []}, (Text("a"),)),
            ({"content": None, "refusal": "No."}, (Text("No."),)),
            ({"content": {"a": 1}}, (Text('{"a":1}'),)),
            ({"function_call": {"name": "f", "arguments": "{"}}, (ToolCall("", "f", "{"),)),
            ({"content": "a", "function_call": {"name": "", "arguments": ""}}, (Text("a"),)),
            (
                {"tool_calls": [{"function": {"name": "f", "arguments": None}}]},
                (ToolCall("", "f", ""),),
            ),
            (
                {
                    "tool_calls": [
                        {"id": "abcdefghi", "function": {"name": "f", "arguments": {"a": 1}}}
                    ]
                },
                (ToolCall("abcdefghi", "f", '{"a":1}'),),
            ),
            (
                {
                    "tool_calls": [
                        {"id": "1", "type": "custom", "custom": {"name": "f", "input": "x"}}
                    ]
                },
                (ToolCall("1", "f", "x"),),
            ),
            ({"reasoning": "r", "content": "a"}, (Thinking("r"), Text("a"))),
            ({"reasoning_content": "r", "reasoning": "r"}, (Thinking("r"),)),
            ({"reasoning_details": [{"text": "r"}, {"summary": "s"}]}, (Thinking("rs"),)),
            ({"reasoning_details": [{"type": "reasoning.encrypted"}]}, (Thinking(""),)),
            ({"content": "<think>\nr\n</think>\n\na"}, (Thinking("r"), Text("a"))),
            (
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                        {"type": "text", "text": "a"},
                        {"type": "text", "text": "b"},
                    ]
                },
                (Thinking("r"), Text("ab")),
            ),
            (
                {"audio": {"id": "a1", "data": "QQ==", "transcript": "Hi"}},
                (Text("Hi"), Media(digest("QQ=="), "audio", 4)),
            ),
            (
                {"executed_tools": [{"type": "search", "arguments": "{}", "output": "o"}]},
                (ToolCall("", "search", "{}", server=True), ToolResult("search", "o")),
            ),
        ],
    )
    def test_messages(self, message, expected):
        """Every form in which servers answer."""
        assert parts(message) == expected

    def test_a_whole_reply(self):
        """Ids, reason and usage are taken over; padding before the JSON does no harm."""
        body = dump(
            {
                "id": "c1",
                "model": "m",
                "choices": [
                    {"message": {"role": "assistant", "content": "a"}, "finish_reason": "eos"}
                ],
                "usage": {"prompt_tokens": 3, "completion_tokens": 1},
            }
        )
        message = Message("assistant", (Text("a"),))
        expected = LLMReply("c1", "m", message, "eos", Usage(3, 1))
        assert parse_reply(b"\n" * 74 + body) == expected

    @pytest.mark.parametrize("reason", [None, "", "content_filter"])
    def test_a_choice_without_a_message(self, reason):
        """Azure's filter leaves the message out; reasons may be missing."""
        parsed = parse_reply(dump({"choices": [{"finish_reason": reason}]}))
        assert parsed == LLMReply(finish_reason=reason or "")

    def test_an_error_in_a_200(self):
        """An error where an answer should be is an error, and no message."""
        parsed = parse_reply(dump({"error": {"message": "overloaded"}}))
        assert (parsed.error, parsed.error_type, parsed.message) == ("overloaded", "", None)
        beside = reply({"content": "a"}, error={"message": "cut", "code": 502})
        assert (beside.error, beside.error_type) == ("cut", "502")

    @pytest.mark.parametrize(
        "body",
        [
            {"error": {"message": "filtered", "type": None, "code": "content_filter"}},
            {"choices": [{"message": None, "finish_reason": "content_filter"}]},
            {"choices": [{"error": {"message": "filtered", "code": "content_filter"}}]},
        ],
    )
    def test_a_filter_is_no_error(self, body):
        """A filter that stops the prompt or the answer is a reason to finish, and nothing else."""
        assert parse_reply(dump(body)) == LLMReply(finish_reason="content_filter")

    def test_the_first_of_several_choices(self):
        """Of n answers the first is taken, wherever it stands."""
        choices = [{"index": i, "message": {"content": str(i)}} for i in (1, 0, 2)]
        assert parse_reply(dump({"choices": choices})).message.text == "0"

    def test_a_stream_labelled_json(self):
        """Events in place of JSON are read as the stream that they are."""
        body = (
            b": hello\n\ndata: "
            + dump({"choices": [{"delta": {"content": "a"}}]})
            + b"\n\ndata: [DONE]\n\n"
        )
        assert parse_reply(body).message.text == "a"

    @pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"data: <html>\n\n", b"[" * 1_000_000])
    def test_what_is_no_reply(self, body):
        """What can't be read raises the one documented error."""
        with pytest.raises(ParseError):
            parse_reply(body)
