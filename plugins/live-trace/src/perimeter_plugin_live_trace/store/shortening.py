"""Makes JSON shorter so that it stays JSON: what is cut are long texts and lists in it."""

from __future__ import annotations

from collections.abc import Sized
from itertools import islice
from typing import Any

import msgspec

from perimeter_plugin_live_trace.store import bodies


_LIMITS = (
    (4 * 1024 * 1024, 100_000),
    (1024 * 1024, 100_000),
    (64 * 1024, 10_000),
    (1024, 1_000),
)
"""Characters of a text and entries of a list or an object, tried one after the other."""


def shortened(item: bytes, limit: int) -> bytes:
    """
    Return a JSON object with what is long in it cut if it has more than `limit` bytes.

    What can't be made that short, or is no JSON, becomes an object that says so.
    """
    if len(item) <= limit:
        return item
    try:
        value = msgspec.json.decode(item)
        for length, most in _LIMITS:
            made = bodies.encode(_cut(value, length, most))
            if len(made) <= limit:
                return made
    except (msgspec.MsgspecError, RecursionError, ValueError):
        pass
    return bodies.encode({"role": "", "content": f"[{len(item)} bytes, not kept]"})


def _cut(value: Any, length: int, most: int) -> Any:
    """Return a JSON value with its texts, lists and objects cut; each says so."""
    if isinstance(value, str):
        return _cut_text(value, length)
    if isinstance(value, dict):
        kept = {name: _cut(each, length, most) for name, each in islice(value.items(), most)}
        return kept | {"...": _more(value, most, "entries")} if len(value) > most else kept
    if isinstance(value, list):
        shown = [_cut(each, length, most) for each in value[:most]]
        return [*shown, _more(value, most, "entries")] if len(value) > most else shown
    return value


def _cut_text(value: str, length: int) -> str:
    if len(value) <= length:
        return value
    return f"{value[:length]} {_more(value, length, 'characters')}"


def _more(value: Sized, most: int, of: str) -> str:
    return f"[{len(value) - most} more {of}, not kept]"
