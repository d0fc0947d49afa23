"""
The lines of a recording of HTTP traffic: one JSON object each.

A file begins with a `file` line. Each exchange then has a `request`, perhaps a `head`, its `chunk`s
and an `end`, all with the exchange's id; lines of exchanges that ran at the same time are mixed. A
line whose type is not known is passed over by readers, and fields may be added without a new
version.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

import msgspec


FORMAT = "perimeter-recording"
VERSION = 1

Fields = list[tuple[str, str]]
"""Header fields in order, as latin-1 text."""


class Line(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """What all lines are."""


class FileLine(Line, tag="file", kw_only=True):
    """
    The first line of a file.

    Attributes:
        format: `perimeter-recording`.
        version: Of the format.
        perimeter: The version of Perimeter that writes.
        created_at: Unix time, seconds.
        worker: Which process writes.
        redacted: Whether secrets are masked.
    """

    format: str = ""
    version: int
    perimeter: str
    created_at: float
    worker: str
    redacted: bool


class Content(Line, kw_only=True):
    """
    A line with bytes in it.

    Attributes:
        text: The bytes, where they are valid UTF-8.
        base64: The bytes, where they are not.
    """

    text: str | None = None
    base64: str | None = None

    @property
    def data(self) -> bytes:
        """The bytes."""
        if self.base64 is not None:
            return b64decode(self.base64)
        return b"" if self.text is None else self.text.encode()


class RequestLine(Content, tag="request", kw_only=True):
    """
    A request, as the client sent it. Its content is the body.

    Attributes:
        exchange: The exchange's id.
        at: Unix time of its beginning, seconds; other lines' `at` counts from here.
        method: HTTP method.
        target: Path and query.
        headers: Its header fields.
        upstream: The name of the upstream that it is for.
        upstream_type: Which provider's API that speaks.
        dialect: The dialect of the call, or `raw`.
        workflow_id: From the path's prefix.
        client: The peer's address.
        truncated: Whether the body lacks something because it was over a limit.
        streamed: Whether the body passed through unread, so that there is none here.
        decoded: The content-encoding that the recorded body is without, though the real one had it.
        masked: How many secrets were masked.
    """

    exchange: str
    at: float
    method: str
    target: str
    headers: Fields
    upstream: str
    upstream_type: str
    dialect: str
    workflow_id: str | None = None
    client: str = ""
    truncated: bool = False
    streamed: bool = False
    decoded: str = ""
    masked: int = 0


class SentLine(Content, tag="sent", kw_only=True):
    """
    A request as it went upstream, where a plugin had changed it.

    Attributes:
        exchange: The exchange's id.
        target: Path and query.
        headers: Its header fields.
        truncated: Whether the body lacks something.
    """

    exchange: str
    target: str
    headers: Fields
    truncated: bool = False


class HeadLine(Line, tag="head", kw_only=True):
    """
    A response's head.

    Attributes:
        exchange: The exchange's id.
        at: Seconds since the request.
        status: HTTP status.
        headers: Its header fields.
        framing: How a stream of events is divided, else None.
        decoded: The content-encoding that the recorded body is without, though the real one had it.
    """

    exchange: str
    at: float
    status: int
    headers: Fields
    framing: str | None = None
    decoded: str = ""


class ChunkLine(Content, tag="chunk", kw_only=True):
    """
    A piece of the response's body, as it was passed on.

    Attributes:
        exchange: The exchange's id.
        at: Seconds since the request (monotonic).
    """

    exchange: str
    at: float


class VerdictPart(msgspec.Struct, omit_defaults=True):
    """What a plugin decided: its name, the kind of verdict and its reason."""

    plugin: str
    kind: str
    reason: str = ""


class SessionPart(msgspec.Struct, omit_defaults=True):
    """The conversation that an exchange belongs to, and how that was found."""

    id: str
    agent_id: str | None = None
    workflow_id: str | None = None
    match: str = ""
    score: float | None = None


class EndLine(Line, tag="end", kw_only=True):
    """
    How it ended.

    Attributes:
        exchange: The exchange's id.
        at: Seconds since the request.
        outcome: As `perimeter.Outcome` has it.
        error: Why it did not complete: the error's type and message.
        attempts: How often the request was sent.
        sent: Seconds from the request until it went upstream.
        session: The conversation it belongs to.
        verdicts: What plugins decided.
        received: SHA-256 of the body that came from the provider, "" where there was none.
        delivered: SHA-256 of the body that went to the client.
        stored: SHA-256 of the body as it is recorded here.
        size: Bytes of the body delivered.
        truncated: Whether the recording lacks chunks because the body was over a limit.
        lost: How many chunks are missing because the recorder could not keep up.
        masked: How many secrets were masked in the response.
    """

    exchange: str
    at: float
    outcome: str
    error: tuple[str, str] | None = None
    attempts: int = 0
    sent: float | None = None
    session: SessionPart | None = None
    verdicts: list[VerdictPart] = []
    received: str = ""
    delivered: str = ""
    stored: str = ""
    size: int = 0
    truncated: bool = False
    lost: int = 0
    masked: int = 0


AnyLine = FileLine | RequestLine | SentLine | HeadLine | ChunkLine | EndLine

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyLine).decode


class UnknownLine(ValueError):
    """A line that is none of these; the message says why."""


def decode(data: bytes) -> AnyLine:
    """
    Read a line.

    Raises:
        UnknownLine: It is no line of a recording.
    """
    try:
        line: AnyLine = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise UnknownLine(str(error)) from error
    return line


def content(data: bytes) -> dict[str, Any]:
    """Return bytes as the fields of a line: as text where they are valid UTF-8."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode()}
