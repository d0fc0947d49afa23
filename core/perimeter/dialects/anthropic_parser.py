"""Anthropic's Messages API and its counting of tokens, as the model of a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perimeter.calls import LLMReply, LLMRequest, Message, ParseError, Text, Usage
from perimeter.dialects.anthropic_blocks import Blocks
from perimeter.dialects.anthropic_content import content_of
from perimeter.dialects.parsing import (
    as_dict,
    as_items,
    as_json,
    as_list,
    as_text,
    count,
    error_type,
    load,
)
from perimeter.framing import read_sse


_ELSEWHERE = frozenset({"model", "stream", "system"})
"""Scalars of a request that are no parameters."""


def parse_request(body: bytes, path: str = "") -> LLMRequest:  # noqa: ARG001 - alike for all
    """
    Read a request for a message, or for its tokens to be counted.

    Args:
        body: As it was sent, content codings undone.
        path: Not needed here; the model is in the body.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    return LLMRequest(
        model=as_text(fields.get("model")),
        messages=tuple([_message(message) for message in as_items(fields.get("messages"))]),
        system=_system(fields.get("system")),
        tools=_tool_names(fields.get("tools")),
        params={
            name: value
            for name, value in fields.items()
            if isinstance(value, str | int | float) and name not in _ELSEWHERE
        },
        stream=fields.get("stream") is True,
        user=as_text(as_dict(fields.get("metadata")).get("user_id")),
    )


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a message that was not streamed, a number of tokens, or an error.

    Raises:
        ParseError: It is no JSON object.
    """
    return _reply(load(body))


class AnthropicStream:
    """
    Reads a message as it is streamed.

    Attributes:
        finished: Whether `message_stop` has come.
    """

    ending = re.compile(rb"message_stop")

    __slots__ = ("_blocks", "_error", "_fields", "_usage", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._fields: dict[str, Any] = {}
        self._blocks = Blocks()
        self._usage: dict[str, Any] | None = None
        self._error: dict[str, str] | None = None

    def feed(self, event: bytes) -> None:
        """
        Take one server-sent event.

        Raises:
            ParseError: Its data is no JSON object; the parser goes on with the next one.
        """
        name, data = read_sse(event)
        if not data or data == b"[DONE]":  # a comment, or how other servers say that it is all
            return
        try:
            fields = load(data)
        except ParseError:
            if name != "error":
                raise
            fields = {"error": data.decode("utf-8", "replace")}
        self._take(as_text(fields.get("type")) or name, fields)

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come."""
        fields = dict(self._fields)
        if fields or self._blocks:
            fields["content"] = self._blocks.content()
        fields["usage"] = self._usage
        fields["error"] = self._error
        return _reply(fields)

    def _take(self, kind: str, fields: dict[str, Any]) -> None:
        if kind == "content_block_delta":
            self._blocks.add(fields)
        elif kind == "content_block_start":
            self._blocks.begin(fields)
        elif kind == "message_start":
            self._start(as_dict(fields.get("message")))
        elif kind == "message_delta":
            self._end(fields)
        elif kind == "message_stop":
            self.finished = True
        elif kind == "message":  # all of it at once, from servers that don't really stream
            self._start(fields)
        elif kind == "error" or fields.get("error"):
            self._error = {"message": _error(fields) or "error", "type": _error_type(fields)}

    def _start(self, message: dict[str, Any]) -> None:
        self._fields = {"type": "message", **message}
        self._count(message.get("usage"))
        self._blocks.begin_all(message.get("content"))

    def _end(self, fields: dict[str, Any]) -> None:
        reason = as_dict(fields.get("delta")).get("stop_reason")
        if isinstance(reason, str):
            self._fields["stop_reason"] = reason
        self._count(fields.get("usage"))

    def _count(self, usage: object) -> None:
        """
        Take counters, which are those of all of the message so far: they replace earlier ones.

        Only a 0 in the place of the prompt's known size is no news: some servers that speak this
        language repeat these fields without filling them in.
        """
        if not isinstance(usage, dict):
            return
        known = self._usage = {} if self._usage is None else self._usage
        for name, value in usage.items():
            if value or name not in known or (value == 0 and name == "output_tokens"):
                known[name] = value


