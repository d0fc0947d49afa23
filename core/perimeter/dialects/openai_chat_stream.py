"""
Puts chunks of a stream together again, to the reply that would have come unstreamed.

What it builds has the shape of the API, so that one reader reads both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from perimeter.dialects.openai_chat_content import reasoning_text
from perimeter.dialects.openai_usage import error_of, error_type_of
from perimeter.dialects.parsing import FILTERED, as_dict, as_json, as_list, as_text, count, filtered


@attrs.define(eq=False)
class Call:
    """A tool call that grows; most servers send name and id once, some with every delta."""

    index: int
    id: str = ""
    name: str = ""
    arguments: list[str] = attrs.field(factory=list)

    def add(self, delta: Mapping[str, Any]) -> None:
        """Take a delta of it."""
        function = as_dict(delta.get("function") or delta.get("custom") or delta)
        self.id = self.id or as_text(delta.get("id"))
        self.name = self.name or as_text(function.get("name"))
        given = function.get("arguments")
        self.arguments.append(as_json(function.get("input") if given is None else given))

    def whole(self) -> dict[str, Any]:
        """Return it as it would have come unstreamed."""
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "function": function}


@attrs.define(eq=False)
class Calls:
    """The tool calls of an answer."""

    _calls: list[Call] = attrs.field(factory=list, init=False)
    _open: dict[int, Call] = attrs.field(factory=dict, init=False)

    def add(self, deltas: object) -> None:
        """Take the deltas of one chunk."""
        for delta in as_list(deltas):
            if isinstance(delta, dict):
                self._find(delta).add(delta)

    def whole(self) -> list[dict[str, Any]]:
        """Return them as they would have come unstreamed."""
        return [call.whole() for call in sorted(self._calls, key=lambda call: call.index)]

    def _find(self, delta: Mapping[str, Any]) -> Call:
        index = delta.get("index")
        if type(index) is not int:
            return self._find_unnumbered(as_text(delta.get("id")))
        call = self._open.get(index)
        if call is None or self._is_another(call, delta):
            return self._begin(index)
        return call

    def _find_unnumbered(self, call_id: str) -> Call:
        for call in reversed(self._calls):
            if not call_id or call.id == call_id:
                return call
        return self._begin(self._calls[-1].index + 1 if self._calls else 0)

    def _is_another(self, call: Call, delta: Mapping[str, Any]) -> bool:
        """Tell whether a number is used again, as by Gemini, whose parallel calls are all 0."""
        call_id = as_text(delta.get("id"))
        named = as_dict(delta.get("function")).get("name")
        return bool(call_id and call.id and call_id != call.id and named)

    def _begin(self, index: int) -> Call:
        call = Call(index)
        self._calls.append(call)
        self._open[index] = call
        return call


@attrs.define(eq=False)
class Choice:
    """One of the answers of a stream; usually there is one."""

    finish_reason: str = ""
    error: Any = None
    _begun: bool = attrs.field(default=False, init=False)
    _role: str = attrs.field(default="", init=False)
    _content: list[Any] = attrs.field(factory=list, init=False)
    _reasoning: list[str] = attrs.field(factory=list, init=False)
    _details: list[Any] = attrs.field(factory=list, init=False)
    _refusal: list[str] = attrs.field(factory=list, init=False)
    _images: list[Any] = attrs.field(factory=list, init=False)
    _audio: dict[str, list[str]] = attrs.field(factory=dict, init=False)
    _executed: dict[int, dict[str, Any]] = attrs.field(factory=dict, init=False)
    _function: Call | None = attrs.field(default=None, init=False)
    _calls: Calls = attrs.field(factory=Calls, init=False)

    def add_words(self, words: str) -> None:
        """Take words, and nothing else."""
        self._begun = True
        self._content.append(words)

    def add(self, choice: Mapping[str, Any]) -> bool:
        """Take what a chunk says of it; return whether that is words and nothing else."""
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):
            self.finish_reason = reason
        if "error" in choice:
            self.error = self.error or choice["error"]
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._add(delta)
            return len(delta) == 1 and "content" in delta
        if "text" in choice:  # of a legacy completion
            self._add({**choice, "content": choice["text"]})
        return False

    def whole(self) -> dict[str, Any]:
        """Return it as it would have come unstreamed."""
        choice = {"finish_reason": self.finish_reason, "error": self.error}
        return {**choice, "message": self._message()} if self._begun else choice

    def _add(self, delta: Mapping[str, Any]) -> None:
        self._begun = True
        content = delta.get("content")
        if isinstance(content, str):
            self._content.append(content)
        elif content:
            self._content += content if isinstance(content, list) else [content]
        if len(delta) > 1 or content is None:
            self._add_rest(delta)

    def _add_rest(self, delta: Mapping[str, Any]) -> None:
        self._role = self._role or as_text(delta.get("role"))
        self._reasoning.append(reasoning_text(delta))
        self._refusal.append(as_text(delta.get("refusal")))
        if calls := delta.get("tool_calls"):
            self._calls.add(calls)
        if isinstance(delta.get("function_call"), dict):
            self._function = self._function or Call(0)
            self._function.add(delta["function_call"])
        self._add_rare(delta)

    def _add_rare(self, delta: Mapping[str, Any]) -> None:
        self._details += as_list(delta.get("reasoning_details"))
        self._images += as_list(delta.get("images"))
        for name, value in as_dict(delta.get("audio")).items():
            self._audio.setdefault(name, []).append(as_text(value))
        for place, tool in enumerate(as_list(delta.get("executed_tools"))):
            known = {name: value for name, value in as_dict(tool).items() if value is not None}
            self._executed.setdefault(count(known.get("index", place)), {}).update(known)

    def _message(self) -> dict[str, Any]:
        audio = {name: "".join(pieces) for name, pieces in self._audio.items()}
        audio["id"] = next(filter(None, self._audio.get("id", [])), "")
        return {
            "role": self._role,
            "content": self._content,
            "reasoning": "".join(self._reasoning),
            "reasoning_details": self._details,
            "refusal": "".join(self._refusal),
            "images": self._images,
            "audio": audio,
            "executed_tools": list(self._executed.values()),
            "tool_calls": self._calls.whole(),
            "function_call": self._function and self._function.whole()["function"],
        }


class _Words(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    content: str


class _WordsChoice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    delta: _Words
    index: int = 0
    logprobs: None = None
    finish_reason: None = None


class _WordsChunk(msgspec.Struct, gc=False):
    """A chunk with some words of one choice and nothing else that counts, as most chunks are."""

    choices: tuple[_WordsChoice]
    id: str = ""
    model: str = ""
    usage: None = None
    error: None = None
    x_groq: None = None


_decode_words = msgspec.json.Decoder(_WordsChunk).decode


@attrs.define(eq=False)
class Assembly:
    """
    The whole of a stream.

    Attributes:
        talks: Whether the last chunk had words and nothing else, so that the next one may, too.
    """

    talks: bool = attrs.field(default=False, init=False)
    _head: dict[str, str] = attrs.field(factory=dict, init=False)
    _usage: Any = attrs.field(default=None, init=False)
    _error: dict[str, str] | None = attrs.field(default=None, init=False)
    _choices: dict[int, Choice] = attrs.field(factory=dict, init=False)

    def add_words(self, data: bytes) -> bool:
        """Take a chunk if it has words and nothing else; return whether it has."""
        try:
            chunk = _decode_words(data)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            self.talks = False
            return False
        choice = chunk.choices[0]
        found = self._choices.get(choice.index)
        if found is None:
            return False
        if len(self._head) < 2:
            self._know({"id": chunk.id, "model": chunk.model})
        found.add_words(choice.delta.content)
        return True

    def add(self, chunk: Mapping[str, Any], *, failed: bool = False) -> None:
        """
        Take a chunk.

        Args:
            chunk: As it came.
            failed: Whether its event was named an error.
        """
        choices = chunk.get("choices")
        if choices is None and "value" in chunk:  # Writer's legacy completions
            choices = [{"text": chunk["value"]}]
        apart = "x_groq" in chunk
        for choice in as_list(choices):
            if isinstance(choice, dict):
                self.talks = self._choice(choice).add(choice)
                apart = apart or "usage" in choice
        if len(self._head) < 2:  # Azure's first chunk has neither, and Groq's ids differ
            self._know(chunk)
        if usage := (chunk.get("usage") or (apart and other_usage(chunk))):
            self._usage = usage
        if failed or "choices" not in chunk or "error" in chunk:
            self._error = self._error or _error(chunk, failed=failed)

    def whole(self) -> dict[str, Any]:
        """Return it as it would have come unstreamed."""
        choices = [self._choices[index].whole() for index in sorted(self._choices)]
        return {**self._head, "usage": self._usage, "error": self._error, "choices": choices}

    def _choice(self, choice: Mapping[str, Any]) -> Choice:
        index = choice.get("index", 0)
        found = self._choices.get(index) if type(index) is int else None
        if found is None:
            index = count(index)
            found = self._choices.setdefault(index, Choice())
        return found

    def _know(self, chunk: Mapping[str, Any]) -> None:
        for name in ("id", "model"):
            value = chunk.get(name)
            if value and isinstance(value, str):
                self._head.setdefault(name, value)


def _error(chunk: Mapping[str, Any], *, failed: bool) -> dict[str, str] | None:
    if filtered(chunk.get("error")):
        return {"code": FILTERED}
    message = error_of(chunk) or ("error" if failed else "")
    return {"message": message, "type": error_type_of(chunk)} if message else None


def other_usage(fields: Mapping[str, Any]) -> Any:
    """Return the usage from where Groq (`x_groq`) and Moonshot (a choice) stream it, or None."""
    if "x_groq" in fields:
        return as_dict(fields["x_groq"]).get("usage")
    choices = as_list(fields.get("choices"))
    return as_dict(choices[0]).get("usage") if choices else None
