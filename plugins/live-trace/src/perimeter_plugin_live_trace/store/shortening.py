"""Makes JSON shorter so that it stays JSON: what is cut are long texts in it."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.store import bodies


_LENGTHS = (4 * 1024 * 1024, 1024 * 1024, 64 * 1024, 1024)


def shortened(item: bytes, limit: int) -> bytes:
    """
    Return a JSON object with its long texts cut if it has more than `limit` bytes.

    What can't be made that short, or is no JSON, becomes an object that says so.
    """
    if len(item) <= limit:
        return item
    try:
        value = msgspec.json.decode(item)
        for length in _LENGTHS:
            made = bodies.encode(_cut(value, length))
            if len(made) <= limit:
                return made
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    return bodies.encode({"role": "", "content": f"[{len(item)} bytes, not kept]"})


def _cut(value: Any, length: int) -> Any:
    """Return a JSON value with its texts cut."""
    if isinstance(value, str):
        if len(value) <= length:
            return value
        return f"{value[:length]} [{len(value) - length} more characters, not kept]"
    if isinstance(value, dict):
        return {name: _cut(each, length) for name, each in value.items()}
    if isinstance(value, list):
        return [_cut(each, length) for each in value]
    return value
