"""Turn untrusted values into text that is safe to print, and numbers into text that reads well."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from perimeter.redaction import excerpt


_HARMLESS = frozenset("\u3000\u200c\u200d")
"""Not printable to Python, yet part of plain text: ideographic space, Persian and emoji joiners."""

_BYTES_PER_CHARACTER = 4
_MARGIN = 16_384


def escape(text: str) -> str:
    r"""
    Return `text` with everything that could steer a terminal written as `\x1b` or `\u202e`.

    That is control characters, line and paragraph separators, reversals of the writing direction,
    lone surrogates, and characters that are not assigned or for private use.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode-escape", "surrogatepass").decode("ascii")


_is_word = re.compile(r'[^ "\\]+').fullmatch


def quote(text: str) -> str:
    """Return `text` as one word: as it is where that is safe, otherwise as a JSON string."""
    if _is_word(text) and text.isprintable():
        return text
    return escape(json.dumps(text, ensure_ascii=False))


def body_text(body: bytes, limit: int) -> str:
    """
    Return the beginning of a body as text, masked, or a note of its size where it is not text.

    Args:
        body: A body of any size and kind; little more than what is shown is looked at.
        limit: How many characters to show.
    """
    piece = body[: limit * _BYTES_PER_CHARACTER + _MARGIN]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(piece)
    except UnicodeDecodeError:
        return f"<{human_size(len(body))} that are not text>"
    shown = excerpt(text, limit)
    return f"{shown}…" if len(text) > limit else shown


def value_text(value: Any, limit: int) -> str:
    """Return any value, such as a tool's parameters, as text of limited length, masked."""
    text = value if isinstance(value, str) else _json(value, limit + _MARGIN)
    shown = excerpt(text, limit)
    return f"{shown}…" if len(text) > limit else shown


def _json(value: Any, limit: int) -> str:
    """Write JSON piece by piece, so that a huge value costs no more than what is shown of it."""
    pieces: list[str] = []
    length = 0
    encoder = json.JSONEncoder(ensure_ascii=False, default=str, skipkeys=True)
    for piece in encoder.iterencode(value):
        pieces.append(piece)
        length += len(piece)
        if length > limit:
            break
    return "".join(pieces)


def human_size(size: int) -> str:
    """Return a number of bytes as `512 B`, `1.2 kB`, `34 kB` or `5.6 MB`."""
    if size < 1000:
        return f"{size} B"
    number = float(size)
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if number < 999.5 or unit == "GB":
            break
    return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"


def human_seconds(seconds: float) -> str:
    """Return a duration as `0.4 ms`, `832 ms`, `3.21 s` or `2 min 05 s`."""
    if seconds < 0.00995:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def human_count(number: int) -> str:
    """Return a number of tokens as `340`, `1.2k`, `12k` or `3.4M`."""
    if number < 1000:
        return str(number)
    scaled, unit = (number / 1000, "k") if number < 999_500 else (number / 1_000_000, "M")
    return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"


def human_cost(dollars: float) -> str:
    """Return an amount as `$0.0031`, `$1.24` or `<$0.0001`."""
    if 0 < dollars < 0.0001:
        return "<$0.0001"
    return f"${dollars:.2f}" if dollars >= 1 else f"${dollars:.4f}"
