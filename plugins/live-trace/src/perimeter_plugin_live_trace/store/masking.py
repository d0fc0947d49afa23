"""Masks secrets in bytes that are JSON, mostly."""

from __future__ import annotations

import re

from perimeter import redaction


_ODD = re.compile(rb"\\(?:u00[2-7]|/)")
"""Letters that JSON need not escape: some writers do, and a secret has another shape then."""
_ESCAPE = re.compile(rb"\\(?:u00([2-7][0-9A-Fa-f])|(/)|.)", re.DOTALL)
_KEPT = b'"\\'


def masked(data: bytes) -> bytes:
    """
    Return bytes with everything masked that has the shape of a secret.

    As JSON they stay the same but for that.
    """
    found, count = redaction.data(data)
    if b"\\" in data and _ODD.search(data):
        plain, more = redaction.data(_ESCAPE.sub(_letter, data))
        if more > count:
            return plain
    return found


def _letter(match: re.Match[bytes]) -> bytes:
    """Return the letter that is escaped, where it need not be."""
    if match[2]:
        return b"/"
    if match[1]:
        letter = bytes([int(match[1], 16)])
        return match[0] if letter in _KEPT else letter
    return match[0]
