"""Events and messages as JSON, and how much memory they hold while they wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from perimeter import redaction
from perimeter.calls import Message


if TYPE_CHECKING:
    from perimeter import Event

_SMALL = 500
"""Bytes that an event holds beside its texts, roughly."""

_encode = msgspec.json.Encoder().encode


def to_line(value: Mapping[str, Any], *, redact: bool) -> bytes:
    """
    Return JSON values as one line, without its end.

    Args:
        value: May hold what other plugins have put into their events, which may be anything.
        redact: Whether secrets are masked; masks leave JSON what it is.
    """
    try:
        line = _encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        # Half a surrogate, say: here it is written as an escape sequence.
        line = json.dumps(value, default=repr, separators=(",", ":")).encode("ascii")
    return redaction.data(line)[0] if redact else line


def weight(event: Event) -> int:
    """Return how many bytes an event holds in memory, roughly."""
    return _SMALL + sum(_weight(value) for value in event.attributes.values())


def _weight(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Message):
        return sum(_part(part) for part in value.parts)
    if isinstance(value, list):
        return sum(_weight(item) for item in value)
    return 0


def weight_of(messages: tuple[Message, ...]) -> int:
    """Return how many bytes messages hold, roughly."""
    return sum(_part(part) for message in messages for part in message.parts)


def _part(part: object) -> int:
    text: str = getattr(part, "text", "") or getattr(part, "arguments", "")
    return len(text) + 100
