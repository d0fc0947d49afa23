"""
The recordings of the system that Perimeter re-implements: `recording_NNN.jsonl`.

A request and its response stand on lines of their own with nothing that ties them together, so they
are paired by their order: a response belongs to the request before it. Bodies that were JSON have
been parsed, so the bytes are no longer those of the wire; of a stream the times of its pieces are
not known, and of nothing a digest.
"""

from __future__ import annotations

import hashlib
import math
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime
from typing import Any

import msgspec

from perimeter.dialects import RAW, UPSTREAM_TYPES, DialectTable
from perimeter.framing import framing_of
from perimeter_plugin_recorders.journal.reading import Line
from perimeter_plugin_recorders.lines import (
    ChunkLine,
    EndLine,
    Fields,
    HeadLine,
    RequestLine,
    SessionPart,
    content,
)
from perimeter_plugin_recorders.recordings.recording import Recording, field


_TRUNCATED = "[TRUNCATED"
_BELIED = frozenset({"content-length", "content-encoding", "transfer-encoding"})
"""Fields that no longer say the truth about a body that was parsed and written again."""


class Body(msgspec.Struct):
    """A body: `json` (parsed), `text` or `binary` (base64)."""

    type: str | None = None
    content: Any = None


class Said(msgspec.Struct):
    """A line, as far as it is of use."""

    type: str
    timestamp: Any
    method: str = ""
    path: str = ""
    query: Any = ""
    headers: Any = None
    body: Body | None = None
    session_id: str | None = None
    provider: str | None = None
    start_time: Any = None
    status_code: int | None = None
    duration_ms: float | None = None
    error_type: str | None = None
    error_message: str | None = None
    exchange: Any = None


_decode = msgspec.json.Decoder(Said).decode
_tables = {name: DialectTable(kind.dialects) for name, kind in UPSTREAM_TYPES.items()}


def parse(line: Line) -> Said | None:
    """Read a line; None where it is none of these."""
    try:
        said = _decode(line.data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    known = said.type in {"request", "response", "error"} and said.exchange is None
    return said if known else None


def begin(line: Line, said: Said) -> Recording:
    """Make an exchange from its request."""
    body, truncated = _bytes(said.body)
    target = _target(said)
    kind = said.provider if said.provider in UPSTREAM_TYPES else "raw"
    method = said.method or "POST"
    dialect = _tables[kind].match(method, target.partition("?")[0]) if kind in _tables else RAW
    request = RequestLine(
        exchange=f"legacy-{hashlib.sha256(line.data).hexdigest()[:20]}",
        at=_began(said),
        method=method,
        target=target,
        headers=_fields(said.headers, without=_BELIED),
        upstream=said.provider or "",
        upstream_type=kind,
        dialect=dialect.name,
        truncated=truncated,
        **content(body),
    )
    made = Recording(request, line.path, line.number, legacy=True)
    made.last = (line.path, line.number)
    made.owner = said.session_id
    return made


def finish(recording: Recording, line: Line, said: Said) -> None:
    """Add the response, or the error, to an exchange."""
    exchange = recording.id
    ended = _duration(recording, said)
    recording.last = (line.path, line.number)
    truncated = False
    if said.type == "response" and said.status_code is not None:
        body, truncated = _bytes(said.body)
        headers = _fields(said.headers, without=_BELIED)
        framing = framing_of(field(headers, "content-type"), recording.request.dialect)
        recording.head = HeadLine(
            exchange=exchange, at=ended, status=said.status_code, headers=headers, framing=framing
        )
        if body:
            recording.chunks = [ChunkLine(exchange=exchange, at=ended, **content(body))]
            recording.stored, recording.pieces = len(body), 1
    failed = said.type == "error"
    recording.end = EndLine(
        exchange=exchange,
        at=ended,
        outcome="upstream_error" if failed else "completed",
        error=(said.error_type or "Error", said.error_message or "") if failed else None,
        attempts=1,
        session=SessionPart(id=recording.owner) if recording.owner else None,
        size=recording.stored,
        truncated=truncated,
    )


def _bytes(body: Body | None) -> tuple[bytes, bool]:
    """Return a body's bytes, and whether they are not all of it."""
    if body is None or body.content is None:
        return b"", False
    if isinstance(body.content, str) and body.type != "json":
        if body.content.startswith(_TRUNCATED):
            return b"", True
        if body.type == "binary":
            try:
                return b64decode(body.content), False
            except Base64Error:
                return b"", True
        return body.content.encode("utf-8", "replace"), False
    return msgspec.json.encode(body.content), False


def _target(said: Said) -> str:
    path = said.path if said.path.startswith("/") else f"/{said.path}"
    query = said.query
    if isinstance(query, dict):
        query = "&".join(f"{name}={value}" for name, value in query.items())
    return f"{path}?{query}" if query and isinstance(query, str) else path


def _fields(headers: Any, *, without: frozenset[str]) -> Fields:
    pairs = headers.items() if isinstance(headers, dict) else ()
    made = [(str(name).lower(), _plain(value)) for name, value in pairs]
    return [(name, value) for name, value in made if name not in without]


def _plain(value: Any) -> str:
    """Return a header's value so that it can be sent."""
    return str(value).encode("latin-1", "replace").decode("latin-1")


def _began(said: Said) -> float:
    return _moment(said.start_time) or _moment(said.timestamp) or 0.0


def _duration(recording: Recording, said: Said) -> float:
    if said.duration_ms is not None and 0 <= said.duration_ms < math.inf:
        return said.duration_ms / 1000
    return max(0.0, (_moment(said.timestamp) or 0.0) - recording.request.at)


def _moment(value: Any) -> float | None:
    """Return Unix time from a number or from ISO 8601, which is UTC where it does not say."""
    if isinstance(value, int | float) and value > 1e8:  # else a clock that began at some boot
        return float(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
