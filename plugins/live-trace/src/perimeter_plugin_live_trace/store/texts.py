"""Texts as they are stored: encodable, of bounded length, without secrets."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from perimeter import redaction


PREVIEW = 160
TITLE = 120
NAME = 200
"""Characters of names: models, tools, tags."""
IDENTIFIER = 200
"""Characters of ids that clients send."""


def clean(text: str) -> str:
    """Return a text that can be stored: halves of surrogate pairs and NUL are replaced."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def name(value: Any, limit: int = NAME) -> str:
    """Return the name of something, masked; "" for what is no text."""
    if not isinstance(value, str):
        return ""
    # Nothing shorter has the shape of a secret.
    return clean(value) if len(value) < _SHORT else _long_name(value[: limit + _SHORT], limit)


_SHORT = 16


@lru_cache(maxsize=2000)
def _long_name(value: str, limit: int) -> str:
    return clean(redaction.text(value)[:limit])


def span(value: Any) -> str:
    """Return the id of a span."""
    return clean(value[:64]) if isinstance(value, str) else ""


def identifier(value: Any) -> str:
    """Return an id; one that is too long as its beginning and a digest of all of it."""
    if not isinstance(value, str):
        return ""
    if len(value) <= IDENTIFIER:
        return clean(value)
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return clean(f"{value[: IDENTIFIER - 20]}~{digest}")


def excerpt(text: str, limit: int) -> str:
    """Return the beginning of a text, masked."""
    return clean(redaction.excerpt(text, limit))


def beginning(text: str, limit: int) -> str:
    """Return the beginning of a text, which is masked already."""
    return clean(text[:limit])


def line(text: str, limit: int = PREVIEW) -> str:
    """Return the beginning of a text, which is masked already, in one line."""
    return " ".join(text[: 4 * limit].split())[:limit]


def to_json(value: Any) -> bytes:
    """
    Return a value as JSON that everybody can read.

    Raises:
        ValueError: It can't be written as JSON.
    """
    try:
        return _encode(value)
    except UnicodeEncodeError:
        pass  # half of a surrogate pair
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(type(error).__name__) from error
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, RecursionError) as error:
        raise ValueError(type(error).__name__) from error
    return text.encode("utf-8", "replace")


_encode = msgspec.json.Encoder().encode
