"""The one JSON form of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cattrs
import msgspec

from perimeter.calls import Media, Message, Other, Text, Thinking, ToolCall, ToolResult
from perimeter.model import Event


_converter = cattrs.Converter()


def to_json(event: Event) -> dict[str, Any]:
    """
    Return an event as JSON values.

    A message is `{"role": …, "parts": [{"type": …, …}]}`; the type of a part is `text`, `thinking`,
    `tool_call`, `tool_result`, `media` (its own type is `media_type`) or `other` (`kind`). What is
    false or empty of a tool call's `server` and a result's `is_error` and `media` is left out.
    """
    return _unstructured(event)


def to_json_bytes(event: Event) -> bytes:
    """Return an event as one line of JSON, without the line's end."""
    return msgspec.json.encode(to_json(event))


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: object) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Thinking(text):
            return {"type": "thinking", "text": text}
        case ToolCall():
            call = {"type": "tool_call", "id": part.id, "name": part.name}
            made = {**call, "arguments": part.arguments}
            return {**made, "server": True} if part.server else made
        case ToolResult():
            return _result(part)
        case Media():
            made = {"type": "media", "digest": part.digest}
            return {**made, "media_type": part.type, "size": part.size}
        case Other():
            return {"type": "other", "kind": part.type, "digest": part.digest}
    message = f"no part of a message: {type(part).__name__}"
    raise TypeError(message)


def _result(result: ToolResult) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "tool_result", "call_id": result.call_id, "text": result.text}
    if result.is_error:
        made["is_error"] = True
    if result.media:
        made["media"] = [_part(media) for media in result.media]
    return made


_PLAIN = frozenset({str, int, float, bool, type(None)})


def _any(value: object) -> Any:
    """Return a value of an attribute as JSON values."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Message):
        return _message(value)
    if isinstance(value, Mapping):
        return {str(key): _any(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_any(item) for item in value]
    return value


_converter.register_unstructure_hook(
    Event,
    lambda event: {
        "schema_version": event.schema_version,
        "timestamp": event.timestamp,
        "trace_id": event.trace_id,
        "span_id": event.span_id,
        "name": event.name,
        "level": event.level,
        "agent_id": event.agent_id,
        "session_id": event.session_id,
        "attributes": _any(event.attributes),
    },
)
_unstructured: Callable[[Event], dict[str, Any]] = _converter.get_unstructure_hook(Event)
"""Found once: the converter looks it up for each event."""
