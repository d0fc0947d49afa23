"""What the parsers of all dialects share: reading JSON, and taking values of unknown type."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from perimeter.calls import Media, ParseError


_DIGITS = 32
_TOO_DEEP = "JSON that is nested too deeply"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def load(body: bytes) -> dict[str, Any]:
    """
    Read a JSON object; white space around it does no harm, of duplicate keys the last counts.

    Args:
        body: Is read leniently where it must be: what is not UTF-8, and halves of surrogate pairs,
            are replaced, so that every text in the result can be encoded.

    Raises:
        ParseError: It is no JSON object, or one that is nested too deeply.
    """
    value = load_any(body)
    if not isinstance(value, dict):
        message = f"JSON, but no object: {type(value).__name__}"
        raise ParseError(message)
    return value


def load_any(body: bytes) -> Any:
    """
    Read any JSON value, as `load` does.

    Raises:
        ParseError: It is no JSON, or nested too deeply.
    """
    try:
        return _decode(body)
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None
    except (ValueError, msgspec.MsgspecError):
        return _load_leniently(body)


def _load_leniently(body: bytes) -> Any:
    try:
        text = body.decode("utf-8", "replace").removeprefix("\ufeff")
        value = json.loads(text, parse_int=_number)
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        # Its `msg` says what is wrong without content; the exception itself holds the whole body.
        message = f"no JSON: {error.msg}"
        raise ParseError(message) from None


def _number(digits: str) -> int | float:
    """Return an integer; one that Python refuses to read, or takes long for, as a float."""
    return int(digits) if len(digits) < 20 else float(digits)


def as_text(value: Any) -> str:
    """Return a string as it is, "" for everything else."""
    return value if isinstance(value, str) else ""


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, an empty one for everything else."""
    return value if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """Return an object as it is, an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def as_json(value: Any) -> str:
    """Return a string as it is, "" for null, and compact JSON for everything else."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return _encode(value).decode()
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return _as_odd_json(value)


def _as_odd_json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"))
    except (ValueError, RecursionError):
        return ""


def count(value: Any) -> int:
    """Return a number of tokens: an integer that is not negative, 0 for everything else."""
    return value if type(value) is int and value > 0 else 0


def digest(text: str) -> str:
    """Return the SHA-256 of a text, the first 32 hexadecimal digits."""
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()[:_DIGITS]


def media(sent: str, kind: str) -> Media:
    """
    Return what is known of a medium.

    Args:
        sent: Its address, which may be a `data:` one, that has the media type and the data in it.
        kind: The media type, or what else is said about it, where the address does not tell.
    """
    if not sent.startswith("data:"):
        return Media(digest(sent), kind)
    head, _, data = sent.partition(",")
    return Media(digest(data), head[len("data:") :].partition(";")[0] or kind, len(data))
