"""Legacy completions and embeddings: prompts of all kinds, replies, streams."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import LLMReply, Media, Message, Other, ParseError, Text, Usage
from perimeter.dialects.openai_text_parser import OpenAITextStream, parse_reply, parse_request
from perimeter.dialects.parsing import digest


def dump(value):
    return json.dumps(value).encode()


def user(*parts):
    return Message("user", parts)


TOKENS = Other("tokens", digest("[1,2]"))


@pytest.mark.parametrize("field", ["prompt", "input"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a", (user(Text("a")),)),
        (["a", "b"], (user(Text("a")), user(Text("b")))),
        ([1, 2], (user(TOKENS),)),
        ([[1, 2], [1, 2]], (user(TOKENS), user(TOKENS))),
        ([{"type": "text", "text": "a"}], (user(Text("a")),)),
        (
            [{"type": "image_url", "image_url": "https://h/a"}],
            (user(Media(digest("https://h/a"), "image")),),
        ),
        ([], ()),
        (None, ()),
    ],
)
def test_inputs(field, given, expected):
    """Words, lists of them, tokens and lists of those."""
    assert parse_request(dump({field: given})).messages == expected


def test_a_request():
    """Scalars are parameters, content is not; the model may stand in the path."""
    body = dump({"prompt": "a", "suffix": "z", "max_tokens": 5, "stream": True, "stop": ["."]})
    parsed = parse_request(body, "/openai/deployments/d/completions")
    assert (parsed.model, parsed.stream, parsed.params) == ("d", True, {"max_tokens": 5})
    assert parsed.messages == (user(Text("a"), Text("z")),)


def test_a_completion():
    """The first choice's text is what was said."""
    choices = [{"text": "a", "index": 0, "finish_reason": "length"}, {"text": "b", "index": 1}]
    usage = {"prompt_tokens": 11, "total_tokens": 11}
    parsed = parse_reply(dump({"id": "c", "model": "m", "choices": choices, "usage": usage}))
    message = Message("assistant", (Text("a"),))
    assert parsed == LLMReply("c", "m", message, "length", Usage(11))


@pytest.mark.parametrize("embedding", ["AAAA", [0.1, -0.2], "\ud800"])
def test_embeddings(embedding):
    """Numbers or base64: only the model and the usage are taken."""
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    body = {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 8}}
    assert parse_reply(dump(body)) == LLMReply(model="m", usage=Usage(8))


def test_an_error():
    """The error's message is told, wherever it stands."""
    assert parse_reply(dump({"error": {"message": "no"}})).error == "no"
    assert parse_reply(dump({"detail": "no"})).error == "no"
    assert parse_reply(dump({"error": {"message": "no", "type": "t"}})).error_type == "t"
    assert parse_reply(dump({"message": "no", "type": "t", "code": 3})).error_type == "t"
    assert parse_reply(dump({"message": "no", "code": 3})).error_type == "3"


def test_a_stream_labelled_json():
    """Events in place of JSON are read, and several choices don't mix."""
    events = [{"choices": [{"text": text, "index": i}]} for i, text in [(1, "x"), (0, "a")]]
    assert parse_reply(b"".join(b"data: %s\n\n" % dump(e) for e in events)).message.text == "a"


def test_the_stream_of_writer():
    """Writer streams bare values."""
    stream = OpenAITextStream()
    stream.feed(b'data: {"value": "a"}\n\n')
    stream.feed(b'data: {"value": "b"}\n\n')
    assert stream.reply().message.text == "ab"


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"[" * 1_000_000])
def test_what_is_no_reply(body):
    """What can't be read raises the one documented error."""
    with pytest.raises(ParseError):
        parse_reply(body)
