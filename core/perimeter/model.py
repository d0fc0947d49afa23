"""
The exchange: one request of a client and what became of it.

Plugins get these objects. They may keep their own values in `Exchange.state`, and change nothing
else.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from perimeter.encoding import DecodeError, decode
from perimeter.verdicts import Headers, Verdict, header


if TYPE_CHECKING:
    from hashlib import _Hash

    from perimeter.calls import LLMReply, LLMRequest
    from perimeter.dialects import Dialect


class Outcome(StrEnum):
    """How an exchange ended. The first three end with `on_response`, the rest with `on_error`."""

    COMPLETED = "completed"
    """The upstream's response reached the client whole, whatever its status."""
    RESPONDED = "responded"
    """A guard answered instead of the upstream."""
    BLOCKED = "blocked"
    """A guard refused, before or during the response."""
    TRUNCATED = "truncated"
    """The upstream's response ended early."""
    UPSTREAM_ERROR = "upstream_error"
    """The upstream could not be reached, timed out, or did not speak HTTP."""
    CLIENT_DISCONNECTED = "client_disconnected"
    """The client left first."""
    REJECTED = "rejected"
    """The request was refused as it stood: malformed, too large, not allowed."""
    PROXY_ERROR = "proxy_error"
    """The proxy itself failed: a guard that fails closed, a shutdown deadline, a defect."""


@attrs.define(eq=False)
class Request:
    """
    A request as it is at one point of its way.

    Attributes:
        method: As sent, upper-case by convention.
        path: The raw path, percent-encoding untouched, without Perimeter's own prefixes.
        query: The raw query string, without the question mark.
        headers: All header fields. Credentials that Perimeter itself adds are never in here.
        body: The body, or None while it streams through and where it was above the capture limit.
        truncated: Whether `body` lacks something because of the capture limit.
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes | None = None
    truncated: bool = False

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        value = header(self.headers, name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query as they stand in the request line."""
        return f"{self.path}?{self.query}" if self.query else self.path


