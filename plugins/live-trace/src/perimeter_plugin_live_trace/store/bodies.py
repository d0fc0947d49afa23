"""
Takes the list of messages out of a request's body, and puts it in again.

Nothing is understood here: the pieces stay the JSON that they were, so that what is put together
again equals what was sent, and a message has the same bytes as often as it is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


KEYS = ("messages", "input", "contents")
"""Members that are lists of messages: of chat completions and Anthropic, Responses, Gemini."""

_NONE = msgspec.Raw(b"[]")
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
encode = msgspec.json.Encoder().encode


def split(body: bytes) -> tuple[bytes, str, list[bytes]]:
    """
    Split the body of a request.

    Returns:
        The envelope, which is the body with an empty list in place of its messages; the name of
        that member; and the messages. A body that has no list of objects there, or that is no
        JSON, is all envelope, and the name is "".
    """
    try:
        fields = _fields(body)
        for key in KEYS:
            raw = fields.get(key)
            if raw is None or bytes(memoryview(raw)[:1]) != b"[":
                continue
            items = [bytes(item) for item in _items(raw)]
            if items and all(item[:1] == b"{" for item in items):
                fields[key] = _NONE
                return encode(fields), key, items
    except (ValueError, RecursionError, msgspec.MsgspecError):
        pass  # whatever it is, it is kept as it is
    return body, "", []


def join(envelope: bytes, key: str, items: Sequence[bytes]) -> bytes:
    """
    Put the pieces of a body together again.

    Args:
        envelope: As `split` made it.
        key: As `split` made it; "" where the envelope is all.
        items: The messages, or some of them.
    """
    if not key:
        return envelope
    try:
        fields = _fields(envelope)
    except (ValueError, RecursionError, msgspec.MsgspecError):  # it was cut
        return envelope
    fields[key] = msgspec.Raw(b"[" + b",".join(items) + b"]")
    return encode(fields)
