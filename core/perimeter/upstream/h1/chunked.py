"""Chunked bodies, taken apart by httptools."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from perimeter.errors import UpstreamProtocolError
from perimeter.upstream.h1.wire import MAX_HEAD


_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"\r\n\r\n"


class _Chunks:
    """What the parser calls. It does not know the parser, so that no circle needs collecting."""

    __slots__ = ("begun", "complete", "overrun", "silent", "take")

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.take = take
        self.begun = self.complete = self.overrun = False
        self.silent = 0

    def on_message_begin(self) -> None:
        """Take the body's begin, or that of something behind it."""
        self.overrun = self.begun
        self.begun = True

    def on_body(self, data: bytes) -> None:
        """Take a chunk, or as much of it as there is."""
        self.silent = 0
        if not self.complete:
            self.take(data)

    def on_message_complete(self) -> None:
        """Take the body's end."""
        self.complete = True


class ChunkedBody:
    """A chunked body as it comes in."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """
        Expect the first chunk.

        Args:
            take: Given the chunks' bytes, at once and one by one.
        """
        self._chunks = _Chunks(take)
        self._tail = b""
        self._feed = httptools.HttpResponseParser(self._chunks).feed_data
        self._feed(_HEAD)

    @property
    def complete(self) -> bool:
        """Whether its last chunk and its trailers, which are dropped, have come."""
        return self._chunks.complete

    @property
    def overrun(self) -> bool:
        """Whether there was something behind it."""
        empty_line = self._tail[-4:] != _END or self._tail == _END + _END[2:]
        return self._chunks.overrun or empty_line  # of which the parser says nothing

    def feed(self, data: bytes) -> None:
        """
        Take bytes from the wire.

        Raises:
            UpstreamProtocolError: They are no chunks.
        """
        chunks = self._chunks
        chunks.silent += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if not chunks.complete:
                message = f"the response's chunks are broken: {error}"
                raise UpstreamProtocolError(message) from error
            chunks.overrun = True
        self._tail = data[-6:] if len(data) > 5 else (self._tail + data)[-6:]
        # The parser has no limit of its own for trailers and extensions of chunks.
        if chunks.silent > MAX_HEAD and not chunks.complete:
            raise UpstreamProtocolError("the response's trailers are too long")
