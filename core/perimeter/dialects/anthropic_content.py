"""
What messages consist of in Anthropic's API: blocks of content, in requests and in replies.

Media are told by their digests, whether they are sent inline, by an address or by a file's id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from perimeter.calls import Media, Other, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.dialects.parsing import as_dict, as_json, as_text, digest


Block = dict[str, Any]

_RESULT = "_tool_result"
"""How the types of results of tools that the provider runs end, of each tool another."""


def content_of(content: object) -> tuple[Part, ...]:
    """
    Return the parts of a message's content, or of a system prompt.

    Args:
        content: A string or a list of blocks, bare strings perhaps among them.
    """
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, list):
        return tuple([_part(block) for block in content])
    return () if content is None else (_part(content),)


def _part(block: object) -> Part:
    if isinstance(block, str):
        return Text(block)
    if not isinstance(block, dict):
        return Other("", digest(_canonical(block)))
    kind = as_text(block.get("type"))
    read = _READERS.get(kind)
    if read is not None:
        return read(block)
    if kind.endswith(_RESULT):
        return _result(block)
    return Text(block["text"]) if _is_bare_text(block, kind) else _other(block)


def _is_bare_text(block: Block, kind: str) -> bool:
    return not kind and isinstance(block.get("text"), str)


def _other(block: Block) -> Other:
    # Without `cache_control`, which clients move on to the newest block from call to call, and
    # without nulls, which are there or not depending on the client.
    said = {
        name: value
        for name, value in block.items()
        if value is not None and name != "cache_control"
    }
    return Other(as_text(block.get("type")), digest(_canonical(said)))


def _canonical(value: object) -> str:
    """Return JSON in which the order of names does not show; "" if it is nested too deeply."""
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return ""


def _text(block: Block) -> Text:
    return Text(as_text(block.get("text")))


def _thinking(block: Block) -> Thinking:
    return Thinking(as_text(block.get("thinking")))  # a signature alone, or encrypted: ""


def _call(block: Block) -> ToolCall:
    return ToolCall(
        as_text(block.get("id")),
        as_text(block.get("name")),
        as_json(block.get("input")),
        server=block.get("type") != "tool_use",
    )


def _media(block: Block) -> Media:
    kind, source = as_text(block.get("type")), block.get("source")
    if not isinstance(source, dict):
        return Media(digest(as_text(block.get("file_id")) or as_text(source)), kind)
    for name in ("url", "file_id"):
        address = source.get(name)
        if isinstance(address, str):
            return Media(digest(address), as_text(source.get("media_type")) or kind)
    return _inline_media(source, kind)


def _inline_media(source: Block, kind: str) -> Media:
    data = source.get("data")
    if not isinstance(data, str):  # a document that consists of blocks
        data = _canonical(source.get("content"))
    return Media(digest(data), as_text(source.get("media_type")) or kind, len(data))


def _result(block: Block) -> ToolResult:
    call_id, content = as_text(block.get("tool_use_id")), block.get("content")
    if isinstance(content, str):  # most are
        return ToolResult(call_id, content, block.get("is_error") is True)
    output = _Output()
    output.take(content)
    return ToolResult(
        call_id=call_id,
        text="\n".join(output.words),
        is_error=block.get("is_error") is True or _is_failure(as_dict(content)),
        media=tuple(output.media),
    )


def _is_failure(content: Block) -> bool:
    """Say whether the content of a result is what the provider's tools fail with."""
    return as_text(content.get("type")).endswith("_error") or "error_code" in content


class _Output:
    """Gathers the words and the media of what a tool gave back, in any of its forms."""

    _WORDS = (
        "error_code",
        "error_message",
        "title",
        "source",
        "url",
        "text",
        "stdout",
        "stderr",
        "tool_name",
        "lines",
        "content",
        "tool_references",
    )
    """Fields that words are in: of blocks, of results of the provider's tools, of their hits."""

    _DEEPEST = 8  # levels; nothing that is known has more than five

    __slots__ = ("media", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.media: list[Media] = []

    def take(self, value: object, depth: int = 0) -> None:
        """Take what stands in the place of content: a string, a list or an object."""
        if isinstance(value, str):
            if value:
                self.words.append(value)
        elif depth < self._DEEPEST:
            if isinstance(value, list):
                for entry in value:
                    self.take(entry, depth + 1)
            elif isinstance(value, dict):
                self._take_block(value, depth + 1)

    def _take_block(self, block: Block, depth: int) -> None:
        source = block.get("source")
        if isinstance(source, dict) and source.get("type") == "text":
            self.take(source.get("data"), depth)  # a page that was fetched
        elif isinstance(source, dict) or isinstance(block.get("file_id"), str):
            self.media.append(_media(block))
        else:
            for name in self._WORDS:
                if name in block:
                    self.take(block[name], depth)


_READERS: dict[str, Callable[[Block], Part]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _thinking,
    "tool_use": _call,
    "server_tool_use": _call,
    "mcp_tool_use": _call,
    "tool_result": _result,
    "image": _media,
    "document": _media,
    "container_upload": _media,
}
"""By type. Nothing is said about citations: they stand beside the text, in the same block."""
