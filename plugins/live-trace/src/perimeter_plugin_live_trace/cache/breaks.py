"""
Why a prompt was not read from the provider's cache.

Providers cache the beginning of a prompt: tools, system prompt and messages, in this order, of one
model. A call whose beginning is not that of the call before pays for all of it again. The chain of
digests of a session's history tells exactly where two of them part.
"""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from perimeter_plugin_live_trace.api.limits import shortened
from perimeter_plugin_live_trace.cache.money import LEAST
from perimeter_plugin_live_trace.cache.views import Piece
from perimeter_plugin_live_trace.store import Reader


TOOLS = ("tools", "functions")
SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")
SETTINGS = ("tool_choice", "thinking", "response_format", "toolConfig", "cachedContent")
_LINKS = ("previous_response_id", "conversation")
_LONG_US = 5 * 60 * 1_000_000
"""After which providers forget a prompt, mostly."""
_PIECE = 240
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@attrs.frozen
class Break:
    """
    Why, in a word and in words.

    Attributes:
        at: How many messages are the same before the first that differs, or None.
    """

    cause: str
    words: str
    at: int | None = None


@attrs.frozen
class Envelopes:
    """The bodies of two calls without their messages."""

    reader: Reader
    before: Any
    call: Any

    def changed(self) -> Break | None:
        """Return what of them is different that stands before the messages, or None."""
        if self.before.envelope_blob == self.call.envelope_blob:
            return None
        was, now = self._read(self.before), self._read(self.call)
        for cause, keys, what in (
            ("tools", TOOLS, "The tools changed"),
            ("system", SYSTEM, "The system prompt changed"),
            ("settings", SETTINGS, "A setting changed"),
        ):
            names = [key for key in keys if was.get(key) != now.get(key)]
            if names:
                told = f"{what} (`{names[0]}`), and they stand before all messages."
                if cause == "settings":
                    told = f"{what} that goes into the prompt (`{names[0]}`)."
                return Break(cause, told)
        return None

    def linked(self) -> bool:
        """Whether the provider has the history, and the request only names it."""
        now = self._read(self.call)
        return any(now.get(key) not in (None, b"null", b'""') for key in _LINKS)

    def asks(self) -> bool:
        """Whether the request marks what is to be cached, as Anthropic wants it."""
        marked = b'"cache_control"'
        if marked in self.reader.blob(self.call.envelope_blob):
            return True
        items = self.reader.messages(
            self.call.node_id, skip=max(self.call.messages - 4, 0), limit=4
        )
        return any(marked in item for item in items)

    def _read(self, call: Any) -> dict[str, bytes]:
        try:
            found = _fields(self.reader.blob(call.envelope_blob))
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return {}
        return {key: bytes(value) for key, value in found.items()}


def judge(reader: Reader, before: Any, call: Any, shared: int) -> Break | None:
    """
    Return how a call's prompt departs from the one before, None where it continues it.

    Args:
        reader: The database.
        before: The call before, which was answered.
        call: The call.
        shared: How many messages of the two are the same at the beginning.
    """
    if before.model and call.model and before.model != call.model:
        told = f"The model changed from {before.model} to {call.model}; each has its own cache."
        return Break("model", told)
    envelopes = Envelopes(reader, before, call)
    changed = envelopes.changed()
    if changed is not None:
        return changed
    if shared >= before.messages or envelopes.linked():
        return None
    if shared == 0 and before.system_digest != call.system_digest:
        return Break("system", "The system prompt changed, which is the first message.", 0)
    told = (
        f"Message {shared + 1} is not what it was in the call before, so nothing from there on "
        "could come from the cache."
    )
    return Break("messages", told, shared)


def missed(reader: Reader, before: Any, call: Any, possible: int) -> Break:
    """Return why a prompt that continues the one before was not cached, as far as can be told."""
    if possible < LEAST:
        told = f"The beginning has less than {LEAST:,} tokens; providers do not cache so little."
        return Break("short", told)
    gap = call.started_us - before.started_us - (before.dur_us or 0)
    if call.dialect.startswith("anthropic") and not Envelopes(reader, before, call).asks():
        told = "The request marks nothing with `cache_control`, so Anthropic cached nothing."
        return Break("missed", told)
    if gap > _LONG_US:
        told = f"The call before was over {gap // 60_000_000} minutes ago; caches forget sooner."
        return Break("missed", told)
    if gap < 0:
        return Break("missed", "The call before was still running: nothing was cached yet.")
    told = "The beginning is the same as before. The provider did not have it cached all the same."
    return Break("missed", told)


def pieces(reader: Reader, before: Any, call: Any, at: int) -> tuple[Piece | None, Piece | None]:
    """Return the first messages that differ: that of the call before, and this one's."""
    was = reader.messages(before.node_id, skip=at, limit=1) if at < before.messages else []
    now = reader.messages(call.node_id, skip=at, limit=1) if at < call.messages else []
    return (_piece(was[0]) if was else None, _piece(now[0]) if now else None)


def _piece(data: bytes) -> Piece:
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return Piece("", shortened(data[: _PIECE * 4].decode("utf-8", "replace"), _PIECE))
    if not isinstance(value, dict):
        return Piece("", shortened(str(value), _PIECE))
    role = value.get("role") or value.get("type") or ""
    content = value.get("content", value.get("parts", value))
    text = content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return Piece(str(role)[:40], shortened(text, _PIECE))
