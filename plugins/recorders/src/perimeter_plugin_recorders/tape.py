"""
One exchange while it is being recorded.

What only the event loop touches is counted there; lines are made in the recorder's thread, in the
order in which things were observed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from perimeter import redaction
from perimeter.encoding import DecodeError, decode
from perimeter.verdicts import Headers, header
from perimeter_plugin_recorders import lines
from perimeter_plugin_recorders.body import Body, Piece
from perimeter_plugin_recorders.observed import Asked, End, Head


if TYPE_CHECKING:
    from perimeter import Chunk, Request

LARGEST_REQUEST = 64 * 1024 * 1024
"""Bytes that a request's body may unpack to."""


class Tape:
    """
    Makes the lines of one exchange.

    Attributes:
        exchange: The exchange's id.
        size: On the loop: bytes of the body so far.
        lost: On the loop: how many chunks there was no room for.
        over: On the loop: whether the body is larger than what may be recorded of it.
    """

    __slots__ = ("_body", "_head", "_limit", "_redact", "exchange", "lost", "over", "size")

    def __init__(self, exchange: str, *, redact: bool, limit: int) -> None:
        """
        Begin a recording.

        Args:
            exchange: The exchange's id.
            redact: Whether secrets are masked.
            limit: Bytes of the response's body that are recorded.
        """
        self.exchange = exchange
        self.size = 0
        self.lost = 0
        self.over = False
        self._redact = redact
        self._limit = limit
        self._body: Body | None = None
        self._head: Head | None = None  # as long as its line is not made

    def request_lines(self, asked: Asked) -> Iterator[bytes]:
        """Make the line of the request, and one of what a plugin made of it."""
        original = asked.original
        said = _Said.of(original, redact=self._redact)
        yield lines.encode(
            lines.RequestLine(
                exchange=self.exchange,
                at=asked.started_at,
                method=original.method,
                target=said.target,
                headers=said.headers,
                upstream=asked.upstream,
                upstream_type=asked.upstream_type,
                dialect=asked.dialect,
                workflow_id=asked.workflow_id,
                client=asked.client,
                truncated=said.truncated,
                streamed=original.body is None and not original.truncated,
                decoded=said.decoded,
                masked=said.masked,
                **lines.content(said.body),
            )
        )
        if _is_rewritten(original, asked.sent):
            sent = _Said.of(asked.sent, redact=self._redact)
            yield lines.encode(
                lines.SentLine(
                    exchange=self.exchange,
                    target=sent.target,
                    headers=sent.headers,
                    truncated=sent.truncated,
                    **lines.content(sent.body),
                )
            )

    def head_lines(self, head: Head) -> Iterable[bytes]:
        """Make the head's line; it waits for the body where that has to be decoded."""
        encoding = (header(head.headers, b"content-encoding") or b"").decode("latin-1")
        self._body = Body(encoding, redact=self._redact, limit=self._limit)
        self._head = head
        return () if self._body.decoded else self._head_line()

    def chunk_lines(self, chunk: Chunk) -> list[bytes]:
        """Make lines of the chunks that are ready by now."""
        if self._body is None:
            return []
        pieces = self._body.feed(chunk.at, chunk.data)
        if self._head is not None:
            return [*self._head_line(), *self._chunk_lines(pieces)]
        return self._chunk_lines(pieces)

    def end_lines(self, end: End) -> Iterator[bytes]:
        """Make the last lines."""
        yield from self._head_line()
        body, session = self._body, end.session
        if body is not None:
            yield from self._chunk_lines(body.flush())
        yield lines.encode(
            lines.EndLine(
                exchange=self.exchange,
                at=_seconds(end.at),
                outcome=end.outcome,
                error=None
                if end.error is None
                else (type(end.error).__name__, self._text(str(end.error))),
                attempts=end.attempts,
                sent=None if end.sent is None else _seconds(end.sent),
                session=None
                if session is None
                else lines.SessionPart(
                    id=session.id,
                    agent_id=session.agent_id,
                    workflow_id=session.workflow_id,
                    match=session.match,
                    score=session.score,
                ),
                verdicts=[
                    lines.VerdictPart(plugin, kind, self._text(reason))
                    for plugin, kind, reason in end.verdicts
                ],
                received=end.received,
                delivered=end.delivered,
                stored="" if body is None else body.digest.hexdigest(),
                size=end.size,
                truncated=end.truncated or (body is not None and body.truncated),
                lost=end.lost,
                masked=0 if body is None else body.masked,
            )
        )

    def _head_line(self) -> Iterable[bytes]:
        head, self._head = self._head, None
        if head is None or self._body is None:
            return ()
        fields = redaction.headers(head.headers) if self._redact else head.headers
        line = lines.HeadLine(
            exchange=self.exchange,
            at=_seconds(head.at),
            status=head.status,
            headers=_fields(fields),
            framing=head.framing,
            decoded=self._body.decoded,
        )
        return (lines.encode(line),)

    def _chunk_lines(self, pieces: Iterable[Piece]) -> list[bytes]:
        return [
            lines.encode(
                lines.ChunkLine(exchange=self.exchange, at=_seconds(at), **lines.content(data))
            )
            for at, data in pieces
        ]

    def _text(self, text: str) -> str:
        return redaction.text(text) if self._redact else text


@attrs.define(eq=False)
class _Said:
    """A request as it is to be recorded."""

    target: str
    headers: lines.Fields
    body: bytes
    truncated: bool
    decoded: str = ""
    masked: int = 0

    @classmethod
    def of(cls, request: Request, *, redact: bool) -> _Said:
        body = request.body or b""
        if not redact:
            return cls(request.target, _fields(request.headers), body, request.truncated)
        body, decoded = _plain(request, body)
        body, masked = redaction.data(body)
        fields = redaction.headers(request.headers)
        masked += sum(mine != theirs for mine, theirs in zip(fields, request.headers, strict=True))
        target = redaction.text(request.path)
        if request.query:
            target += "?" + redaction.query(request.query)
        masked += target != request.target
        return cls(target, _fields(fields), body, request.truncated, decoded, masked)


def _plain(request: Request, body: bytes) -> tuple[bytes, str]:
    """Undo a body's content-encoding, because secrets in it can't be seen otherwise."""
    encoding = request.header("content-encoding")
    if not encoding or not body:
        return body, ""
    try:
        return decode(body, encoding, LARGEST_REQUEST), encoding
    except DecodeError:
        return body, ""


def _is_rewritten(original: Request, sent: Request) -> bool:
    """Whether a plugin changed a request; credentials and our own fields are left out anyway."""
    return sent is not original and (
        sent.body != original.body or sent.path != original.path or sent.method != original.method
    )


def _fields(headers: Headers) -> lines.Fields:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _seconds(value: float) -> float:
    return round(value, 6)
