"""What the parsers of all dialects share: reading JSON, and taking values of unknown type."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from perimeter.calls import Media, ParseError


_DIGITS = 32
LARGE = 256 * 1024
"""Bytes of a body that is read in pieces."""

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
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
    try:
        value = _decode(body) if len(body) < LARGE else _load_in_pieces(body)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        value = load_any(body)
    if type(value) is not dict:
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
        return _decode(body) if len(body) < LARGE else _load_in_pieces(body)
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None
    except (ValueError, msgspec.MsgspecError):
        return _load_leniently(body)


def _load_in_pieces(body: bytes) -> Any:
    """
    Read a large body list element by list element.

    The interpreter is held while C code runs, and a server has other things to do in between.
    """
    if body.lstrip()[:1] != b"{":
        return _decode(body)
    return {name: _load_piece(raw) for name, raw in _decode_object(body).items()}


def _load_piece(raw: msgspec.Raw) -> Any:
    data = memoryview(raw)
    if len(data) < LARGE or data[0] != ord("["):
        return _decode(raw)
    return [_decode(element) for element in _decode_list(raw)]


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


def as_items(value: Any) -> list[Any]:
    """Return a list as it is, none for null, and everything else as its only item."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


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


FILTERED = "content_filter"
"""Azure's code of the error that a prompt ends in which its filter stopped."""


def error_type(error: Any) -> str:
    """
    Return what an error is called: its type, else its code, which may be a number; else "".

    Args:
        error: The object that tells of it. A type of `error` only says that it is one.
    """
    fields = as_dict(error)
    kind, code = as_text(fields.get("type")), fields.get("code")
    if kind and kind != "error":
        return kind
    return str(code) if type(code) is int else as_text(code)


def filtered(error: Any) -> str:
    """
    Return the reason for the end of a call that a filter stopped; "" where none did.

    What a provider's filter stops, prompt or answer, is no failure of the call, whatever its shape:
    it is a reason to finish, and there is no error. Gemini's blocked prompts are read alike.

    Args:
        error: The object that tells of an error.
    """
    return FILTERED if as_dict(error).get("code") == FILTERED else ""


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
