"""Requests and answers: their bodies, headers, and what HTTP says of them."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter import redaction
from perimeter.dialects import RAW, Dialect
from perimeter.encoding import DecodeError, decode
from perimeter.framing import framing_of
from perimeter_plugin_live_trace.records import Answered, Asked, Headers
from perimeter_plugin_live_trace.store import bodies, texts, values, words
from perimeter_plugin_live_trace.store.masking import masked
from perimeter_plugin_live_trace.store.words import Said
from perimeter_plugin_live_trace.store.work import Work


LARGEST_REQUEST = 8 * 1024 * 1024
LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes that are stored of a request without its messages, and of an answer."""
_MOST_DECODED = 64 * 1024 * 1024

_TARGET = 2000
_HEADERS = 256
"""Fields that are stored; nobody means more of them well."""
_SYSTEM_KEYS = ("system", "instructions", "systemInstruction", "system_instruction")
_REPLAY = b"x-perimeter-replay-of"
_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class _Role(msgspec.Struct, gc=False):
    role: str = ""


_role = msgspec.json.Decoder(_Role).decode


class Exchanges:
    """Stores bodies."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def request(self, call: Any, record: Asked, session: Any, dialect: Dialect) -> Said:
        """
        Store a request.

        Args:
            call: The row of its call.
            record: The request.
            session: The row of its session, or None.
            dialect: Its dialect.

        Returns:
            What it says that is new.
        """
        call.upstream, call.dialect = texts.name(record.upstream), texts.name(record.dialect)
        call.operation = texts.name(record.operation) or call.operation
        call.method = texts.name(record.method, 20) or "?"
        call.target = _target(record.target)
        call.started_us = min(call.started_us, values.micros(record.at, 4e9))
        replay_of = _header(record.headers, _REPLAY)
        call.replay_of = texts.identifier(replay_of.decode("latin-1")) if replay_of else ""
        call.request_headers_blob = self._work.blobs.shared(_headers(record.headers))
        body, cut = _decoded(record.headers, record.body, _MOST_DECODED)
        call.request_size = values.whole(record.size) or len(record.body)
        call.request_cut = cut or call.request_size > len(record.body)
        return self._store(call, session, body, dialect)

    def _store(self, call: Any, session: Any, body: bytes, dialect: Dialect) -> Said:
        if not body:
            return words.NOTHING
        envelope, key, items = bodies.split(body) if session is not None else (body, "", [])
        if not key:
            call.envelope_blob = self._capped(call, body)
            kept = masked(body[:LARGEST_REQUEST])
            return words.NOTHING if call.request_cut else self._said_whole(call, dialect, kept)
        call.envelope_blob = self._capped(call, envelope)
        first = not self._work.histories.tip(session).digests
        placed = self._work.histories.place(session, items)
        call.list_key, call.node_id, call.messages = key, placed.node_id, len(items)
        call.carried, call.rewritten = placed.carried, placed.rewritten
        call.request_cut = call.request_cut or placed.cut
        call.system_digest = self._system(envelope, items)
        if not placed.new:  # the same once more
            again = [masked(items[-1][:LARGEST_REQUEST])]
            said = words.of_request(dialect, call.target, key, again, first=True)
            return Said(said.preview)
        return words.of_request(dialect, call.target, key, placed.new, first=first)

    def _said_whole(self, call: Any, dialect: Dialect, body: bytes) -> Said:
        """Return what a request says whose messages are no list: a text, mostly."""
        if dialect is RAW or dialect.operation == "embeddings":
            return words.NOTHING
        return words.of_body(dialect, call.target, body)

    def place_late(self, call: Any, session: Any) -> None:
        """Put the messages of a call in order that was stored before its session was known."""
        found = self._work.blobs.read(call.envelope_blob)
        if found is None or call.request_cut:
            return
        envelope, key, items = bodies.split(found)
        if key:
            placed = self._work.histories.place(session, items)
            call.envelope_blob = self._work.blobs.shared(envelope)
            call.list_key, call.node_id, call.messages = key, placed.node_id, len(items)
            call.carried, call.rewritten = placed.carried, placed.rewritten

    def _capped(self, call: Any, data: bytes) -> int:
        if len(data) > LARGEST_REQUEST:
            call.request_cut = True
            data = data[:LARGEST_REQUEST]
        return self._work.blobs.shared(data)

    def _system(self, envelope: bytes, items: list[bytes]) -> str:
        """Return the digest of the system prompt, wherever the API has it."""
        try:
            fields = _fields(envelope)
            parts = [bytes(fields[key]) for key in _SYSTEM_KEYS if key in fields]
        except (ValueError, RecursionError, msgspec.MsgspecError):
            parts = []
        for item in items[:8]:
            if _role_of(item) not in {"system", "developer"}:
                break
            parts.append(item)
        return self._work.blobs.digest(b"\0".join(parts)).hex() if parts else ""

    def answer(self, call: Any, record: Answered, dialect: Dialect) -> Said:
        """
        Store an answer.

        Args:
            call: The row of its call.
            record: The answer.
            dialect: Its dialect.

        Returns:
            What it says.
        """
        call.outcome = texts.name(record.outcome) or "completed"
        call.http_status = values.whole(record.status) or call.http_status
        call.attempts = values.whole(record.attempts) or 0
        call.overhead_us = values.scaled(record.overhead, 1e6)
        if call.dur_us is None:
            call.dur_us = values.scaled(record.duration, 1e6)
        if record.error and not call.error:
            call.error = texts.excerpt(record.error, 500)
        if record.verdicts:
            found = [[texts.name(part) for part in pair] for pair in record.verdicts[:50]]
            call.verdicts = _encode(found).decode()
        if record.headers:
            call.response_headers_blob = self._work.blobs.own(_headers(record.headers))
        return self._store_answer(call, record, dialect)

    def _store_answer(self, call: Any, record: Answered, dialect: Dialect) -> Said:
        body, cut = _decoded(record.headers, record.body, LARGEST_ANSWER)
        call.response_size = values.whole(record.size) or len(record.body)
        call.response_cut = cut or call.response_size > len(record.body)
        if not body:
            return words.NOTHING
        kept = masked(body)
        call.response_blob = self._work.blobs.own(kept)
        kind = _header(record.headers, b"content-type") or b""
        framing = framing_of(kind.decode("latin-1"), call.dialect)
        return words.of_reply(dialect, kept, framing)


def _header(fields: Headers, name: bytes) -> bytes | None:
    """Return the first value of a header, or None."""
    for key, value in fields:
        if key == name or key.lower() == name:
            return value
    return None


def _decoded(headers: Headers, body: bytes, limit: int) -> tuple[bytes, bool]:
    """Return a body with its content-encoding undone, and whether it was too much."""
    encoding = _header(headers, b"content-encoding")
    if encoding and body:
        try:
            body = decode(body, encoding.decode("latin-1"), limit + 1)
        except DecodeError:
            pass  # it is not what it says, and is kept as it came
    return (body[:limit], True) if len(body) > limit else (body, False)


def _headers(fields: Headers) -> bytes:
    """Return header fields as JSON, masked: a list of names and values."""
    shown = redaction.headers(tuple(fields[:_HEADERS]))
    return _encode([(name.decode("latin-1"), value.decode("latin-1")) for name, value in shown])


def _target(target: str) -> str:
    path, mark, query = target.partition("?")
    return texts.name(path + mark + redaction.query(query[:_TARGET]), _TARGET)


def _role_of(item: bytes) -> str:
    try:
        return _role(item).role
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return ""
