"""
What conversations consist of in Gemini's API: contents of parts, in requests and in replies.

All names come in two spellings, as everywhere in Google's APIs: camelCase and snake_case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import groupby
from typing import Any

import msgspec

from perimeter.calls import Media, Message, Other, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.dialects.parsing import as_dict, as_json, as_list, as_text, digest


ASSISTANT = "assistant"
_ROLES = {"model": ASSISTANT, "function": "tool", "": "user"}

_CODE = "codeExecution"
"""The tool, as requests offer it, that runs what the model wrote."""

_FAILURES = ("OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED", 2, 3)
"""How code may end; numbers are those of the enumeration."""


def get(fields: Mapping[str, Any], name: str) -> Any:
    """
    Return a value under either spelling of its name, None if there is none.

    Args:
        fields: An object.
        name: In camelCase.
    """
    value = fields.get(name)
    return fields.get(_snake(name)) if value is None else value


@cache  # of names in this package only, never of ones that clients make up
def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def camel(name: str) -> str:
    """Return a name in camelCase."""
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


def entries(value: object) -> list[Any]:
    """Return a list as it is; Google's servers take a single value for a list of it."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def messages_of(contents: object) -> tuple[Message, ...]:
    """
    Return the conversation that contents are.

    What the model said in several contents in a row is one message, as it was one reply: clients
    put each chunk of a stream into a content of its own.
    """
    messages: list[Message] = []
    for role, turns in groupby(map(_turn, entries(contents)), lambda turn: turn.role):
        if role == ASSISTANT:
            messages.append(Message(role, merged(part for turn in turns for part in turn.parts)))
        else:
            messages.extend(turns)
    return tuple(messages)


def _turn(content: object) -> Message:
    if isinstance(content, str):
        return Message("user", parts_of(content))
    if not isinstance(content, dict):
        return Message("", (_other("", content),))
    role = as_text(content.get("role"))
    return Message(_ROLES.get(role, role), parts_of(content.get("parts")))


def merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Join texts that stand next to each other, and thoughts alike: a stream divides them."""
    found: list[Part] = []
    for kind, group in groupby(parts, type):
        if kind is Text or kind is Thinking:
            found.append(kind("".join(part.text for part in group)))  # type: ignore[union-attr]
        else:
            found.extend(group)
    return tuple(found)


def parts_of(parts: object) -> tuple[Part, ...]:
    """
    Return the parts of a content.

    Args:
        parts: A list, or one part. Empty texts are none, with a signature or without: whether
            there is one depends on how the reply was divided.
    """
    return tuple([part for entry in entries(parts) if (part := _part(entry)) is not None])


def _part(part: object) -> Part | None:
    if isinstance(part, str):
        return Text(part) if part else None
    if not isinstance(part, dict):
        return _other("", part)
    for name, value in part.items():
        read = _READERS.get(name)
        if read is not None and value is not None:
            return read(part, value)
    return _unknown(part)


def _unknown(part: Mapping[str, Any]) -> Part | None:
    said = {name: value for name, value in part.items() if _says_something(name, value)}
    return _other(camel(next(iter(said))), said) if said else None


def _says_something(name: str, value: object) -> bool:
    return value is not None and name not in _BESIDE


_BESIDE = frozenset({"thought", "thoughtSignature", "thought_signature"})
"""What stands beside a part's data, or alone where the data came in an earlier chunk."""


def _other(kind: str, value: object) -> Other:
    try:
        return Other(kind, digest(msgspec.json.encode(value, order="sorted").decode()))
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return Other(kind)


def _text(part: Mapping[str, Any], value: object) -> Part | None:
    text = as_text(value)
    if not text:
        return None
    return Thinking(text) if part.get("thought") is True else Text(text)


def _call(_: Mapping[str, Any], value: object) -> ToolCall:
    call = as_dict(value)
    return ToolCall(as_text(call.get("id")), as_text(call.get("name")), _arguments(call))


def _server_call(_: Mapping[str, Any], value: object) -> ToolCall:
    call = as_dict(value)
    name = as_text(get(call, "toolType"))
    return ToolCall(as_text(call.get("id")), name, _arguments(call), server=True)


def _arguments(call: Mapping[str, Any]) -> str:
    # None at all are no arguments: protocol buffers know no difference, and clients send back `{}`.
    args = call.get("args")
    return "{}" if args is None else as_json(args)


def _code(_: Mapping[str, Any], value: object) -> ToolCall:
    code = as_dict(value)
    written = {name: said for name, said in code.items() if name != "id"}
    return ToolCall(as_text(code.get("id")), _CODE, as_json(written), server=True)


def _code_result(_: Mapping[str, Any], value: object) -> ToolResult:
    result = as_dict(value)
    call_id = as_text(result.get("id")) or _CODE
    failed = result.get("outcome") in _FAILURES
    return ToolResult(call_id, as_json(result.get("output")), failed)


def _result(_: Mapping[str, Any], value: object) -> ToolResult:
    result = as_dict(value)
    response = result.get("response")
    names = (result.get("id"), result.get("name"), get(result, "toolType"))
    return ToolResult(
        call_id=next(filter(None, map(as_text, names)), ""),
        text=_words(response),
        is_error=bool(as_dict(response).get("error")),
        media=tuple(_media_in(result.get("parts"))),
    )


def _words(response: object) -> str:
    """Return what a tool said, which must be an object: clients wrap it, by whatever name."""
    if isinstance(response, dict) and len(response) == 1:
        return as_json(*response.values())
    return as_json(response)


def _media_in(parts: object) -> Iterator[Media]:
    for part in as_list(parts):
        for name in ("inlineData", "fileData"):
            value = get(as_dict(part), name)
            if isinstance(value, dict):
                yield _MEDIA[name](part, value)


def _inline(_: Mapping[str, Any], value: object) -> Media:
    blob = as_dict(value)
    data = as_text(blob.get("data"))
    return Media(digest(data), as_text(get(blob, "mimeType")), len(data))


def _file(_: Mapping[str, Any], value: object) -> Media:
    file = as_dict(value)
    return Media(digest(as_text(get(file, "fileUri"))), as_text(get(file, "mimeType")))


_Reader = Callable[[Mapping[str, Any], object], Part | None]

_MEDIA: dict[str, Callable[[Mapping[str, Any], object], Media]] = {
    "inlineData": _inline,
    "fileData": _file,
}
_CAMEL: dict[str, _Reader] = {
    "text": _text,
    "functionCall": _call,
    "functionResponse": _result,
    "toolCall": _server_call,
    "toolResponse": _result,
    "executableCode": _code,
    "codeExecutionResult": _code_result,
    **_MEDIA,
}
_READERS = {**_CAMEL, **{_snake(name): read for name, read in _CAMEL.items()}}
"""By the name of a part's data, in either spelling."""
