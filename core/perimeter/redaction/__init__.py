"""
Masks secrets: in header fields, query strings, texts and bodies.

One implementation for all that keeps or shows what passed through the proxy. A mask is a `*` for
each character (in bytes: for each byte) but those at the beginning that tell of which kind a key
is, so that lengths, borders of chunks and JSON stay as they are. What is masked already is left
alone. Text without anything of a secret's shape comes back as the same object.

The shapes have to be recognisable in any text, so what has none (a password in a sentence) stays,
and so does everything that is not text: a compressed body has to be decoded first.
"""

from __future__ import annotations

import re

from perimeter.redaction.described import Kind, kinds
from perimeter.redaction.fields import CREDENTIAL_HEADERS, headers, query
from perimeter.redaction.found import HOLD
from perimeter.redaction.scanning import CONTEXT, SLICE, find, joined, masked, scan, unfinished


__all__ = [
    "CREDENTIAL_HEADERS",
    "HOLD",
    "Kind",
    "Stream",
    "data",
    "excerpt",
    "headers",
    "hold",
    "kinds",
    "query",
    "text",
]


def text(value: str) -> str:
    """Return a text with everything that has the shape of a secret masked."""
    spans = find(value)
    return masked(value, spans) if spans else value


def data(body: bytes) -> tuple[bytes, int]:
    """
    Mask the secrets in bytes, which are UTF-8 or anything else.

    Returns:
        The bytes, of the same length, and how many secrets were masked.
    """
    value = body.decode("latin-1")
    spans = find(value)
    return (masked(value, spans).encode("latin-1"), len(spans)) if spans else (body, 0)


def excerpt(value: str, limit: int) -> str:
    """
    Return the beginning of a text, masked.

    Args:
        value: A text of any length; only a little more than what is kept is searched.
        limit: How many characters to keep. Of a secret across that border nothing is shown.
    """
    return text(value[: limit + HOLD])[:limit]


def hold(tail: bytes) -> int:
    """
    Return how many of the last bytes could be the beginning of a secret that goes on.

    Those are to be kept back and put in front of what comes next. A secret that is longer than the
    bound is only masked whole by `Stream`.

    Args:
        tail: What there is; of a long text the last `HOLD` bytes and a few more are enough.

    Returns:
        0 to `HOLD`.
    """
    return unfinished(tail.decode("latin-1"))


class Stream:
    """
    Masks bytes that come in pieces, as if they were masked as a whole.

    It keeps back what may be the beginning of a secret, at most `HOLD` bytes, until more comes or
    the end does. What it gives out joins to as many bytes as it was given.

    Attributes:
        masked: How many secrets were masked.
        pending: How many bytes are kept back.
    """

    def __init__(self) -> None:
        self.masked = 0
        self._context = ""
        self._held = ""
        self._ends_masked = False
        self._unclosed: list[re.Pattern[str]] = []

    @property
    def pending(self) -> int:
        """How many bytes are kept back."""
        return len(self._held)

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; return what is sure by now."""
        return self._take(piece.decode("latin-1"), last=False)

    def flush(self) -> bytes:
        """Return what was kept back; the stream is over."""
        return self._take("", last=True)

    def _take(self, piece: str, *, last: bool) -> bytes:
        value = self._context + self._held + piece
        start = begin = len(self._context)
        spans: list[tuple[int, int]] = []
        while start < len(value):
            end = min(start + SLICE, len(value))
            part = scan(value, start, end, self._unclosed, last=last and end == len(value))
            spans += part.spans
            self._unclosed = part.open
            if part.safe == start or end == len(value):
                start = part.safe
                break
            start = part.safe
        found = joined(spans)
        self.masked += sum(not (self._ends_masked and first == begin) for first, _ in found)
        if start > begin:
            self._ends_masked = bool(found) and found[-1][1] == start
        value = masked(value, found)
        self._context, self._held = value[max(0, start - CONTEXT) : start], value[start:]
        return value[begin:start].encode("latin-1")
