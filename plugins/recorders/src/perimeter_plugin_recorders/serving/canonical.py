"""When two requests are the same: method, path, query and body, however those are written."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

import attrs
import msgspec

from perimeter import redaction


_OWN_PREFIX = re.compile(r"\A(?:/-/to/[^/]+)?(?:/agent-workflow/[^/]+)?(?:/-/to/[^/]+)?(?=/)")
_BOUNDARY = re.compile(r'multipart/[^;]+;.*boundary="?([^";]+)', re.IGNORECASE)
_MASK = "***"
_ABSENT = object()
_decode = msgspec.json.Decoder().decode


@attrs.frozen
class Asked:
    """
    A request in the form in which requests are compared.

    Attributes:
        method: HTTP method.
        path: The path, without Perimeter's own prefixes.
        query: The query's parameters in order of their names; credentials are only there or not.
        body: The JSON value, without the fields that are ignored; else bytes; None for no body.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    body: Any

    @property
    def route(self) -> tuple[str, str]:
        """Method and path."""
        return self.method, self.path

    def digest(self) -> bytes:
        """Return what is the same for the same requests."""
        whole = hashlib.sha256(repr((self.method, self.path, self.query)).encode())
        if isinstance(self.body, bytes):
            whole.update(b"b" + self.body)
        else:
            text = json.dumps(_even(self.body), sort_keys=True, separators=(",", ":"))
            whole.update(b"j" + text.encode("utf-8", "surrogatepass"))
        return whole.digest()


def asked(
    method: str, target: str, body: bytes, content_type: str = "", ignore: Sequence[str] = ()
) -> Asked:
    """
    Return a request in the form in which it is compared.

    Args:
        method: HTTP method.
        target: Path and query.
        body: The body, content-encoding undone. Secrets in it are masked as in recordings.
        content_type: The header's value.
        ignore: JSON fields that do not count: names with dots between them, `*` for any.
    """
    path, _, query = target.partition("?")
    masked, _ = redaction.data(body)
    return Asked(
        method.upper(),
        _OWN_PREFIX.sub("", path),
        tuple(sorted(_parameters(query))),
        _value(masked, content_type, ignore),
    )


def differences(one: Asked, other: Asked) -> list[tuple[str, Any, Any]]:
    """
    Return where two requests differ: the place, and what is there in each, None for nothing.

    Places in JSON are written as the fields to ignore are.
    """
    found: list[tuple[str, Any, Any]] = []
    if one.route != other.route:
        found.append(("path", " ".join(one.route), " ".join(other.route)))
    if one.query != other.query:
        found.append(("query", dict(one.query), dict(other.query)))
    if isinstance(one.body, dict | list) and isinstance(other.body, dict | list):
        mine, theirs = dict(_leaves(_even(one.body))), dict(_leaves(_even(other.body)))
        for place in dict.fromkeys([*mine, *theirs]):
            left, right = mine.get(place, _ABSENT), theirs.get(place, _ABSENT)
            if type(left) is not type(right) or left != right:  # for Python, True is 1
                found.append((place, _or_none(left), _or_none(right)))
    elif one.body != other.body:
        found.append(("body", one.body, other.body))
    return found


def _or_none(value: Any) -> Any:
    return None if value is _ABSENT else value


def _parameters(query: str) -> Iterator[tuple[str, str]]:
    for name, value in parse_qsl(query, keep_blank_values=True):
        secret = _MASK in value or redaction.query(f"{name}={value}") != f"{name}={value}"
        yield name, _MASK if secret else value


def _value(body: bytes, content_type: str, ignore: Sequence[str]) -> Any:
    if not body.strip():
        return None
    if (boundary := _BOUNDARY.match(content_type)) is not None:
        return body.replace(boundary[1].encode("latin-1", "replace"), b"boundary")
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    for field in ignore:
        _drop(value, field.split("."))
    return value


def _drop(value: Any, field: Sequence[str]) -> None:
    """Remove a field from a JSON value, wherever its pattern leads."""
    name, *rest = field
    if isinstance(value, list):
        places = range(len(value)) if name == "*" else _place(name, len(value))
        for place in places:
            if rest:
                _drop(value[place], rest)
            else:
                value[place] = None
    elif isinstance(value, dict):
        for key in list(value) if name == "*" else [name] * (name in value):
            if rest:
                _drop(value[key], rest)
            else:
                del value[key]


def _place(name: str, length: int) -> range:
    number = int(name) if name.isdecimal() else length
    return range(number, number + 1) if number < length else range(0)


def _even(value: Any) -> Any:
    """Return a JSON value with numbers that are equal written alike."""
    if isinstance(value, dict):
        return {name: _even(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_even(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the places of a JSON value where something stands that is no object and no list."""
    if isinstance(value, dict) and value:
        pairs: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list) and value:
        pairs = iter(enumerate(value))
    else:
        yield place or "body", value
        return
    for name, each in pairs:
        yield from _leaves(each, f"{place}.{name}" if place else str(name))
