"""Ollama's chat and generate as the model of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from perimeter.calls import (
    LLMReply,
    LLMRequest,
    Media,
    Message,
    Other,
    ParseError,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
)
from perimeter.dialects.parsing import (
    as_dict,
    as_items,
    as_json,
    as_list,
    as_text,
    count,
    digest,
    error_type,
    load,
)


ASSISTANT = "assistant"
_ELSEWHERE = frozenset({"model", "prompt", "stream", "suffix", "system"})
"""Scalars of a request that are no parameters."""


def parse_request(body: bytes, path: str = "") -> LLMRequest:  # noqa: ARG001 - alike for all
    """
    Read a request to chat, or to generate: then the prompt is a message of the user.

    Args:
        body: As it was sent, content codings undone.
        path: Not needed here; bodies tell the two apart.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    messages = tuple(_messages(fields))
    return LLMRequest(
        model=as_text(fields.get("model")),
        messages=messages,
        system=as_text(fields.get("system")) or _system(messages),
        tools=tuple(_tool_names(fields.get("tools"))),
        params=_params(fields),
        stream=fields.get("stream") is not False,  # streaming is what it does unless told not to
    )


def _messages(fields: Mapping[str, Any]) -> Iterator[Message]:
    if "messages" in fields:
        for message in as_items(fields["messages"]):
            yield _message(message)
        return
    # The context is the conversation before the prompt, as tokens that an earlier reply ended with.
    context = fields.get("context")
    before = (Other("context", digest(as_json(context))),) if context else ()
    words = _words(Text, fields.get("prompt")) + _words(Text, fields.get("suffix"))
    if parts := (*before, *words, *_images(fields)):
        yield Message("user", parts)


def _message(message: object) -> Message:
    if not isinstance(message, dict):
        return Message("", _words(Text, message) or (Other("", digest(as_json(message))),))
    role = as_text(message.get("role"))
    if role == "tool":
        return Message(role, (_result(message),))
    return Message(role, tuple(_parts(message, thoughts=role == ASSISTANT)))


def _result(message: Mapping[str, Any]) -> ToolResult:
    names = (message.get("tool_call_id"), message.get("tool_name"), message.get("name"))
    return ToolResult(
        call_id=next(filter(None, map(as_text, names)), ""),
        text=as_json(message.get("content")),
        media=tuple(_images(message)),
    )


def _parts(message: Mapping[str, Any], *, thoughts: bool) -> Iterator[Part]:
    """
    Yield what a message consists of; empty texts are nothing.

    Args:
        message: Of a request, or a reply.
        thoughts: Whether the text may begin with some, as it does where nothing takes them out.
    """
    yield from _words(Thinking, message.get("thinking"))
    text = as_json(message.get("content"))
    if thoughts and text[:64].lstrip().startswith(_OPENED):
        thought, _, text = text.lstrip()[len(_OPENED) :].partition(_CLOSED)
        yield from _words(Thinking, thought.strip())
        text = text.lstrip()
    yield from _words(Text, text)
    yield from _images(message)
    for call in as_list(message.get("tool_calls")):
        yield _call(as_dict(call))


_OPENED, _CLOSED = "<think>", "</think>"


def _words(kind: type[Text | Thinking], text: object) -> tuple[Part, ...]:
    return (kind(text),) if text and isinstance(text, str) else ()


def _images(fields: Mapping[str, Any]) -> Iterator[Media]:
    for data in as_list(fields.get("images")):
        if isinstance(data, str):
            yield Media(digest(data), "image", len(data))


def _call(call: Mapping[str, Any]) -> ToolCall:
    """Return a call; arguments are an object, ids are sent by newer versions only."""
    function = as_dict(call.get("function"))
    call_id = as_text(call.get("id")) or as_text(function.get("id"))
    return ToolCall(call_id, as_text(function.get("name")), as_json(function.get("arguments")))


def _system(messages: tuple[Message, ...]) -> str:
    texts = []
    for message in messages:
        if message.role != "system":
            break
        texts.append(message.text)
    return "\n".join(filter(None, texts))


def _tool_names(tools: object) -> Iterator[str]:
    for tool in as_list(tools):
        fields = as_dict(tool)
        name = as_dict(fields.get("function")).get("name") or fields.get("name")
        if name and isinstance(name, str):
            yield name


def _params(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for group in (fields, as_dict(fields.get("options")))
        for name, value in group.items()
        if isinstance(value, str | int | float) and name not in _ELSEWHERE
    }


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a reply that was not streamed, an error, or a stream that has come as a whole.

    Raises:
        ParseError: It is no JSON object, nor lines of such.
    """
    stream = OllamaStream()
    try:
        stream.take(load(body))
    except ParseError:
        first, *others = body.strip().split(b"\n{")
        if not others:
            raise
        for line in (first, *(b"{" + other for other in others)):
            stream.feed(line)
    return stream.reply()


class OllamaStream:
    """
    Reads a reply as it is streamed, line by line.

    Each line has the shape of a whole reply, so a reply that was not streamed is one line.

    Attributes:
        finished: Whether the last line has come.
    """

    ending = re.compile(rb'"done"\s*:\s*true')

    __slots__ = ("_begun", "_calls", "_fields", "_images", "_texts", "_thoughts", "finished")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._begun = self.finished = False
        self._thoughts: list[str] = []
        self._texts: list[str] = []
        self._images: list[Any] = []
        self._calls: list[Any] = []

    def feed(self, event: bytes) -> None:
        """
        Take one line.

        Raises:
            ParseError: It is no JSON object; the parser goes on with the next one.
        """
        if not event.isspace():
            self.take(load(event))

    def take(self, fields: Mapping[str, Any]) -> None:
        """Take what a line says."""
        message = fields.get("message")
        if isinstance(message, dict):
            self._add(message, message.get("content"))
        elif isinstance(fields.get("response"), str):
            self._add(fields, fields["response"])
        if fields.get("done") is True:
            self.finished = True
        for name in _KEPT:
            if value := fields.get(name):
                self._fields[name] = value

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come; replies have no ids."""
        return LLMReply(
            model=as_text(self._fields.get("model")),
            message=self._message(),
            finish_reason=as_text(self._fields.get("done_reason")),
            usage=_usage(self._fields),
            error=_error(self._fields.get("error")),
            error_type=error_type(self._fields.get("error")),
        )

    def _add(self, said: Mapping[str, Any], text: object) -> None:
        self._begun = True
        self._texts.append(as_text(text))
        self._thoughts.append(as_text(said.get("thinking")))
        self._images += as_list(said.get("images"))
        self._calls += as_list(said.get("tool_calls"))

    def _message(self) -> Message | None:
        if not self._begun:
            return None
        said = {
            "thinking": "".join(self._thoughts),
            "content": "".join(self._texts),
            "images": self._images,
            "tool_calls": self._calls,
        }
        return Message(ASSISTANT, tuple(_parts(said, thoughts=True)))


_KEPT = (
    "model",
    "done_reason",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "eval_count",
    "error",
)


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    """
    Return the tokens, of which the last line tells; a count of 0 is left out there.

    Those of the prompt that came from a cache are counted in the prompt.
    """
    prompt, answer = count(fields.get("prompt_eval_count")), count(fields.get("eval_count"))
    cached = count(fields.get("prompt_eval_cached_count"))
    return Usage(input=prompt, output=answer, cache_read=cached) if prompt or answer else None


def _error(error: object) -> str:
    message = as_dict(error).get("message")  # of servers that only speak Ollama's language
    return as_text(message) or as_json(error)
