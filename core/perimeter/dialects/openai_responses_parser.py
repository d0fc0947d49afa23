"""OpenAI's Responses API: requests, replies and streams as the model of a call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import attrs
import msgspec

from perimeter.calls import LLMReply, LLMRequest, Message, Usage
from perimeter.dialects.openai_responses_items import (
    answer_of,
    messages_of,
    tool_names,
)
from perimeter.dialects.openai_responses_stream import Items
from perimeter.dialects.parsing import (
    as_dict,
    as_items,
    as_list,
    as_text,
    count,
    error_type,
    filtered,
    load,
)
from perimeter.framing import read_sse


def parse_request(body: bytes, path: str = "") -> LLMRequest:  # noqa: ARG001 - alike for all
    """
    Read a request.

    Args:
        body: As it was sent, content codings undone.
        path: Not needed here; the model is in the body.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    given = as_items(fields.get("input"))
    messages = messages_of(given)
    return LLMRequest(
        model=as_text(fields.get("model")),
        messages=messages,
        system=_system(fields.get("instructions"), messages),
        tools=(*tool_names(fields.get("tools")), *_added_tools(given)),
        params=_params(fields),
        stream=fields.get("stream") is True,
        previous_response_id=as_text(fields.get("previous_response_id")),
        user=as_text(fields.get("user")),
        conversation=_id(fields.get("conversation")),
    )


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a reply that was not streamed, an error, or a response fetched later.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    return _reply(fields, as_list(fields.get("output")))


def _system(instructions: object, messages: Iterable[Message]) -> str:
    """Return the instructions, which some servers echo as items, and what leads the input."""
    if isinstance(instructions, str):
        texts = [instructions]
    else:
        texts = [message.text for message in messages_of(as_list(instructions))]
    for message in messages:
        if message.role not in {"system", "developer"}:
            break
        texts.append(message.text)
    return "\n".join(filter(None, texts))


def _added_tools(items: Iterable[object]) -> list[str]:
    return [
        name
        for item in items
        if isinstance(item, dict) and item.get("type") == "additional_tools"
        for name in tool_names(item.get("tools"))
    ]


_ELSEWHERE = frozenset(
    {"model", "input", "instructions", "stream", "previous_response_id", "conversation"}
)


def _params(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if isinstance(value, str | int | float) and name not in _ELSEWHERE
    }


def _id(value: object) -> str:
    """Return an id that is given alone or in an object."""
    return as_text(value.get("id")) if isinstance(value, dict) else as_text(value)


def _reply(fields: Mapping[str, Any], output: list[Any]) -> LLMReply:
    return LLMReply(
        id=as_text(fields.get("id")),
        model=as_text(fields.get("model")),
        message=answer_of(output) if output else None,
        finish_reason=_finish_reason(fields),
        usage=usage_of(fields.get("usage")),
        error=error_of(fields),
        error_type=error_type_of(fields),
    )


def _finish_reason(fields: Mapping[str, Any]) -> str:
    """Return why an answer is incomplete, else its status, which `queued` is as well."""
    if reason := filtered(fields.get("error")):
        return reason
    status = as_text(fields.get("status"))
    if status == "incomplete":
        return as_text(as_dict(fields.get("incomplete_details")).get("reason")) or status
    return status


def usage_of(value: object) -> Usage | None:
    """
    Return the tokens that a `usage` tells of.

    Input has the cached tokens in it and output the reasoning, as OpenAI documents both; what else
    some servers add (costs, counts of tools) is no token.
    """
    usage = as_dict(value)
    if not usage:
        return None
    read = as_dict(usage.get("input_tokens_details"))
    written = as_dict(usage.get("output_tokens_details"))
    return Usage(
        input=count(usage.get("input_tokens")),
        output=count(usage.get("output_tokens")),
        cache_read=count(read.get("cached_tokens")),
        cache_write=count(read.get("cache_write_tokens")),
        reasoning=count(written.get("reasoning_tokens")),
    )


def error_of(fields: Mapping[str, Any]) -> str:
    """
    Return what went wrong, "" if nothing did, or only a filter of content stepped in.

    An answer that is incomplete is none of it: why is the reason that it finished for.

    Args:
        fields: A response, the body of an HTTP error, or an event of type `error`.

    Returns:
        The message, else its code or type; `failed` for a response that failed without a word.
    """
    error = fields.get("error")
    if filtered(error):
        return ""
    if isinstance(error, dict):
        return _said(error) or "error"
    if isinstance(error, str) and error:  # xAI
        return error
    bare = "output" not in fields and (fields.get("message") or fields.get("detail"))
    if bare or fields.get("type") == "error":
        return _said(fields) or "error"
    return "failed" if fields.get("status") == "failed" else ""


def error_type_of(fields: Mapping[str, Any]) -> str:
    """Return what the error that `error_of` finds is called, "" where the server does not say."""
    if not error_of(fields):
        return ""
    error = fields.get("error")
    return error_type(error if isinstance(error, dict) else fields)


def _said(error: Mapping[str, Any]) -> str:
    said = (as_text(error.get(name)) for name in ("message", "detail", "code", "type"))
    return next(filter(None, said), "")


_ENDS = frozenset({"completed", "incomplete", "failed", "cancelled", "done"})


@attrs.define(eq=False)
class OpenAIResponsesStream:
    """
    Reads a stream of the Responses API.

    Its last event has the whole response, which is then what counts. Before that, and where a
    server leaves the output out of it, the answer is put together from items and deltas.
    """

    ending: ClassVar[re.Pattern[bytes]] = re.compile(
        rb"response\.(?:%s)" % "|".join(sorted(_ENDS)).encode()
    )

    _response: Mapping[str, Any] = attrs.field(factory=dict, init=False)
    _items: Items = attrs.field(factory=Items, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _failed: Mapping[str, Any] = attrs.field(factory=dict, init=False)

    def feed(self, event: bytes) -> None:
        """
        Take one server-sent event; those that are unknown, or have no data, change nothing.

        Raises:
            ParseError: Its data is no JSON object.
        """
        name, data = read_sse(event)
        if not data or data == b"[DONE]":
            return
        fields = load(data)
        kind = as_text(fields.get("type")) or name
        response = fields.get("response")
        if isinstance(response, dict):
            self._follow(response, kind.rpartition(".")[2])
        elif kind.startswith("response."):
            self._items.take(kind, fields)
        if kind == "error" or fields.get("error"):
            self._failed = {"type": "error", **fields}

    @property
    def finished(self) -> bool:
        """Whether the last event has come."""
        return self._ended

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come."""
        output = as_list(self._response.get("output"))
        if not (self._ended and output):
            output = self._items.output() or output
        reply = _reply(self._response, output)
        if reply.error or not self._failed:
            return reply
        return msgspec.structs.replace(
            reply,
            error=error_of(self._failed),
            error_type=error_type_of(self._failed),
            finish_reason=filtered(self._failed.get("error")) or reply.finish_reason,
        )

    def _follow(self, response: Mapping[str, Any], state: str) -> None:
        if self._ended:
            return
        # An event made on the way, as where a proxy ends a stream, may not know these.
        known = {name: value for name, value in self._known() if not response.get(name)}
        self._response = {**response, **known}
        self._ended = state in _ENDS

    def _known(self) -> list[tuple[str, Any]]:
        return [(name, self._response.get(name)) for name in ("id", "model")]
