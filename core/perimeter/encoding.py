"""
Undoes content-encodings, whole and as the bytes come, without ever unpacking a bomb.

Every coding gives its output in small pieces and only as they are asked for. Codings are chained by
that, so what a chain holds in memory does not depend on how much the input would unpack to.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol


PIECE = 64 * 1024
"""Bytes that a coding is asked for at a time."""

MAX_GROWTH = 64 * 1024 * 1024
"""Bytes that one call of `Decoder.feed` may return; more is taken for a bomb."""


class DecodeError(ValueError):
    """The data is not in the coding it claims to be in, or nobody knows that coding."""


def decode(data: bytes, content_encoding: str, limit: int) -> bytes:
    """
    Undo the content-encoding of a body.

    Args:
        data: May be cut off; then what there is of it is decoded.
        content_encoding: The header's value: codings in the order in which they were applied.
        limit: At most this many bytes are returned; the rest is not even decoded.

    Raises:
        DecodeError: The coding is unknown, or the data is not in it.
    """
    decoded = bytearray()
    for piece in _unpack([data], _codings(content_encoding)):
        decoded += piece
        if len(decoded) >= limit:
            break
    return bytes(decoded[:limit])


class Decoder:
    """Undoes the content-encoding of a stream, giving out all that can be known at any time."""

    def __init__(self, content_encoding: str) -> None:
        """
        Prepare for one stream.

        Args:
            content_encoding: The header's value.

        Raises:
            DecodeError: The coding is unknown.
        """
        self._stages = _codings(content_encoding)

    def feed(self, data: bytes) -> bytes:
        """
        Take encoded bytes.

        Returns:
            What they add to the decoded body, perhaps b"".

        Raises:
            DecodeError: The data is not in the coding, or grows to more than `MAX_GROWTH` bytes.
        """
        decoded = bytearray()
        for piece in _unpack([data], self._stages):
            decoded += piece
            if len(decoded) > MAX_GROWTH:
                message = f"{len(data)} bytes unpack to more than {MAX_GROWTH}"
                raise DecodeError(message)
        return bytes(decoded)

    def flush(self) -> bytes:
        """Take the end, which is no error wherever it comes. Nothing is held back: returns b""."""
        return b""


class _Coding(Protocol):
    """One coding of one body."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Take encoded bytes; yield what they add, in pieces of bounded size."""


class _Gzip:
    """RFC 1952: one compressed member after another, and perhaps zeros that fill up a block."""

    _window = 16 + zlib.MAX_WBITS  # zlib's way to say: with a gzip header

    def __init__(self) -> None:
        self._member = zlib.decompressobj(self._window)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(self._window)
            data = yield from _inflate(self._member, data)


class _Deflate:
    """RFC 9110 §8.4.1.2: zlib's format, though some senders leave out its header and checksum."""

    def __init__(self) -> None:
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            self._stream = zlib.decompressobj(self._window(data))
        rest = yield from _inflate(self._stream, data)
        if rest:
            message = "there is something after the compressed data's end"
            raise DecodeError(message)

    @staticmethod
    def _window(head: bytes) -> int:
        # RFC 1950 §2.2: method 8, and a check that makes the header a multiple of 31.
        zlib_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2], "big") % 31 == 0
        return zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS


def _inflate(stream: zlib._Decompress, data: bytes) -> Generator[bytes, None, bytes]:
    """Yield what the data adds; return what of it comes after the stream's end."""
    full = False  # then zlib may hold more output, even where it has taken all of the input
    try:
        while (data or full) and not stream.eof:
            if piece := stream.decompress(data, PIECE):
                yield piece
            full = len(piece) == PIECE
            data = stream.unconsumed_tail or stream.unused_data
    except zlib.error as error:
        raise DecodeError(str(error)) from error
    return data


class _Brotli:
    """RFC 7932."""

    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 - only where it is needed

        self._stream = brotli.Decompressor()
        self._error = brotli.error

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            while piece := self._stream.process(data, output_buffer_limit=PIECE):
                yield piece
                data = b""
                if self._stream.is_finished():
                    return
        except self._error as error:
            raise DecodeError(str(error)) from error


class _Zstandard:
    """RFC 8878: one frame after another."""

    # RFC 9659 §3: windows of up to 8 MB; larger ones are not for this use.
    _window = 8 * 1024 * 1024
    # The library has no bound for its output. A block, of four bytes at least, unpacks to 128 KB
    # at most, so the input's size is one: 2 MB of output for one step.
    _step = 64

    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - only where it is needed

        context = zstandard.ZstdDecompressor(max_window_size=self._window)
        self._stream = context.decompressobj(read_across_frames=True)
        self._error = zstandard.ZstdError

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            for start in range(0, len(data), self._step):
                if piece := self._stream.decompress(data[start : start + self._step]):
                    yield piece
        except self._error as error:
            raise DecodeError(str(error)) from error


_KINDS: dict[str, Callable[[], _Coding]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstandard,
}

SUPPORTED = frozenset({*_KINDS, "identity"})
"""Names of the codings that can be undone."""


def _codings(content_encoding: str) -> list[_Coding]:
    """Return new codings, in the order in which they are undone."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    if unknown := {name for name in names if name} - SUPPORTED:
        message = f"unknown content-encoding {', '.join(sorted(unknown))!r}"
        raise DecodeError(message)
    return [_KINDS[name]() for name in reversed(names) if name in _KINDS]


def _unpack(pieces: Iterable[bytes], stages: Iterable[_Coding]) -> Iterator[bytes]:
    """Pull pieces through the codings, one after the other."""
    for stage in stages:
        pieces = _through(stage, pieces)
    return iter(pieces)


def _through(stage: _Coding, pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield from stage.pieces(piece)
