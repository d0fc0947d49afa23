"""What keeps answers small: limits on texts, values and pages, and cursors that lead on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec


_MOST_ITEMS = 200
"""Of a list or an object inside a value."""
_DEEPEST = 12
_encode = msgspec.json.Encoder().encode


class BadCursor(Exception):
    """`after` is nothing that an earlier answer gave."""

    def __init__(self) -> None:
        super().__init__("“after” must be the “next” of an earlier answer, unchanged")


def cursor(*values: int) -> str:
    """Return where a page ends, as text that is only to be given back."""
    return base64.urlsafe_b64encode(_encode(values)).decode().rstrip("=")


def read_cursor(text: str, count: int) -> tuple[int, ...]:
    """
    Return what `cursor` was given.

    Args:
        text: What the client gave.
        count: How many numbers it must hold.

    Raises:
        BadCursor: It is none of ours.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        values = msgspec.json.decode(data, type=list[int])
    except (ValueError, msgspec.MsgspecError):
        raise BadCursor from None
    if len(values) != count or any(abs(value) >= 2**63 for value in values):
        raise BadCursor
    return tuple(values)


def shortened(text: str, most: int) -> str:
    """Return a text, or its beginning and how much is left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}… [{len(text) - most:,} more characters]"


def bounded(value: Any, most_text: int, depth: int = 0) -> Any:
    """Return a JSON value with long texts, lists and objects shortened, and saying so."""
    if isinstance(value, str):
        return shortened(value, most_text)
    if isinstance(value, (list, dict)) and depth >= _DEEPEST:
        return f"[{len(value)} items, too deep to show]"
    if isinstance(value, list):
        kept = [bounded(item, most_text, depth + 1) for item in value[:_MOST_ITEMS]]
        more = len(value) - len(kept)
        return [*kept, f"[{more:,} more items]"] if more else kept
    if isinstance(value, Mapping):
        return _bounded_object(value, most_text, depth)
    return value


def _bounded_object(value: Mapping[str, Any], most_text: int, depth: int) -> dict[str, Any]:
    names = list(value)[:_MOST_ITEMS]
    kept = {shortened(name, 200): bounded(value[name], most_text, depth + 1) for name in names}
    if len(value) > len(names):
        kept["…"] = f"{len(value) - len(names):,} more members"
    return kept


def fitting(value: Any, most_bytes: int, most_text: int) -> Any:
    """Return a JSON value shortened until its JSON is not longer than a number of bytes."""
    while most_text >= 32:
        kept = bounded(value, most_text)
        if len(_encode(kept)) <= most_bytes:
            return kept
        most_text //= 4
    return {"too_large": shortened(_encode(bounded(value, 32)).decode(), most_bytes // 4)}