@attrs.define(eq=False)
class Response:
    """
    The response to the client.

    Attributes:
        status: HTTP status.
        headers: Header fields as the upstream sent them (or a guard, or Perimeter's own error).
        framing: `"sse"`, `"ndjson"`, `"json-array"` or `"aws"` for a stream of events, else None.
        truncated: Whether `body` lacks something because of the capture limit.
        size: Bytes of body delivered so far.
    """

    status: int
    headers: Headers
    framing: str | None = None
    truncated: bool = False
    size: int = 0
    _parts: list[bytes] = attrs.field(factory=list, alias="parts")
    _received: _Hash | None = None
    _delivered: _Hash | None = None

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        value = header(self.headers, name.lower().encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def body(self) -> bytes:
        """What was delivered so far, still content-encoded, up to the capture limit."""
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""

    def content(self, limit: int = 64 * 1024 * 1024) -> bytes:
        """
        Return the body with its content-encoding undone.

        Args:
            limit: At most this many bytes are decoded.

        Returns:
            The decoded body; the raw one where it can't be decoded.
        """
        encoding = header(self.headers, b"content-encoding")
        if not encoding:
            return self.body[:limit]
        try:
            return decode(self.body, encoding.decode("latin-1"), limit)
        except DecodeError:
            return self.body

    @property
    def received_digest(self) -> str:
        """SHA-256 (hex) of the body bytes that came from the upstream; "" where none was taken."""
        return self._received.hexdigest() if self._received else ""

    @property
    def delivered_digest(self) -> str:
        """SHA-256 (hex) of the body bytes that went to the client; "" where none was taken."""
        return self._delivered.hexdigest() if self._delivered else ""

    def record(self, data: bytes, room: int) -> None:
        """Note bytes that were delivered, keeping at most `room` of them in all."""
        if self._delivered is not None and self._delivered is not self._received:
            self._delivered.update(data)
        kept = room - self.size
        self.size += len(data)
        if kept >= len(data):
            self._parts.append(data)
            return
        self.truncated = True
        if kept > 0:
            self._parts.append(data[:kept])

    def take_body(self) -> bytes:
        """Return the body and forget it, so that it can be recorded again as it is delivered."""
        body = self.body
        self._parts = []
        self.size = 0
        return body

    def with_body(self, body: bytes) -> Response:
        """Return this response with another body, which has not been delivered yet."""
        return attrs.evolve(self, parts=[body], size=0)

    def replaced_by(self, other: Response) -> Response:
        """Return `other` with the digests of what was received in place of it."""
        return attrs.evolve(other, received=self._received, delivered=self._delivered)

    def digest(self, *, rewritable: bool) -> None:
        """Start taking digests; two of them where guards may change the body on its way."""
        self._received = hashlib.sha256()
        self._delivered = hashlib.sha256() if rewritable else self._received

    def digest_apart(self) -> None:
        """Take the two digests apart: what is delivered from here on does not come from there."""
        if self._delivered is not None and self._delivered is self._received:
            self._delivered = self._received.copy()

    def digest_delivery(self) -> None:
        """Take a digest of what is delivered, if none is taken yet."""
        if self._delivered is None:
            self._delivered = hashlib.sha256()

    def received(self, data: bytes) -> None:
        """Note bytes that came from the upstream."""
        if self._received is not None:
            self._received.update(data)


@attrs.define(eq=False)
class Chunk:
    """
    A piece of the response body as it went to the client.

    Attributes:
        data: The bytes, still content-encoded.
        at: Seconds since the exchange began (monotonic).
    """

    data: bytes
    at: float


@attrs.define(eq=False)
class Exchange:
    """
    One request of a client and what became of it.

    Attributes:
        id: Unique; also sent to the client as `x-perimeter-exchange-id`.
        original: The request as the client sent it.
        request: The request as it goes (or went) upstream; the same content as `original` unless
            a guard rewrote it.
        upstream: Name of the upstream it is sent to.
        dialect: The provider API that it speaks.
        workflow_id: From the `/agent-workflow/<id>` prefix, else None.
        client: The peer's address, or "" where unknown.
        started_at: Unix time, seconds.
        started: Monotonic clock of the same moment; the other times are on that clock too.
        sent: When the request went upstream, or None.
        head_at: When the upstream's response head came, or None.
        first_byte_at: When the first body byte was passed on, or None.
        ended: When it was over, or None.
        upstream_wait: Seconds spent waiting for the upstream, which are not the proxy's.
        client_wait: Seconds spent waiting for the client.
        attempts: How often the request was sent.
        response: The response to the client, once there is one.
        outcome: How it ended, once it has.
        error: Why it did not complete, where it did not.
        session: The conversation it belongs to, once that is known; None where there is none.
        llm_request: What is asked for, once it is read; None where it can't be, or is no call.
        llm_reply: What was answered, at the end.
        verdicts: What guards decided: (plugin, verdict), in order.
        recorded: Whether plugins may keep it. Where it is false, a plugin keeps nothing of it.
        state: For plugins' own values, by plugin name.
    """

    id: str
    original: Request
    request: Request
    upstream: str
    dialect: Dialect
    started_at: float
    started: float
    workflow_id: str | None = None
    client: str = ""
    recorded: bool = True
    sent: float | None = None
    head_at: float | None = None
    first_byte_at: float | None = None
    ended: float | None = None
    upstream_wait: float = 0.0
    client_wait: float = 0.0
    attempts: int = 0
    response: Response | None = None
    outcome: Outcome | None = None
    error: Exception | None = None
    session: Session | None = None
    llm_request: LLMRequest | None = None
    llm_reply: LLMReply | None = None
    verdicts: list[tuple[str, Verdict]] = attrs.field(factory=list)
    state: dict[str, Any] = attrs.field(factory=dict)

    @property
    def duration(self) -> float | None:
        """Seconds from the request's head to the end, or None while it runs."""
        return None if self.ended is None else self.ended - self.started

    @property
    def time_to_first_byte(self) -> float | None:
        """Seconds from the request's head to the first body byte passed on, or None."""
        return None if self.first_byte_at is None else self.first_byte_at - self.started

    @property
    def overhead(self) -> float | None:
        """Seconds that the proxy itself added, guards included, or None while it runs."""
        if self.ended is None:
            return None
        return max(0.0, self.ended - self.started - self.upstream_wait - self.client_wait)


@attrs.define(unsafe_hash=True)
class Session:
    """
    One conversation, as one exchange has to do with it. Not to be changed.

    Attributes:
        id: Its id.
        agent_id: The agent it belongs to, or None.
        workflow_id: The workflow it belongs to, or None.
        match: Which evidence led to it, such as `prefix`; "" where none was looked for.
        score: How alike the conversations are, from 0 to 1, where that was looked at.
    """

    id: str
    agent_id: str | None = None
    workflow_id: str | None = None
    match: str = attrs.field(default="", eq=False)
    score: float | None = attrs.field(default=None, eq=False)


@attrs.define
class Event:
    """
    Something that happened in a session; the envelope of every event. Not to be changed.

    Neither this nor `Session` is frozen, which would cost a microsecond each time one is made.

    Attributes:
        name: Such as `llm.call.start` or `security.finding`.
        timestamp: Unix time, seconds.
        trace_id: 32 hex digits, or "".
        span_id: 16 hex digits, or "".
        level: `"INFO"`, `"WARNING"` or `"ERROR"`.
        agent_id: The agent it belongs to, or None.
        session_id: The session it belongs to, or None.
        attributes: What there is to say, by attribute name.
        schema_version: Version of this envelope.
        recorded: Whether plugins may keep it; no part of its JSON form.
    """

    name: str
    timestamp: float
    trace_id: str = ""
    span_id: str = ""
    level: str = "INFO"
    agent_id: str | None = None
    session_id: str | None = None
    attributes: dict[str, Any] = attrs.field(factory=dict)
    schema_version: str = "1.0"
    recorded: bool = True
