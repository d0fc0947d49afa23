"""
What was said, as text that is the same however a client packs it.

What the model said in one turn may be one message or several, texts are joined and trimmed,
reasoning and what the provider ran itself are left out, and so are ids of tool calls, because some
clients replace them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec

from perimeter.calls import Media, Message, Other, Part, Text, ToolCall, ToolResult


INSTRUCTIONS = frozenset({"system", "developer"})
"""Roles whose messages are the agent's, not the conversation's, where they lead it."""

Said = tuple[str, str, tuple[str, ...]]
"""The model's words; its calls of tools and what else it made; the calls' ids that look random."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_COUNTED = re.compile(r"(?:call|tool|toolu|fc|id|function|chatcmpl-tool)?[-_]?\d{0,6}")


def said_by_client(messages: Iterable[Message]) -> str:
    """Return what a client says in some messages."""
    return "".join(map(said_in, messages))


def said_in(message: Message) -> str:
    """Return what a client says in one message."""
    tag, parts = "s" if message.role in INSTRUCTIONS else "u", message.parts
    if len(parts) == 1 and type(parts[0]) is Text:  # nearly always
        return f"{tag}{parts[0].text.strip()}\0"
    pieces = []
    for part in parts:
        kind = type(part)
        if kind is Text:
            pieces.append(f"{tag}{part.text.strip()}\0")  # type: ignore[union-attr]
        elif kind is ToolResult:
            media = "".join([each.digest for each in part.media])  # type: ignore[union-attr]
            pieces.append(f"r{part.text.strip()}{media}\0")  # type: ignore[union-attr]
        elif kind is Media or kind is Other:
            pieces.append(f"m{part.digest}\0")  # type: ignore[union-attr]
    return "".join(pieces)


def said_by_model(parts: Sequence[Part]) -> Said:
    """Return what the model said in one turn."""
    if len(parts) == 1 and type(parts[0]) is Text:
        return _trimmed(parts[0].text), "", ()
    texts, rest, ids = [], [], []
    for part in parts:
        kind = type(part)
        if kind is Text:
            texts.append(part.text)  # type: ignore[union-attr]
        elif kind is ToolCall and not part.server:  # type: ignore[union-attr]
            arguments = _bare_json(part.arguments) or "{}"  # type: ignore[union-attr]
            rest.append(f"c{part.name}\0{arguments}\0")  # type: ignore[union-attr]
            if looks_random(part.id):  # type: ignore[union-attr]
                ids.append(part.id)  # type: ignore[union-attr]
        elif kind is Media:
            rest.append(f"m{part.digest}\0")  # type: ignore[union-attr]
    return _trimmed("".join(texts)), "".join(rest), tuple(ids)


def _trimmed(text: str) -> str:
    text = text.strip()
    return _bare_json(text) if text.startswith(("{", "[")) else text


def _bare_json(text: str) -> str:
    """
    Return JSON as it is always written, since clients write it anew; without any spaces.

    Reading it costs more than all the rest, so it is done only where there may be several members,
    which have an order, or characters that are escaped.
    """
    text = "".join(text.split())
    if ',"' in text or "\\u" in text or "\\/" in text:
        with suppress(ValueError, RecursionError, msgspec.MsgspecError):
            return _encode(_decode(text)).decode()
    return text


def looks_random(call_id: str) -> bool:
    """Tell whether an id can't well be in two conversations, as `call_1` or a tool's name can."""
    if len(call_id) < 8 or _COUNTED.fullmatch(call_id) or call_id.isalpha():
        return False
    return not (call_id.islower() and call_id.replace("_", "").isalpha())


def shape_of(call_id: str) -> str:
    """Return what ids of one maker have in common: what they begin with, and how long they are."""
    return f"{call_id[: call_id.find('_') + 1]}{len(call_id)}"


def numbered(ids: Iterable[str]) -> list[str]:
    """Return ids so that none is there twice: without ids of their own, calls go by their tools."""
    seen: dict[str, int] = {}
    made = []
    for each in ids:
        count = seen[each] = seen.get(each, 0) + 1
        made.append(each if count == 1 else f"{each}\0{count}")
    return made
