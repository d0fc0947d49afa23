"""Messages as JSON values for tools, and as Markdown for transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from perimeter.calls import Media, Message, Other, Part, Text, Thinking, ToolCall, ToolResult
from perimeter_plugin_live_trace.api.limits import shortened


def message_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON values, as events have it."""
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Thinking(text):
            return {"type": "thinking", "text": text}
        case ToolCall():
            call = {"id": part.id, "name": part.name, "arguments": part.arguments}
            return {"type": "tool_call", **call}
        case ToolResult():
            result = {"call_id": part.call_id, "text": part.text, "is_error": part.is_error}
            return {"type": "tool_result", **result}
        case Media():
            return {"type": "media", "media_type": part.type, "size": part.size}
        case Other():
            return {"type": "other", "kind": part.type}


def message_markdown(message: Message, heading: str, most: int) -> str:
    """
    Return a message as Markdown.

    Args:
        message: The message.
        heading: What stands above it.
        most: Characters of each of its parts.
    """
    return "\n\n".join([f"## {heading}", *_blocks(message, most)])


def _blocks(message: Message, most: int) -> Iterator[str]:
    for part in message.parts:
        match part:
            case Text(text):
                yield quoted(shortened(text, most))
            case Thinking(text):
                yield f"*thinking*\n\n{quoted(shortened(text, most) or '(not shown)')}"
            case ToolCall():
                yield f"*calls the tool* {code(part.name)}\n\n{fenced(part.arguments, most)}"
            case ToolResult():
                what = "*the tool failed*" if part.is_error else "*the tool's result*"
                yield f"{what}\n\n{fenced(part.text, most)}"
            case Media():
                yield f"*{part.type or 'media'}, {part.size:,} characters, not shown*"
            case Other():
                yield f"*{part.type}, not shown*"


def quoted(text: str) -> str:
    """Return a text as a quotation: no line of it can be taken for a heading of ours."""
    return "\n".join(f"> {line}" for line in text.splitlines()) or "> "


def fenced(text: str, most: int) -> str:
    """Return a text in a fence that is longer than any in it."""
    text = shortened(text, most)
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}\n{text}\n{fence}"


def code(text: str) -> str:
    """Return a short text as inline code."""
    return f"`{text.replace('`', chr(39))[:200]}`"
