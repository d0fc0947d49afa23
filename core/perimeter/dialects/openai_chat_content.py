"""What messages of chat completions consist of, in the shapes of all who offer that API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from perimeter.calls import Media, Message, Other, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.dialects.parsing import as_dict, as_json, as_list, as_text, digest, media


ASSISTANT = "assistant"


def message_of(value: object) -> Message:
    """Return a message of a request, whatever stands in its place."""
    if isinstance(value, str):
        return Message("user", content_of(value))
    if not isinstance(value, dict):
        return Message("", (_unknown(value),))
    role, content = as_text(value.get("role")), value.get("content")
    if role in _ASKS and content and type(content) is str:
        return Message(role, (Text(content),))
    if role == ASSISTANT:
        return answer_of(value)
    if role in {"tool", "function"}:
        return Message(role, (_result(value),))
    return Message(role, content_of(content))


_ASKS = ("user", "system", "developer")


def answer_of(message: Mapping[str, Any]) -> Message:
    """
    Return what a model said, in a reply or in the history of a request.

    Neighbouring texts become one, since a stream can't tell them apart.
    """
    content = message.get("content")
    rare = not message.keys() <= _COMMON
    if type(content) is str and content and not rare and _OPENED not in content:
        calls = _calls(message) if "tool_calls" in message else ()
        return Message(as_text(message.get("role")) or ASSISTANT, (Text(content), *calls))
    said = content_of(content)
    if rare or len(said) > 1:
        said = tuple(merge((*_reasoning(message), *said)))
    parts = (
        *_split_thoughts(said),
        *(_rare(message) if rare else ()),
        *_calls(message),
    )
    return Message(as_text(message.get("role")) or ASSISTANT, parts)


_COMMON = frozenset({"role", "content", "tool_calls"})


def _rare(message: Mapping[str, Any]) -> Iterator[Part]:
    yield from content_of(message.get("refusal"))
    yield from _audio(message.get("audio"))
    yield from content_of(as_list(message.get("images")))
    yield from _executed(message.get("executed_tools"))


def content_of(content: object) -> tuple[Part, ...]:
    """
    Return the parts of a message's content; empty texts are none.

    Args:
        content: A string, a part, or a list of either.
    """
    if isinstance(content, str):
        return (Text(content),) if content else ()
    if isinstance(content, dict) and not ("type" in content or "text" in content):
        return (Text(as_json(content)),)  # Cloudflare's answer where JSON was asked for
    parts = (_part(part) for part in (as_list(content) or [content]) if part)
    return tuple(part for part in parts if part != _EMPTY)


_EMPTY = Text("")


def _part(part: object) -> Part:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        return _unknown(part)
    kind = as_text(part.get("type"))
    if kind in {"thinking", "reasoning"}:
        return Thinking(_words(part.get("thinking") or part.get("text")))
    text = part.get("refusal" if kind == "refusal" else "text")
    return Text(text) if isinstance(text, str) else _media(part, kind) or _unknown(part)


def _unknown(value: object) -> Other:
    return Other(as_text(as_dict(value).get("type")), digest(as_json(value)))


def _words(value: object) -> str:
    """Return the text of a string or of a list of text parts."""
    return "".join(part.text for part in content_of(value) if isinstance(part, Text))


_ADDRESSES = ("image_url", "video_url", "audio_url", "document_url", "file_url", "file")
_DATA = ("url", "file_data", "file_id", "data")


def _media(part: Mapping[str, Any], kind: str) -> Media | None:
    if sound := as_text(as_dict(part.get("input_audio")).get("data")):
        form = as_text(as_dict(part["input_audio"]).get("format"))
        return Media(digest(sound), f"audio/{form}" if form else "audio", len(sound))
    if isinstance(part.get("source"), dict):
        return _source(part["source"], kind)
    address = next((part[name] for name in _ADDRESSES if part.get(name)), part.get("file_id"))
    if isinstance(address, dict):
        address = next((address[name] for name in _DATA if address.get(name)), None)
    return media(address, kind.removesuffix("_url")) if isinstance(address, str) else None


def _source(source: Mapping[str, Any], kind: str) -> Media | None:
    """Return media in the form of Anthropic, which some gateways take here too."""
    form = as_text(source.get("media_type")) or kind
    if data := as_text(source.get("data")):
        return Media(digest(data), form, len(data))
    address = as_text(source.get("url")) or as_text(source.get("file_id"))
    return media(address, form) if address else None


def _result(message: Mapping[str, Any]) -> ToolResult:
    content = message.get("content")
    call_id = as_text(message.get("tool_call_id")) or as_text(message.get("name"))
    if isinstance(content, str):
        return ToolResult(call_id, content)
    parts = content_of(content)
    return ToolResult(
        call_id=call_id,
        text="\n".join(part.text for part in parts if isinstance(part, Text)),
        media=tuple(part for part in parts if isinstance(part, Media)),
    )


def merge(parts: Iterable[Part]) -> Iterator[Part]:
    """Join texts that stand next to each other, and thoughts alike."""
    for kind, group in groupby(parts, type):
        if kind is Text or kind is Thinking:
            yield kind("".join(part.text for part in group))  # type: ignore[union-attr]
        else:
            yield from group


_OPENED, _CLOSED = "<think>", "</think>"


def _split_thoughts(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Take out the thoughts that some servers leave at the beginning of the text."""
    if not (parts and isinstance(parts[0], Text)):
        return parts
    text = parts[0].text.lstrip()
    if not text.startswith(_OPENED):
        return parts
    thought, _, text = text[len(_OPENED) :].partition(_CLOSED)
    return (Thinking(thought.strip()), *content_of(text.lstrip()), *parts[1:])


def reasoning_text(message: Mapping[str, Any]) -> str:
    """Return reasoning under the first of its names that has any: others repeat it."""
    for name in ("reasoning_content", "reasoning"):
        value = message.get(name)
        if value and isinstance(value, str):
            return value
    details = (as_dict(detail) for detail in as_list(message.get("reasoning_details")))
    return "".join(as_text(part.get("text")) or as_text(part.get("summary")) for part in details)


def _reasoning(message: Mapping[str, Any]) -> tuple[Thinking, ...]:
    text = reasoning_text(message)
    withheld = as_list(message.get("reasoning_details"))  # all of it encrypted
    return (Thinking(text),) if text or withheld else ()


def _audio(value: object) -> Iterator[Part]:
    """Return spoken words; in the history of a request an answer is only told by its id."""
    audio = as_dict(value)
    yield from content_of(as_text(audio.get("transcript")))
    if data := as_text(audio.get("data")):
        yield Media(digest(data), "audio", len(data))
    elif address := as_text(audio.get("id")):
        yield Media(digest(address), "audio")


def _executed(value: object) -> Iterator[Part]:
    """Return tools that Groq has run itself."""
    for tool in map(as_dict, as_list(value)):
        name = as_text(tool.get("name")) or as_text(tool.get("type"))
        yield ToolCall("", name, as_json(tool.get("arguments")), server=True)
        if output := as_json(tool.get("output")):
            yield ToolResult(name, output)


def _calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    for call in as_list(message.get("tool_calls")):
        if isinstance(call, dict):
            function = call.get("function") or call.get("custom") or call
            yield _call(as_text(call.get("id")), function)
    function = as_dict(message.get("function_call"))
    if any(function.values()):  # Snowflake has one that is empty
        yield _call("", function)


def _call(call_id: str, value: object) -> ToolCall:
    function = as_dict(value)
    given = function.get("arguments")
    arguments = as_json(function.get("input") if given is None else given)
    return ToolCall(call_id, as_text(function.get("name")), arguments)
