"""
A recorded request as a form, and a form as a request.

A body is cut into what people edit: model, system prompt, messages, tools, and all the rest as
parameters. Where an API has them is said once for each, below; what is not known is a parameter, so
that nothing of a request is lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec


_STREAMING = ("stream", "stream_options")
_MODEL_IN_PATH = re.compile(r"/models/([^/:]+):")
_FIELDS = ("model", "system", "messages", "tools", "parameters")
_LABELS = {"messages": "Messages", "tools": "Tools", "parameters": "Parameters"}


class BadDraft(Exception):
    """What was typed is no request; `problems` says why, for people."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Draft(msgspec.Struct, frozen=True):
    """
    What the form holds, as text.

    Attributes:
        system: Text, or JSON where it is no plain text; None where the API has no place for it.
        messages: JSON; or the text of an API that takes nothing else.
        tools: JSON, "" for none.
        parameters: A JSON object.
    """

    model: str
    system: str | None
    messages: str
    tools: str
    parameters: str

    def changed(self, other: Draft) -> list[str]:
        """Return the names of the fields in which another draft differs."""
        return [
            name for name in _FIELDS if _same(getattr(self, name)) != _same(getattr(other, name))
        ]


@attrs.frozen
class Shape:
    """
    Where an API has what is edited.

    Attributes:
        messages: The member with the messages.
        system: The member with the system prompt; "" where it is the first message.
        tools: The member with the tools.
        model_in_path: Whether the model is part of the path.
        stream: Whether a member asks for a stream.
    """

    messages: str = "messages"
    system: str = ""
    tools: str = "tools"
    model_in_path: bool = False
    stream: bool = True


_SHAPES = {
    "openai.chat": Shape(),
    "openai.responses": Shape("input", "instructions"),
    "openai.completions": Shape("prompt", "-"),
    "anthropic.messages": Shape("messages", "system"),
    "gemini": Shape("contents", "systemInstruction", model_in_path=True, stream=False),
    "ollama.chat": Shape(),
    "ollama.generate": Shape("prompt", "system"),
}


def shape_of(dialect: str) -> Shape | None:
    """Return where a dialect has what is edited, None for one that can't be edited."""
    return _SHAPES.get(dialect) or _SHAPES.get(dialect.partition(".")[0])


def draft_of(shape: Shape, body: bytes, path: str) -> Draft:
    """
    Return the form for a recorded request.

    Raises:
        BadDraft: The body is no JSON object.
    """
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise BadDraft(["What was recorded of the request is no JSON object."]) from None
    for name in _STREAMING:
        fields.pop(name, None)
    messages = fields.pop(shape.messages, [])
    system, messages = _system_of(shape, fields, messages)
    tools = fields.pop(shape.tools, None)
    model = fields.pop("model", "")
    if shape.model_in_path and (found := _MODEL_IN_PATH.search(path)):
        model = found[1]
    return Draft(
        model=str(model),
        system=system,
        messages=messages if isinstance(messages, str) else written(messages),
        tools="" if tools is None else written(tools),
        parameters=written(fields),
    )


def system_role(body: bytes) -> str:
    """Return whose message the system prompt of a recorded request is."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
        first = fields["messages"][0]["role"]
    except (msgspec.MsgspecError, RecursionError, LookupError, TypeError):
        return "system"
    return "developer" if first == "developer" else "system"


def _system_of(shape: Shape, fields: dict[str, Any], messages: Any) -> tuple[str | None, Any]:
    """Return the system prompt, and the messages without it."""
    if shape.system == "-":
        return None, messages
    if shape.system:
        value = fields.pop(shape.system, "")
        if shape.system == "systemInstruction":
            value = fields.pop("system_instruction", value)
        return value if isinstance(value, str) else written(value), messages
    first = messages[0] if isinstance(messages, list) and messages else None
    if isinstance(first, dict) and _is_system(first):
        return first["content"], messages[1:]
    return "", messages


def _is_system(message: Any) -> bool:
    return (
        isinstance(message, dict)
        and set(message) == {"role", "content"}
        and message["role"] in {"system", "developer"}
        and isinstance(message["content"], str)
    )


@attrs.frozen
class Request:
    """
    What is sent.

    Attributes:
        path: The provider's path, perhaps for another model.
        body: JSON.
        model: The model.
    """

    path: str
    body: bytes
    model: str


def request_of(shape: Shape, draft: Draft, path: str, role: str = "system") -> Request:
    """
    Return the request that a form describes; it asks for no stream.

    Args:
        shape: Where the API has everything.
        draft: What was typed.
        path: The path of the recorded request.
        role: Whose message the system prompt is, where it is one.

    Raises:
        BadDraft: Something is no JSON, or no JSON of the right kind.
    """
    problems: list[str] = []
    fields = _object(draft.parameters, problems)
    messages = _messages(draft.messages, shape, problems)
    tools = _json(draft.tools, "tools", problems) if draft.tools.strip() else None
    if tools is not None and not isinstance(tools, list):
        problems.append("Tools are a JSON list.")
    if not draft.model.strip():
        problems.append("A model is needed.")
    if problems:
        raise BadDraft(problems)
    body: dict[str, Any] = {} if shape.model_in_path else {"model": draft.model.strip()}
    body |= fields
    body |= _with_system(shape, draft.system or "", messages, role)
    if tools is not None:
        body[shape.tools] = tools
    if shape.stream:
        body["stream"] = False
    return Request(_path(shape, path, draft.model.strip()), msgspec.json.encode(body), draft.model)


def _with_system(shape: Shape, system: str, messages: Any, role: str) -> dict[str, Any]:
    if shape.system == "-" or not system.strip():
        return {shape.messages: messages}
    if not shape.system:
        return {shape.messages: [{"role": role, "content": system}, *messages]}
    return {shape.system: _structured(system), shape.messages: messages}


def _structured(text: str) -> Any:
    """Return a system prompt as it was: blocks that were shown as JSON become blocks again."""
    if text.lstrip()[:1] in {"[", "{"}:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        return value if isinstance(value, (list, dict)) else text
    return text


def _path(shape: Shape, path: str, model: str) -> str:
    """Return the path for a model, and for an answer that is no stream."""
    if not shape.model_in_path:
        return path
    path = path.replace(":streamGenerateContent", ":generateContent")
    if not re.fullmatch(r"[\w.@-]{1,200}", model):
        raise BadDraft(["A model's name has letters, digits, dots and dashes only."])
    return _MODEL_IN_PATH.sub(f"/models/{model}:", path)


def _messages(text: str, shape: Shape, problems: list[str]) -> Any:
    if shape.messages in {"prompt", "input"} and text.lstrip()[:1] not in {"[", "{"}:
        return text
    value = _json(text, "messages", problems)
    if not isinstance(value, list):
        problems.append("Messages are a JSON list.")
    return value


def _object(text: str, problems: list[str]) -> Mapping[str, Any]:
    value = _json(text, "parameters", problems) if text.strip() else {}
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if name not in _STREAMING}
    problems.append("Parameters are a JSON object.")
    return {}


def _json(text: str, name: str, problems: list[str]) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        problems.append(f"{_LABELS[name]}: too deep.")
    except ValueError as error:
        told = str(error) if isinstance(error, json.JSONDecodeError) else "a number is too long"
        problems.append(f"{_LABELS[name]} are no JSON: {told}.")
    return []


def written(value: Any) -> str:
    """Return a value as JSON that people can edit."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _same(text: str | None) -> Any:
    """Return what makes two texts the same: JSON however it is written, else the words."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return (text or "").replace("\r\n", "\n").strip()