def _message(message: object) -> Message:
    if isinstance(message, dict):
        return Message(as_text(message.get("role")), content_of(message.get("content")))
    return Message("", content_of(message))


def _system(system: object) -> str:
    if isinstance(system, str):
        return system
    texts = [part.text for part in content_of(system) if isinstance(part, Text)]
    return "\n".join([text for text in texts if not text.startswith(_BILLING)])


_BILLING = "x-anthropic-billing-header:"
"""What a block of Claude Code's begins with that is no instruction, and differs in each request."""


def _tool_names(tools: object) -> tuple[str, ...]:
    names = (_tool_name(as_dict(tool)) for tool in as_list(tools))
    return tuple([name for name in names if name])


def _tool_name(tool: dict[str, Any]) -> str:
    """Return what a tool is called; sets of an MCP server's tools go by the server's name."""
    fields = ("name", "mcp_server_name", "type")
    return next((name for field in fields if (name := as_text(tool.get(field)))), "")


def _reply(fields: Mapping[str, Any]) -> LLMReply:
    return LLMReply(
        id=as_text(fields.get("id")),
        model=as_text(fields.get("model")),
        message=_answer(fields),
        finish_reason=as_text(fields.get("stop_reason")),
        usage=_usage(fields),
        error=_error(fields),
        error_type=_error_type(fields),
    )


def _answer(fields: Mapping[str, Any]) -> Message | None:
    if "content" not in fields and fields.get("type") != "message":
        return None
    return Message(as_text(fields.get("role")) or "assistant", content_of(fields.get("content")))


def _error(fields: Mapping[str, Any]) -> str:
    """Return what an error says: its message, else its type, else all of it; "" for none."""
    error = fields.get("error")
    if isinstance(error, dict):
        return as_text(error.get("message")) or as_text(error.get("type")) or as_json(error)
    if error:
        return as_json(error)
    if fields.get("type") == "error" or "content" not in fields:
        return as_text(fields.get("message"))  # of gateways before the provider
    return ""


def _error_type(fields: Mapping[str, Any]) -> str:
    if not _error(fields):
        return ""
    error = fields.get("error")
    return error_type(error if isinstance(error, dict) else fields)


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    usage = fields.get("usage")
    if not isinstance(usage, dict):
        counted = fields.get("input_tokens")  # alone where tokens are only counted
        return Usage(input=counted) if type(counted) is int and counted >= 0 else None
    total = _counters(usage)
    for entry in as_list(usage.get("iterations")):
        # Of the iterations, only compactions are not in the sums beside them. What an advisor
        # used isn't either, but that is another model, of another price.
        if isinstance(entry, dict) and entry.get("type") == "compaction":
            total = _sum(total, _counters(entry))
    return total


def _counters(usage: dict[str, Any]) -> Usage:
    """Return counters; the provider's `input_tokens` are those that no cache has to do with."""
    read = count(usage.get("cache_read_input_tokens"))
    write = count(usage.get("cache_creation_input_tokens")) or _written(usage)
    return Usage(
        input=count(usage.get("input_tokens")) + read + write,
        output=count(usage.get("output_tokens")),
        cache_read=read,
        cache_write=write,
        reasoning=count(as_dict(usage.get("output_tokens_details")).get("thinking_tokens")),
    )


def _written(usage: dict[str, Any]) -> int:
    """Return what was written to caches by how long they live, where there is no sum of it."""
    return sum(count(tokens) for tokens in as_dict(usage.get("cache_creation")).values())


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        input=one.input + other.input,
        output=one.output + other.output,
        cache_read=one.cache_read + other.cache_read,
        cache_write=one.cache_write + other.cache_write,
        reasoning=one.reasoning + other.reasoning,
    )
