"""Chunked bodies, taken apart by httptools."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from perimeter.errors import UpstreamProtocolError
from perimeter.upstream.h1.wire import MAX_HEAD


_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_END = b"\r\n\r\n"


class ChunkedBody:
    """
    A chunked body as it comes in.

    Attributes:
        complete: Whether its last chunk and its trailers, which are dropped, have come.
        overrun: Whether there was something behind it.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        """
        Expect the first chunk.

        Args:
            take: Given the chunks' bytes, at once and one by one.
        """
        self.complete = False
        self.overrun = False
        self._take = take
        self._begun = False
        self._silent = 0
        self._tail = b""
        self._feed = httptools.HttpResponseParser(self).feed_data
        self._feed(_HEAD)

    def feed(self, data: bytes) -> None:
        """
        Take bytes from the wire.

        Raises:
            UpstreamProtocolError: They are no chunks.
        """
        self._silent += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if not self.complete:
                message = f"the response's chunks are broken: {error}"
                raise UpstreamProtocolError(message) from error
            self.overrun = True
        self._tail = data[-6:] if len(data) > 5 else (self._tail + data)[-6:]
        if self.complete and (self._tail[-4:] != _END or self._tail == _END + _END[2:]):
            self.overrun = True  # an empty line, which the parser would not mention
        # The parser has no limit of its own for trailers and extensions of chunks.
        if self._silent > MAX_HEAD and not self.complete:
            raise UpstreamProtocolError("the response's trailers are too long")

    def on_message_begin(self) -> None:
        """Take the body's begin, or that of something behind it, from the parser."""
        self.overrun = self._begun
        self._begun = True

    def on_body(self, data: bytes) -> None:
        """Take a chunk, or as much of it as there is, from the parser."""
        self._silent = 0
        if not self.complete:
            self._take(data)

    def on_message_complete(self) -> None:
        """Take the body's end from the parser."""
        self.complete = True
