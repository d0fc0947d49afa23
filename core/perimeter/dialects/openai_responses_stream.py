"""Items of OpenAI's Responses API as they grow in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.dialects.parsing import as_dict, as_text


@attrs.frozen
class _Slot:
    """
    What a kind of delta adds to.

    Attributes:
        item: The type of items that have it.
        field: The item's field: a text, or a list of parts.
        part: The type of the part, "" where the field is a text.
        index: The event's field that says which part.
        whole: The event's field that has all of it when it is done.
    """

    item: str
    field: str
    part: str = ""
    index: str = ""
    whole: str = "text"


_MCP_ARGUMENTS = _Slot("mcp_call", "arguments", whole="arguments")
_CODE = _Slot("code_interpreter_call", "code", whole="code")

_SLOTS = {
    "response.output_text": _Slot("message", "content", "output_text", "content_index"),
    "response.refusal": _Slot("message", "content", "refusal", "content_index", "refusal"),
    "response.reasoning_text": _Slot("reasoning", "content", "reasoning_text", "content_index"),
    "response.reasoning_summary_text": _Slot(
        "reasoning", "summary", "summary_text", "summary_index"
    ),
    "response.function_call_arguments": _Slot("function_call", "arguments", whole="arguments"),
    "response.custom_tool_call_input": _Slot("custom_tool_call", "input", whole="input"),
    "response.mcp_call_arguments": _MCP_ARGUMENTS,
    "response.mcp_call.arguments": _MCP_ARGUMENTS,  # its name in some versions of the API
    "response.code_interpreter_call_code": _CODE,
    "response.code_interpreter_call.code": _CODE,
}
"""By the event's type without its last word, which is `delta` or `done`."""

_PARTS = {
    "response.content_part": _Slot("message", "content", "output_text", "content_index"),
    "response.reasoning_summary_part": _SLOTS["response.reasoning_summary_text"],
}
"""Events that have a part instead of its text."""


@attrs.define(eq=False)
class _Growing:
    """An item that is not known as a whole yet."""

    fields: dict[str, Any]
    announced: bool = False
    whole: bool = False
    texts: dict[tuple[_Slot, int], list[str]] = attrs.field(factory=dict)

    def item(self) -> dict[str, Any]:
        """Return the item as it would stand in the output of a response."""
        item = dict(self.fields)
        parts: dict[str, dict[int, dict[str, Any]]] = {}
        for (slot, index), pieces in self.texts.items():
            text = "".join(pieces)
            if slot.part:
                parts.setdefault(slot.field, {})[index] = {"type": slot.part, slot.whole: text}
            else:
                item[slot.field] = text
        for field, found in parts.items():
            item[field] = [found[index] for index in sorted(found)]
        return item


class Items:
    """
    Puts the output of a response together from events.

    Items are told apart by `output_index`. Servers that count wrongly announce another item where
    one is whole already; it then comes after that one.
    """

    __slots__ = ("_all", "_at", "_latest")

    def __init__(self) -> None:
        self._all: list[tuple[int, _Growing]] = []
        self._at: dict[int, _Growing] = {}
        self._latest = 0

    def take(self, kind: str, event: Mapping[str, Any]) -> None:
        """
        Take an event.

        Args:
            kind: Its type; events that say nothing about an item's content are passed over.
            event: Its data.
        """
        stem, _, step = kind.rpartition(".")
        slot = _SLOTS.get(stem)
        if slot is not None:
            name = "delta" if step == "delta" else slot.whole
            self._add(slot, event, event.get(name), whole=step != "delta")
        elif stem == "response.output_item":
            self._item(event, whole=step == "done")
        elif stem in _PARTS:
            self._part(_PARTS[stem], event)

    def output(self) -> list[dict[str, Any]]:
        """Return the items as far as they have come, in their order."""
        return [growing.item() for _, growing in sorted(self._all, key=lambda entry: entry[0])]

    def _item(self, event: Mapping[str, Any], *, whole: bool) -> None:
        fields, index = event.get("item"), self._index(event)
        if not isinstance(fields, dict):
            return
        growing = self._at.get(index)
        if growing is None or _is_another(growing, fields, whole=whole):
            growing = self._begin(index, fields)
        growing.fields, growing.announced, growing.whole = fields, True, whole
        if whole:
            growing.texts.clear()

    def _part(self, slot: _Slot, event: Mapping[str, Any]) -> None:
        part = as_dict(event.get("part"))
        kind = as_text(part.get("type"))
        for known in _SLOTS.values():
            if known.part == kind and known.field == slot.field:
                self._add(known, event, part.get(known.whole), whole=True)

    def _add(self, slot: _Slot, event: Mapping[str, Any], text: object, *, whole: bool) -> None:
        if not isinstance(text, str):
            return
        index = self._index(event)
        growing = self._at.get(index) or self._begin(index, {"type": slot.item})
        if growing.whole:
            return  # nothing is left to be added
        key = slot, _position(event.get(slot.index), 0)
        if whole:
            growing.texts[key] = [text]
        else:
            growing.texts.setdefault(key, []).append(text)

    def _begin(self, index: int, fields: dict[str, Any]) -> _Growing:
        growing = self._at[index] = _Growing(fields)
        self._all.append((index, growing))
        return growing

    def _index(self, event: Mapping[str, Any]) -> int:
        """Return which item an event is about: the latest, where it does not say."""
        self._latest = _position(event.get("output_index"), self._latest)
        return self._latest


def _is_another(growing: _Growing, fields: Mapping[str, Any], *, whole: bool) -> bool:
    if growing.whole or (growing.announced and not whole):
        return growing.fields.get("id") != fields.get("id")
    return False


def _position(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default
