"""Filling in a tool's arguments from what the user said."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from perimeter.simulator.arithmetic import expressions
from perimeter.simulator.conversation import Tool


_CAPITAL = r"[^\W\d_a-z][\w'\u2019-]*"
_PLACE = re.compile(
    rf"(?:\b(?:in|at|for|of|near|to|from|and|or|versus|vs)|,)\s+"
    rf"({_CAPITAL}(?:\s+{_CAPITAL})*(?:, [A-Z]{{2}}\b)?)"
)
_LOWER_PLACE = re.compile(r"\b(?:in|near)\s+(?!the\b|a\b|an\b|my\b)([a-z][\w'\u2019-]+)")
_PROPER = re.compile(rf"(?<!^)(?<![.!?]\s)\b({_CAPITAL}(?:\s+{_CAPITAL})*)")
_QUOTED = re.compile(r"[\"“]([^\"”]{1,500})[\"”]")
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,18}(?:\.\d{1,18})?(?![\w])")
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_LINK = re.compile(r"https?://[^\s\"'<>]{1,2000}")
_DATE = re.compile(
    r"\b(?:\d{4}-\d{2}-\d{2}|today|tomorrow|tonight|yesterday|(?:mon|tues|wednes|thurs|fri|satur|sun)day)\b",
    re.IGNORECASE,
)
_NO_PLACES = """
    I Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June
    July August September October November December What How Where Celsius Fahrenheit
"""
_NO_PLACE = frozenset(_NO_PLACES.split())


def _places(message: str) -> list[str]:
    found = _PLACE.findall(message) or _LOWER_PLACE.findall(message) or _PROPER.findall(message)
    return [place for place in dict.fromkeys(found) if place not in _NO_PLACE]


def _texts(message: str) -> list[str]:
    return _QUOTED.findall(message) or _proper_names(message)


def _proper_names(message: str) -> list[str]:
    return [name for name in dict.fromkeys(_PROPER.findall(message)) if name not in _NO_PLACE]


def _numbers(message: str) -> list[float]:
    return [float(number) if "." in number else int(number) for number in _NUMBER.findall(message)]


@attrs.frozen
class _Kind:
    """
    A kind of parameter.

    Attributes:
        find: Its values in a message.
        words: Parameters with one of these in their name are of this kind.
        spreads: Whether more values than parameters make more calls.
    """

    find: Callable[[str], list[Any]]
    words: tuple[str, ...] = ()
    spreads: bool = True


_KINDS = (
    _Kind(expressions, ("expression", "formula", "equation", "calculation")),
    _Kind(_EMAIL.findall, ("email", "recipient")),
    _Kind(_LINK.findall, ("url", "link", "uri")),
    _Kind(_DATE.findall, ("date", "day", "when"), spreads=False),
    _Kind(_places, ("city", "cities", "location", "place", "town", "country", "origin", "destin")),
)
_WHOLE = _Kind(
    lambda message: [message], ("query", "question", "prompt", "input", "text"), spreads=False
)
_NUMERIC = _Kind(_numbers, spreads=False)
_TEXT = _Kind(_texts, spreads=False)

_PLAIN = {"integer": 1, "number": 1, "null": None}
"""What is given for a parameter of these types that the message says nothing about."""

_Schema = Mapping[str, Any]


def fill(tool: Tool, message: str) -> list[dict[str, Any]]:
    """
    Return the arguments of every call that a message asks for.

    Args:
        tool: The tool; its parameters are filled in as far as the message says, and required ones
            always, with something of the right type.
        message: What the user said.

    Returns:
        One dictionary per call, at least one.
    """
    schema = tool.parameters
    properties = {name: _schema(value) for name, value in _schema(schema.get("properties")).items()}
    required = _list(schema.get("required"))
    groups = _groups(properties)
    found = {id(kind): kind.find(message) for kind, _ in groups}
    calls = max([1, *(-(-len(found[id(k)]) // len(names)) for k, names in groups if k.spreads)])
    rows: list[dict[str, Any]] = [{} for _ in range(calls)]
    for kind, names in groups:
        _fill_group(rows, names, found[id(kind)])
    for row in rows:
        _complete(row, properties, required, message)
    return rows


def _groups(properties: Mapping[str, _Schema]) -> list[tuple[_Kind, list[str]]]:
    groups: dict[int, tuple[_Kind, list[str]]] = {}
    for name, schema in properties.items():
        kind = _kind(name, schema)
        if kind is not None:
            groups.setdefault(id(kind), (kind, []))[1].append(name)
    return list(groups.values())


def _kind(name: str, schema: _Schema) -> _Kind | None:
    type_ = _type(schema)
    if type_ in {"number", "integer"}:
        return _NUMERIC
    if type_ != "string" or "enum" in schema:
        return None
    lower = name.lower()
    named = (kind for kind in (*_KINDS, _WHOLE) if any(word in lower for word in kind.words))
    return next(named, _TEXT)


def _fill_group(rows: list[dict[str, Any]], names: list[str], values: list[Any]) -> None:
    """Deal out the values of one kind: row by row, the last one again where they run out."""
    for i, row in enumerate(rows):
        dealt = values[i * len(names) : (i + 1) * len(names)] or values[-len(names) :]
        row.update(zip(names, dealt, strict=False))


def _complete(
    row: dict[str, Any], properties: Mapping[str, _Schema], required: list[Any], message: str
) -> None:
    for name, schema in properties.items():
        mentioned = next((v for v in _list(schema.get("enum")) if _mentions(message, v)), None)
        if mentioned is not None:
            row[name] = mentioned
        elif name in row and _type(schema) == "integer":
            row[name] = int(row[name])
        elif name not in row and name in required:
            row[name] = _something(name, schema, message)


def _mentions(message: str, value: object) -> bool:
    return re.search(rf"\b{re.escape(str(value))}\b", message, re.IGNORECASE) is not None


def _something(name: str, schema: _Schema, message: str) -> Any:
    """Return a value of the right type for a required parameter that the message does not give."""
    for option in _list(schema.get("enum")):
        return option
    match _type(schema):
        case "boolean":
            return _mentions(message, name)
        case "array":
            return _items(name, _schema(schema.get("items")), message)
        case "object":
            return fill(Tool(name, parameters=schema), message)[0]
        case type_:
            return _PLAIN.get(type_, message)


def _items(name: str, schema: _Schema, message: str) -> list[Any]:
    kind = _kind(name, schema)
    values = kind.find(message) if kind else []
    return values or [_something(name, schema, message)]


def _type(schema: _Schema) -> str:
    """Return a schema's type; of several the first one that is not null."""
    type_ = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(type_, list):
        return next((str(name) for name in type_ if name != "null"), "null")
    return str(type_)


def _schema(value: object) -> _Schema:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
