"""Chat completions as the model of a call: OpenAI's API, and what others make of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import unquote

import attrs

from perimeter.calls import LLMReply, LLMRequest, Message
from perimeter.dialects.openai_chat_content import answer_of, message_of
from perimeter.dialects.openai_chat_stream import Assembly, other_usage
from perimeter.dialects.openai_usage import error_of, error_type_of, usage_of
from perimeter.dialects.parsing import as_dict, as_items, as_list, as_text, count, filtered, load
from perimeter.framing import cutter, read_sse


def parse_request(body: bytes, path: str = "") -> LLMRequest:
    """
    Read a request.

    Args:
        body: As it was sent, content codings undone.
        path: Has the model where the body has none, as Azure's has.

    Raises:
        ParseError: It is no JSON object.
    """
    fields = load(body)
    parsed = tuple([message_of(message) for message in as_items(fields.get("messages"))])
    return LLMRequest(
        model=as_text(fields.get("model")) or model_of(path),
        messages=parsed,
        system=_system(parsed),
        tools=_tools(fields),
        params=params_of(fields),
        stream=fields.get("stream") is True,
        user=as_text(fields.get("user")),
    )


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a reply that was not streamed, or an error; a stream that is labelled JSON as well.

    Raises:
        ParseError: It is neither a JSON object nor a stream.
    """
    return reply_of(read_stream(body) if is_stream(body) else load(body))


_MODEL_IN_PATH = re.compile(r"/(?:deployments|engines)/([^/]+)/")


def model_of(path: str) -> str:
    """Return the model that a path names, or ""."""
    found = _MODEL_IN_PATH.search(path)
    return unquote(found[1]) if found else ""


_SCALARS = frozenset({str, int, float, bool})
_ELSEWHERE = frozenset({"model", "messages", "prompt", "input", "suffix", "stream"})


def params_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars of a request which are no content."""
    if fields.keys() <= _ELSEWHERE:
        return {}
    return {
        name: value
        for name, value in fields.items()
        if type(value) in _SCALARS and name not in _ELSEWHERE
    }


def _system(messages: Iterable[Message]) -> str:
    texts = []
    for message in messages:
        if message.role not in _SYSTEM:
            break
        texts.append(message.text)
    return "\n".join(filter(None, texts))


_SYSTEM = frozenset({"system", "developer"})


def _tools(fields: Mapping[str, Any]) -> tuple[str, ...]:
    if "tools" not in fields and "functions" not in fields:
        return ()
    tools = (*as_list(fields.get("tools")), *as_list(fields.get("functions")))
    return tuple([name for name in map(_tool_name, tools) if name])


def _tool_name(tool: object) -> str:
    """Return the name of a tool, or its type where it is one of the server's."""
    if isinstance(tool, str):
        return tool
    fields = as_dict(tool)
    inner = as_dict(fields.get("function") or fields.get("custom"))
    return as_text(inner.get("name")) or as_text(fields.get("name")) or as_text(fields.get("type"))


def reply_of(fields: Mapping[str, Any]) -> LLMReply:
    """
    Return the reply that a whole answer is; of several choices the first.

    Args:
        fields: Of a chat completion, a legacy completion or embeddings.
    """
    choice, failed = _first_choice(fields.get("choices")), fields
    if choice.get("error") and not fields.get("error"):
        failed = {**fields, "error": choice["error"]}
    error, stopped = error_of(failed), as_text(choice.get("finish_reason"))
    return LLMReply(
        id=as_text(fields.get("id")),
        model=as_text(fields.get("model")),
        message=_message(choice),
        finish_reason=stopped or filtered(failed.get("error")),
        usage=usage_of(fields.get("usage") or other_usage(fields)),
        error=error,
        error_type=error_type_of(failed) if error else "",
    )


def _first_choice(value: object) -> Mapping[str, Any]:
    choices = as_list(value)
    if len(choices) == 1 and type(choices[0]) is dict:
        return choices[0]
    return min((each for each in choices if isinstance(each, dict)), key=_index, default={})


def _index(choice: Mapping[str, Any]) -> int:
    return count(choice.get("index"))


def _message(choice: Mapping[str, Any]) -> Message | None:
    message = choice.get("message")
    if isinstance(message, dict):
        return answer_of(message)
    if isinstance(choice.get("text"), str):
        return answer_of({**choice, "content": choice["text"]})
    return None


_FIELDS = (b"data:", b"event:", b"id:", b"retry:", b": ")


def is_stream(body: bytes) -> bool:
    """Tell whether a body is a stream of events, whatever it is labelled."""
    return body[:1] != b"{" and body[:256].lstrip().startswith(_FIELDS)


def read_stream(body: bytes) -> dict[str, Any]:
    """
    Return the answer that a stream would have been unstreamed.

    Raises:
        ParseError: One of its events can't be read.
    """
    stream, cut = OpenAIChatStream(), cutter("sse")
    for event in (*cut.feed(body), cut.flush()):
        stream.feed(event)
    return stream.assembly.whole()


@attrs.define(eq=False)
class OpenAIChatStream:
    """
    Reads a stream of chat completions, or of legacy ones.

    Attributes:
        assembly: What has come.
        finished: Whether `[DONE]` has come.
    """

    ending: ClassVar[re.Pattern[bytes]] = re.compile(rb"\[DONE\]")

    assembly: Assembly = attrs.field(factory=Assembly, init=False)
    finished: bool = attrs.field(default=False, init=False)

    def feed(self, event: bytes) -> None:
        """
        Take one server-sent event; comments, `[DONE]` and what is unknown change nothing.

        Raises:
            ParseError: Its data is no JSON object.
        """
        name, data = read_sse(event)
        if not data or data.isspace():
            data = _unframed(event)
        if data.startswith(b"[DONE]"):
            self.finished = True
        elif self.assembly.talks and not name and self.assembly.add_words(data):
            return
        elif data:
            self.assembly.add(load(data), failed=name == "error")

    def reply(self) -> LLMReply:
        """Return the reply as far as it has come."""
        return reply_of(self.assembly.whole())


def _unframed(event: bytes) -> bytes:
    """Return a JSON body that came in place of a stream, or b""."""
    return event if event.lstrip()[:1] == b"{" else b""
