"""The documentation of the API, rendered from its OpenAPI document; nothing is loaded for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from perimeter_plugin_live_trace.api.handlers import document
from perimeter_plugin_live_trace.web.page import Ask, page


class Field(msgspec.Struct, frozen=True):
    """A parameter, or a field of an answer; `refers` names the type that is further down."""

    name: str
    type: str
    refers: str
    required: bool
    about: str


class Answer(msgspec.Struct, frozen=True):
    """What a status means, and which type comes with it."""

    status: str
    about: str
    type: str


class Operation(msgspec.Struct, frozen=True):
    """An address that can be asked."""

    method: str
    path: str
    title: str
    about: str
    params: list[Field]
    answers: list[Answer]


class Shape(msgspec.Struct, frozen=True):
    """A type of answers."""

    name: str
    about: str
    fields: list[Field]


class DocsView(msgspec.Struct, frozen=True):
    """The page."""

    version: str
    about: str
    operations: list[Operation]
    shapes: list[Shape]
    base: str
    token: bool


@page("/api/docs", template="pages/api_docs.html", nav="api", title="API")
def api_docs(ask: Ask) -> DocsView:
    """Show all operations and types."""
    found = document()
    operations = [
        _operation(path, method, each)
        for path, methods in found["paths"].items()
        for method, each in methods.items()
    ]
    shapes = [_shape(name, each) for name, each in found["components"]["schemas"].items()]
    info = found["info"]
    return DocsView(
        version=info["version"],
        about=info["description"],
        operations=operations,
        shapes=shapes,
        base=ask.site.url,
        token=bool(ask.site.token),
    )


def _operation(path: str, method: str, found: Mapping[str, Any]) -> Operation:
    answers = [
        Answer(status, each.get("description", ""), _refers(_content(each)))
        for status, each in found["responses"].items()
    ]
    params = [_param(each) for each in found.get("parameters", ())]
    return Operation(method.upper(), path, found["summary"], found["description"], params, answers)


def _content(response: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = (
        response.get("content", {}).get("application/json", {}).get("schema", {})
    )
    return schema


def _param(found: Mapping[str, Any]) -> Field:
    schema = found["schema"]
    limits = [
        f"{word} {schema[key]:g}"
        for word, key in (("at least", "minimum"), ("at most", "maximum"))
        if key in schema
    ]
    default = schema.get("default")
    told = [found.get("description", ""), *limits, f"default {default}" if default else ""]
    about = re.sub("`(.*?)`", r"“\1”", "; ".join(each.rstrip(".") for each in told if each))
    where = " (in the path)" if found["in"] == "path" else ""
    return Field(found["name"], _type(schema) + where, "", bool(found.get("required")), about)


def _shape(name: str, found: Mapping[str, Any]) -> Shape:
    required = set(found.get("required", ()))
    fields = [
        Field(field, _type(each), _refers(each), field in required, each.get("description", ""))
        for field, each in found.get("properties", {}).items()
    ]
    return Shape(name, found.get("description", "").partition("Attributes:")[0].strip(), fields)


def _type(schema: Mapping[str, Any]) -> str:
    """Return a type in words."""
    if "oneOf" in schema:
        return " or ".join(_type(each) for each in schema["oneOf"])
    if "$ref" in schema:
        return _refers(schema)
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(kind)


def _refers(schema: Mapping[str, Any]) -> str:
    """Return the name of the type that a schema refers to, "" for none."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    inner = [schema.get("items", {}), *schema.get("oneOf", ())]
    return next((name for each in inner if each and (name := _refers(each))), "")


routes = (api_docs,)
