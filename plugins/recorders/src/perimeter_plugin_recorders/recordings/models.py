"""What a recorded call asks for, and what was answered, through core's dialects."""

from __future__ import annotations

import msgspec

from perimeter.calls import LLMReply, LLMRequest, ParseError
from perimeter.dialects import RAW, UPSTREAM_TYPES, Dialect, DialectTable
from perimeter.framing import cutter
from perimeter_plugin_recorders.recordings.recording import Recording


_DIALECTS = {each.name: each for kind in UPSTREAM_TYPES.values() for each in kind.dialects}
_tables = {name: DialectTable(kind.dialects) for name, kind in UPSTREAM_TYPES.items()}


class _Model(msgspec.Struct):
    model: str = ""


_model = msgspec.json.Decoder(_Model).decode


def dialect_of(recording: Recording) -> Dialect:
    """Return the API that was spoken; `RAW` where none is known."""
    request = recording.request
    if request.dialect in _DIALECTS:
        return _DIALECTS[request.dialect]
    table = _tables.get(request.upstream_type)
    return table.match(request.method, recording.route) if table else RAW


def model_of(recording: Recording) -> str:
    """Return the model that was asked for, or ""."""
    if dialect_of(recording) is RAW or recording.request.streamed:
        return ""
    try:
        if found := _model(recording.asked()).model:
            return found
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return request_of(recording).model


def request_of(recording: Recording) -> LLMRequest:
    """Return the call, empty where it can't be read."""
    try:
        return dialect_of(recording).read_request(recording.asked(), recording.route)
    except ParseError:
        return LLMRequest()


def reply_of(recording: Recording) -> LLMReply:
    """Return the answer, put together where it was streamed; empty where it can't be read."""
    dialect, head = dialect_of(recording), recording.head
    if head is None:
        return LLMReply()
    body = recording.content()
    parser = dialect.stream_parser() if head.framing else None
    if parser is None or head.framing is None:
        try:
            return dialect.read_reply(body)
        except ParseError:
            return LLMReply()
    for event in cutter(head.framing).feed(body):
        try:
            parser.feed(event)
        except ParseError:
            continue
    return parser.reply()
