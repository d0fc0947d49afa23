"""Calls as they were: their bodies, read by the dialect that they were written in."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter.calls import LLMReply, LLMRequest, ParseError
from perimeter.dialects import RAW, Dialect
from perimeter.framing import cutter, framing_of
from perimeter_plugin_live_trace.store import Reader, bodies


MOST_READ = 24 * 1024 * 1024
"""Bytes of a body that are read at all."""

_LEADING = 8
"""Messages at the beginning of a history that a system prompt can be in."""
Header = tuple[str, str]


def request_of(reader: Reader, call: Any, *, only_new: bool = True) -> LLMRequest | None:
    """
    Return the request of a call.

    Args:
        reader: The database.
        call: A row of `Call`.
        only_new: Leave out the messages that the call before it had sent, too.

    Returns:
        None where there is nothing kept, or where it can't be read.
    """
    dialect = reader.known.dialect(call.dialect)
    if dialect is RAW or call.envelope_blob is None:
        return None
    body = reader.body(call, only_new=only_new)
    if not body or len(body) > MOST_READ:
        return None
    try:
        return dialect.read_request(body, call.target.partition("?")[0])
    except (ParseError, RecursionError):
        return None


def reply_of(reader: Reader, call: Any) -> LLMReply | None:
    """Return the reply of a call, streamed or not; None where there is none, or none to be read."""
    dialect = reader.known.dialect(call.dialect)
    if dialect is RAW or call.response_blob is None:
        return None
    body = reader.blob(call.response_blob)
    if not body or len(body) > MOST_READ:
        return None
    framing = framing_of(header(headers(reader, call.response_headers_blob), "content-type"),
                         call.dialect)  # fmt: skip
    try:
        return _streamed(dialect, body, framing) if framing else dialect.read_reply(body)
    except (ParseError, RecursionError):
        return None


def _streamed(dialect: Dialect, body: bytes, framing: str) -> LLMReply | None:
    parser = dialect.stream_parser()
    if parser is None:
        return None
    cut = cutter(framing)
    for event in (*cut.feed(body), cut.flush()):
        try:
            if event:
                parser.feed(event)
        except ParseError:  # the next ones may be whole
            continue
    return parser.reply()


def headers(reader: Reader, blob_id: int | None) -> list[Header]:
    """Return the headers that a call was sent or answered with, masked as they are stored."""
    data = reader.blob(blob_id)
    try:
        return msgspec.json.decode(data, type=list[Header]) if data else []
    except msgspec.MsgspecError:
        return []


def header(pairs: list[Header], name: str) -> str:
    """Return the value of a header, "" where there is none."""
    return next((value for key, value in pairs if key.lower() == name), "")


def system_of(reader: Reader, call: Any) -> str:
    """Return the system prompt of a call, wherever its API has it; "" for none."""
    dialect = reader.known.dialect(call.dialect)
    if dialect is RAW or call.envelope_blob is None:
        return ""
    body = reader.blob(call.envelope_blob)
    if call.list_key:
        first = reader.messages(call.node_id, limit=min(_LEADING, max(call.messages, 1)))
        body = bodies.join(body, call.list_key, first)
    try:
        return dialect.read_request(body, call.target.partition("?")[0]).system
    except (ParseError, RecursionError):
        return ""
