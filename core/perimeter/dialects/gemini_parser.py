"""Gemini's generateContent and streamGenerateContent, and Vertex AI's, as the model of a call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import attrs

from perimeter.calls import LLMReply, LLMRequest, Message, ParseError, Part, Text, Usage
from perimeter.dialects.gemini_content import (
    ASSISTANT,
    camel,
    entries,
    get,
    merged,
    messages_of,
    parts_of,
)
from perimeter.dialects.parsing import (
    as_dict,
    as_json,
    as_list,
    as_text,
    count,
    error_type,
    load,
    load_any,
)
from perimeter.framing import read_sse


_PATH = re.compile(r"/(?:models|tunedModels|endpoints)/([^/]+?)(?::|%3[Aa])(\w+)\Z")
"""How a path ends: the model, a colon, and what is to be done."""

_NO_PARAMS = frozenset({"model", "contents", "systemInstruction"})


def parse_request(body: bytes, path: str = "") -> LLMRequest:
    """
    Read a request.

    Args:
        body: As it was sent, content codings undone.
        path: Has the model in it, and whether a stream is asked for.

    Raises:
        ParseError: The body is no JSON object.
    """
    fields = load(body)
    found = _PATH.search(path)
    model = unquote(found[1]) if found else as_text(fields.get("model")).removeprefix("models/")
    return LLMRequest(
        model=model,
        messages=messages_of(fields.get("contents")),
        system=_system(get(fields, "systemInstruction")),
        tools=tuple(_tool_names(fields.get("tools"))),
        params=_params(fields),
        stream=found is not None and found[2] == "streamGenerateContent",
    )


def _system(instruction: object) -> str:
    given = instruction.get("parts") if isinstance(instruction, dict) else instruction
    return "\n".join([part.text for part in parts_of(given) if isinstance(part, Text)])


def _tool_names(tools: object) -> Iterator[str]:
    """Yield the names of functions, and of tools that the provider runs, such as googleSearch."""
    for tool in entries(tools):
        for name, value in as_dict(tool).items():
            if camel(name) != "functionDeclarations":
                yield camel(name)
                continue
            names = (as_text(as_dict(function).get("name")) for function in entries(value))
            yield from filter(None, names)


def _params(fields: Mapping[str, Any]) -> dict[str, Any]:
    config = as_dict(get(fields, "generationConfig"))
    return {
        name: value
        for group in (fields, config, as_dict(get(config, "thinkingConfig")))
        for key, value in group.items()
        if isinstance(value, str | int | float) and (name := camel(key)) not in _NO_PARAMS
    }


def parse_reply(body: bytes) -> LLMReply:
    """
    Read a reply that was not streamed, an error, or a stream that is one JSON array.

    Raises:
        ParseError: It is neither a JSON object nor a JSON array.
    """
    stream = GeminiStream()
    stream.take(load_any(body))
    return stream.reply()


@attrs.define(eq=False)
class _Candidate:
    """One of the answers; usually there is one."""

    finish_reason: str = ""
    begun: bool = False
    parts: list[Part] = attrs.field(factory=list)

    def add(self, candidate: Mapping[str, Any]) -> None:
        """Take what a chunk says of it."""
        self.finish_reason = _reason(get(candidate, "finishReason")) or self.finish_reason
        content = candidate.get("content")
        if isinstance(content, dict):
            self.begun = True
            self.parts += parts_of(content.get("parts"))

    def message(self) -> Message | None:
        """Return what was said; None if nothing was, as where it was filtered."""
        return Message(ASSISTANT, merged(self.parts)) if self.begun else None


class GeminiStream:
    """
    Reads a reply as it is streamed, in either framing.

    Each chunk has the shape of a whole reply, so a reply that was not streamed is one chunk.

    Attributes:
        finished: Never: nothing says which chunk is the last.
    """

    finished = False
    ending = re.compile(rb"(?!)")

    __slots__ = ("_candidates", "_error", "_error_type", "_feedback", "_id", "_model", "_usage")

    def __init__(self) -> None:
        self._id = self._model = self._error = self._error_type = ""
        self._candidates: dict[int, _Candidate] = {}
        self._feedback: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def feed(self, event: bytes) -> None:
        """
        Take one server-sent event, or one element of a JSON array, its comma or bracket included.

        Raises:
            ParseError: It has neither a JSON object nor an array; the parser goes on with the next.
        """
        _, data = read_sse(event)
        text = data or _element(event)
        if text and text != b"[DONE]":  # which only compatible servers send
            self.take(load_any(text))

    def take(self, value: object) -> None:
        """
        Take a chunk, or a list of chunks.

        Raises:
            ParseError: It is neither.
        """
        if isinstance(value, dict):
            self._take(value)
        elif isinstance(value, list):
            for chunk in value:
                if isinstance(chunk, dict):
                    self._take(chunk)
        else:
            message = f"JSON, but no object: {type(value).__name__}"
            raise ParseError(message)

    def reply(self) -> LLMReply:
        """
        Return the reply as far as it has come; of several candidates the first.

        A prompt that was blocked is no error, just as an answer that was isn't: why it was is the
        reason to finish. Azure's filter is read alike.
        """
        index = min(self._candidates, default=0)
        answer = self._candidates.get(index, _Candidate())
        blocked = "" if self._candidates else _reason(get(self._feedback, "blockReason"))
        return LLMReply(
            id=self._id,
            model=self._model,
            message=answer.message(),
            finish_reason=answer.finish_reason or blocked,
            usage=_usage(self._usage),
            error=self._error,
            error_type=self._error_type,
        )

    def _take(self, chunk: Mapping[str, Any]) -> None:
        self._id = self._id or as_text(get(chunk, "responseId"))
        self._model = self._model or as_text(get(chunk, "modelVersion"))
        if not self._error:
            self._error = _error(chunk)
            self._error_type = _error_type(chunk) if self._error else ""
        self._feedback.update(as_dict(get(chunk, "promptFeedback")))
        # Of the stream so far, not of the chunk; what a later chunk leaves out stays as it was.
        self._usage.update(as_dict(get(chunk, "usageMetadata")))
        seen = set()
        for candidate in as_list(chunk.get("candidates")):
            index = count(as_dict(candidate).get("index"))
            if isinstance(candidate, dict) and index not in seen:
                seen.add(index)
                self._candidates.setdefault(index, _Candidate()).add(candidate)


def _element(event: bytes) -> bytes:
    """
    Return the JSON of an event that is no server-sent one.

    An element of a JSON array comes with what divides it from the one before; an error may come
    as a JSON document, and be an array of its own, whatever framing was asked for.
    """
    text = event.strip()
    if text[:1] == b"[" and text[-1:] == b"]":
        return text
    found = text.lstrip(b"[, \t\r\n")
    if found[:1] == b"{":
        return found
    divides = len(text) <= 2 and not text.strip(b"[],")
    return b"" if divides or text.startswith(_SSE_FIELDS) else text


_SSE_FIELDS = (b":", b"data", b"event", b"id", b"retry")


_REASONS = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
"""By number. Those above mean different things at Gemini and at Vertex AI, and stay numbers."""


def _reason(value: object) -> str:
    if type(value) is not int:
        return as_text(value)
    return _REASONS[value] if 0 <= value < len(_REASONS) else as_json(value)


def _error(chunk: Mapping[str, Any]) -> str:
    """Return what an error says: its message, else its status, else all of it; "" for none."""
    error = chunk.get("error")
    if isinstance(error, dict):
        return as_text(error.get("message")) or as_text(error.get("status")) or as_json(error)
    if error:
        return as_json(error)
    # Gateways before the provider have shapes of their own.
    return as_text(chunk.get("message")) if "candidates" not in chunk else ""


def _error_type(chunk: Mapping[str, Any]) -> str:
    """Return the status by name: its code is only that of HTTP, which says less."""
    error = chunk.get("error")
    fields = error if isinstance(error, dict) else chunk
    return as_text(fields.get("status")) or error_type(fields)


def _usage(usage: Mapping[str, Any]) -> Usage | None:
    """
    Return the tokens.

    `promptTokenCount` has the cached ones in it. Not in it are those of what the provider's tools
    found, nor are thoughts in `candidatesTokenCount`: `totalTokenCount` is the sum of these four.
    """
    names = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount")
    prompt, tools, candidates = (count(get(usage, name)) for name in names)
    thoughts = count(get(usage, "thoughtsTokenCount"))
    if not any((prompt, tools, candidates, thoughts, count(get(usage, "totalTokenCount")))):
        return None
    return Usage(
        input=prompt + tools,
        output=candidates + thoughts,
        cache_read=count(get(usage, "cachedContentTokenCount")),
        reasoning=thoughts,
    )
