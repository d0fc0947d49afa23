"""Blocks of content of Anthropic's API as they grow in a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.calls import ParseError
from perimeter.dialects.parsing import as_dict, as_list, as_text, load


_DELTAS = {
    "text_delta": ("text", "text", "text"),
    "thinking_delta": ("thinking", "thinking", "thinking"),
    "input_json_delta": ("partial_json", "input", "tool_use"),
    "compaction_delta": ("content", "content", "compaction"),
}
"""By type: its field, the block's field that grows, the block's type. Others add no content."""


@attrs.define(eq=False)
class _Growing:
    """A block: what it began with, and what was added."""

    fields: dict[str, Any]
    pieces: dict[str, list[str]] = attrs.field(factory=dict)

    def block(self) -> dict[str, Any]:
        """Return the block as it would stand in a reply that is not streamed."""
        block = dict(self.fields)
        for field, pieces in self.pieces.items():
            text = "".join(pieces)
            if field == "input":
                block[field] = _input(text, block.get(field))
            else:
                block[field] = as_text(block.get(field)) + text
        return block


def _input(text: str, begun: object) -> object:
    """
    Return the arguments of a call: an object, or text where they are no JSON (yet).

    Args:
        text: All pieces. Nothing, or only empty ones, come for a tool without arguments.
        begun: What the block began with, `{}` usually.
    """
    if not text or text.isspace():
        return begun
    try:
        return load(text.encode("utf-8", "replace"))
    except ParseError:
        return text


class Blocks:
    """
    Puts the content of a reply together from events.

    Blocks are told apart by `index`. Where servers use an index again, another block begins.
    """

    __slots__ = ("_all", "_at", "_latest")

    def __init__(self) -> None:
        self._all: list[tuple[int, _Growing]] = []
        self._at: dict[int, _Growing] = {}
        self._latest = -1

    def __bool__(self) -> bool:
        return bool(self._all)

    def begin_all(self, content: object) -> None:
        """Take whole blocks, of a message that does not begin empty."""
        for block in as_list(content):
            if isinstance(block, dict):
                self._begin(self._latest + 1, block)

    def begin(self, event: Mapping[str, Any]) -> None:
        """Take a `content_block_start`."""
        self._begin(_index(event, self._latest + 1), as_dict(event.get("content_block")))

    def add(self, event: Mapping[str, Any]) -> None:
        """Take a `content_block_delta`."""
        delta = as_dict(event.get("delta"))
        known = _DELTAS.get(as_text(delta.get("type")))
        if known is None:
            return
        name, field, kind = known
        piece = delta.get(name)
        if not isinstance(piece, str):
            return
        index = _index(event, max(self._latest, 0))
        growing = self._at.get(index) or self._begin(index, {"type": kind})
        growing.pieces.setdefault(field, []).append(piece)

    def content(self) -> list[dict[str, Any]]:
        """Return the blocks as far as they have come, in their order."""
        return [growing.block() for _, growing in sorted(self._all, key=lambda entry: entry[0])]

    def _begin(self, index: int, fields: dict[str, Any]) -> _Growing:
        growing = self._at[index] = _Growing(fields)
        self._all.append((index, growing))
        self._latest = index
        return growing


def _index(event: Mapping[str, Any], default: int) -> int:
    value = event.get("index")
    return value if isinstance(value, int) and not isinstance(value, bool) else default
