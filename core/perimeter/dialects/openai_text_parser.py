"""Legacy completions and embeddings as the model of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from perimeter.calls import LLMReply, LLMRequest, Message, Other, Part, Text
from perimeter.dialects.openai_chat_content import content_of
from perimeter.dialects.openai_chat_parser import (
    OpenAIChatStream,
    is_stream,
    model_of,
    params_of,
    read_stream,
    reply_of,
)
from perimeter.dialects.parsing import as_json, as_text, digest, load


def parse_request(body: bytes, path: str = "") -> LLMRequest:
    """
    Read a request; each of its prompts or inputs is a message of a user.

    Args:
        body: As it was sent, content codings undone.
        path: Has the model where the body has none, as Azure's has.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    given = fields.get("prompt") if "prompt" in fields else fields.get("input")
    suffix = content_of(as_text(fields.get("suffix")))
    return LLMRequest(
        model=as_text(fields.get("model")) or model_of(path),
        messages=tuple(Message("user", (*parts, *suffix)) for parts in _inputs(given)),
        params=params_of(fields),
        stream=fields.get("stream") is True,
    )


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a reply that was not streamed, or an error; embeddings themselves are not looked at.

    Raises:
        ParseError: It is neither a JSON object nor a stream.
    """
    if is_stream(body):
        return reply_of(read_stream(body))
    try:
        reply = _decode(body)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return reply_of(load(body))
    return reply_of(msgspec.to_builtins(reply))


class OpenAITextStream(OpenAIChatStream):
    """Reads a stream of legacy completions; embeddings are never streamed."""


class _Reply(msgspec.Struct, omit_defaults=True):
    """What counts of a reply: thousands of numbers are passed over where they stand."""

    id: Any = None
    model: Any = None
    choices: Any = None
    usage: Any = None
    x_groq: Any = None
    error: Any = None
    message: Any = None
    detail: Any = None
    type: Any = None
    code: Any = None


_decode = msgspec.json.Decoder(_Reply).decode


def _inputs(given: object) -> Iterator[tuple[Part, ...]]:
    """Yield the parts of each input: words, tokens (a list of numbers), or a list of either."""
    if isinstance(given, list) and not _is_tokens(given):
        for value in given:
            yield _parts(value)
    elif given is not None:
        yield _parts(given)


def _parts(given: object) -> tuple[Part, ...]:
    if isinstance(given, str):
        return (Text(given),)
    if _is_tokens(given):
        return (Other("tokens", digest(as_json(given))),)
    return content_of(given)


def _is_tokens(given: object) -> bool:
    return isinstance(given, list) and bool(given) and type(given[0]) is int
