"""One exchange, put together from its lines."""

from __future__ import annotations

from pathlib import Path

import attrs

from perimeter.encoding import DecodeError, decode
from perimeter_plugin_recorders.lines import ChunkLine, EndLine, HeadLine, RequestLine, SentLine


MOST_DECODED = 256 * 1024 * 1024
"""Bytes; a body that decompresses to more is left as it is."""


@attrs.define(eq=False)
class Recording:
    """
    One exchange, as far as it was recorded.

    Attributes:
        request: The request, as the client sent it.
        path: The file in which it begins.
        line: The number of that line.
        sent: The request as it went upstream, where a plugin had changed it.
        head: The head of the response, or None.
        chunks: The pieces of the response's body.
        end: How it ended; None where the recording breaks off before that.
        last: File and number of the last line.
        redacted: Whether secrets are masked; None where the file does not say.
        legacy: Whether the system that Perimeter re-implements wrote it: bodies are then not as
            they were on the wire, and times, outcome and digests only as far as it kept them.
        owner: The conversation that a legacy request belongs to; afterwards it stands in the end.
        stored: How many bytes of body the chunks have, also where they were not kept in memory.
        pieces: How many chunks there are, likewise.
    """

    request: RequestLine
    path: Path
    line: int
    sent: SentLine | None = None
    head: HeadLine | None = None
    chunks: list[ChunkLine] = attrs.field(factory=list)
    end: EndLine | None = None
    last: tuple[Path, int] | None = None
    redacted: bool | None = None
    legacy: bool = False
    owner: str | None = None
    stored: int = 0
    pieces: int = 0

    @property
    def id(self) -> str:
        """The exchange's id."""
        return self.request.exchange

    @property
    def place(self) -> str:
        """Where it begins, as `file:line`."""
        return f"{self.path}:{self.line}"

    @property
    def complete(self) -> bool:
        """Whether it is all there: both ends, and nothing left out between them."""
        if self.end is None or self.request.truncated or self.request.streamed:
            return False
        return not (self.end.truncated or self.end.lost)

    @property
    def route(self) -> str:
        """The request's path, without the query."""
        return self.request.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The request's query, without the question mark."""
        return self.request.target.partition("?")[2]

    @property
    def body(self) -> bytes:
        """The response's body as it was recorded."""
        return b"".join([chunk.data for chunk in self.chunks])

    def content(self) -> bytes:
        """Return the response's body, its content-encoding undone where that can be."""
        coding = "" if self.head is None or self.head.decoded else self.header("content-encoding")
        return _decoded(self.body, coding)

    def asked(self) -> bytes:
        """Return the request's body, its content-encoding undone where that can be."""
        request = self.request
        coding = "" if request.decoded else field(request.headers, "content-encoding")
        return _decoded(request.data, coding)

    def header(self, name: str) -> str:
        """Return the first value of a field of the response's head, or ""."""
        return "" if self.head is None else field(self.head.headers, name)

    @property
    def status(self) -> int | None:
        """The HTTP status, or None where no head was recorded."""
        return None if self.head is None else self.head.status

    @property
    def outcome(self) -> str:
        """How it ended; "" where that is not known."""
        return "" if self.end is None else self.end.outcome

    @property
    def session(self) -> str | None:
        """The id of the conversation that it belongs to."""
        return self.end.session.id if self.end and self.end.session else self.owner

    @property
    def started_at(self) -> float:
        """Unix time of its beginning, seconds."""
        return self.request.at

    @property
    def duration(self) -> float | None:
        """Seconds from beginning to end, or None where no end was recorded."""
        return None if self.end is None else self.end.at

    @property
    def ended_at(self) -> float:
        """Unix time of the end, or of the last thing that was recorded before it."""
        moments = [each.at for each in (self.head, *self.chunks[-1:], self.end) if each is not None]
        return self.request.at + max(moments, default=0.0)


def field(headers: list[tuple[str, str]], name: str) -> str:
    """Return the first value of a header field, or ""."""
    return next((value for key, value in headers if key.lower() == name), "")


def _decoded(body: bytes, coding: str) -> bytes:
    if not coding or not body:
        return body
    try:
        return decode(body, coding, MOST_DECODED)
    except DecodeError:
        return body
