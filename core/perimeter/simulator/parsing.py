"""Reading requests strictly, with the errors that the providers would send."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from perimeter.simulator.conversation import Conversation
from perimeter.simulator.providers import Refusal


T = TypeVar("T")

_PLACE = re.compile(r" - at `(?:key in )?\$\.?(.*?)`")
_MISSING = re.compile(r"missing required field `(\w+)`")


class Part(msgspec.Struct):
    """A part of a message's content. Only text is understood, other parts count as their type."""

    type: str
    text: str | None = None


Content = str | list[Part] | None


def parse(body: bytes, shape: type[T]) -> T:
    """
    Read a request body.

    Raises:
        Refusal: With status 400, when it is not JSON or not of that shape.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error), param=_param(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"We could not parse the JSON body of your request: {error}"
        raise Refusal(400, message) from None


def _param(message: str) -> str | None:
    place, missing = _PLACE.search(message), _MISSING.search(message)
    parts = [found[1] for found in (place, missing) if found]
    return ".".join(parts) or None


def text_of(content: Content) -> str:
    """Return the text of a message's content."""
    if isinstance(content, list):
        return "\n".join(part.text or f"[{part.type}]" for part in content)
    return content or ""


def arguments_of(text: str) -> dict[str, Any]:
    """Return the arguments of an earlier call; none where they are no JSON object."""
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}


def refuse_orphans(conversation: Conversation, message: str, param: str) -> None:
    """
    Refuse tool results that answer no call: the sign of a history that lost a message.

    Args:
        conversation: What was said.
        message: What the provider says then; `{id}` stands for the call's id.
        param: The parameter at fault.
    """
    for result in conversation.orphans():
        raise Refusal(400, message.format(id=result.call_id), param=param)
