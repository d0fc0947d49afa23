"""A response's body on its way into a recording: decoded, masked, and cut where it was cut."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from perimeter import redaction
from perimeter.encoding import DecodeError, Decoder


if TYPE_CHECKING:
    from hashlib import _Hash

Piece = tuple[float, bytes]
"""Seconds since the request, and the bytes that came then."""


class Body:
    """
    Takes the chunks of one response, and gives them out as they are to be recorded.

    A chunk is kept back while its end could be the beginning of a secret that the next one goes on
    with; it comes out with its own time and length nevertheless.

    Attributes:
        decoded: The content-encoding that was undone, "" for none.
        truncated: Whether something is left out.
        masked: How many secrets were masked.
        digest: SHA-256 of what was given out.
    """

    __slots__ = (
        "_decoder",
        "_masking",
        "_masks",
        "_room",
        "_sure",
        "_times",
        "_waiting",
        "decoded",
        "digest",
        "truncated",
    )

    def __init__(self, encoding: str, *, redact: bool, limit: int) -> None:
        """
        Prepare for one response.

        Args:
            encoding: Its content-encoding, "" for none.
            redact: Whether secrets are masked, for which the body has to be decoded.
            limit: Bytes that are given out at most.
        """
        self.decoded = ""
        self.truncated = False
        self.digest: _Hash = hashlib.sha256()
        self._decoder: Decoder | None = None
        self._masking = redaction.Stream() if redact else None
        self._room = limit
        self._times: deque[tuple[float, int]] = deque()
        self._waiting = b""
        self._sure = False
        if redact and encoding:
            self._decode(encoding)

    @property
    def masked(self) -> int:
        """How many secrets were masked."""
        return 0 if self._masking is None else self._masking.masked

    def feed(self, at: float, data: bytes) -> list[Piece]:
        """Take a chunk; return those that are ready."""
        if self._decoder is not None:
            data = self._plain(self._decoder, data)
        if len(data) > self._room:
            data, self.truncated = data[: self._room], True
        self._room -= len(data)
        if self._masking is None:
            return self._given([(at, data)])
        sure = self._masking.feed(data)
        if not self._times and len(sure) == len(data):
            return self._given([(at, sure)])
        self._times.append((at, len(data)))
        return self._cut(sure)

    def flush(self) -> list[Piece]:
        """Return what was kept back; the body is over."""
        return [] if self._masking is None else self._cut(self._masking.flush())

    def _decode(self, encoding: str) -> None:
        try:
            self._decoder = Decoder(encoding)
        except DecodeError:  # nobody knows it: it is recorded as it is
            return
        self.decoded = encoding

    def _plain(self, decoder: Decoder, data: bytes) -> bytes:
        """Undo the content-encoding of a chunk."""
        if self.truncated:
            return b""
        try:
            data, self._sure = decoder.feed(data), True
        except DecodeError:
            if self._sure:  # it is broken from here on
                self.truncated = True
                return b""
            # It is not encoded at all, whatever its header says.
            self._decoder, self.decoded = None, ""
        return data

    def _cut(self, sure: bytes) -> list[Piece]:
        """Cut what was kept back, as far as it is sure, where it was cut on the wire."""
        self._waiting += sure
        ready: list[Piece] = []
        start = 0
        while self._times and self._times[0][1] <= len(self._waiting) - start:
            at, length = self._times.popleft()
            ready.append((at, self._waiting[start : start + length]))
            start += length
        self._waiting = self._waiting[start:]
        return self._given(ready)

    def _given(self, pieces: list[Piece]) -> list[Piece]:
        for _, data in pieces:
            self.digest.update(data)
        return pieces
