"""A call and its replay, side by side."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from perimeter.calls import LLMReply, ParseError, Text, Thinking, ToolCall
from perimeter.dialects import Dialect
from perimeter.pricing import PriceTable
from perimeter_plugin_live_trace.api.limits import shortened
from perimeter_plugin_live_trace.queries.reading import reply_of
from perimeter_plugin_live_trace.replay.differences import Span, differences
from perimeter_plugin_live_trace.replay.sending import TAG, Answer
from perimeter_plugin_live_trace.store import Reader, models


MOST_TEXT = 64 * 1024
"""Characters of an answer that are shown."""
_MOST_REPLAYS = 20
_WAITS = 3.0
"""Seconds until a call is recorded; that takes a tenth of one, mostly."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """
    One of the two.

    Attributes:
        exchange: Its id, "" where it was not recorded.
        session: The session of the call, "" where it was not recorded.
        failed: Why there is no answer, or "".
    """

    exchange: str
    session: str
    number: int
    model: str
    status: int | None
    text: str
    finish: str
    failed: str
    tok_in: int | None
    tok_out: int | None
    tok_cached: int | None
    cost_nano: int | None
    dur_us: int | None


class Comparison(msgspec.Struct, frozen=True):
    """Both, and which words of their answers differ."""

    before: Side
    after: Side
    spans: list[Span]

    @property
    def same(self) -> bool:
        """Whether both answered the same."""
        return all(span.kind == "same" for span in self.spans)


class Earlier(msgspec.Struct, frozen=True):
    """A replay that was sent before."""

    exchange: str
    session: str
    at_us: int
    model: str
    state: str


def compared(before: Side, after: Side) -> Comparison:
    """Return two answers with their differences."""
    return Comparison(before, after, differences(before.text, after.text))


def side_of_call(reader: Reader, call: Any) -> Side:
    """Return a recorded call."""
    table = models.Session
    session = reader.value(table.select(table.public_id).where(table.id == call.session_id), "")
    reply = reply_of(reader, call)
    failed = (call.error or (reply.error if reply else "")) if call.state == "error" else ""
    return Side(
        exchange=call.exchange,
        session=session,
        number=call.number,
        model=call.model,
        status=call.http_status,
        text=said(reply),
        finish=call.finish,
        failed=failed or ("it failed" if call.state == "error" else ""),
        tok_in=call.tok_in,
        tok_out=call.tok_out,
        tok_cached=call.tok_cached,
        cost_nano=call.cost_nano,
        dur_us=call.dur_us,
    )


def side_of_answer(prices: PriceTable, dialect: Dialect, model: str, answer: Answer) -> Side:
    """Return an answer that was not recorded, as it came."""
    try:
        reply = dialect.read_reply(answer.body)
    except (ParseError, RecursionError):
        reply = LLMReply(error=answer.body[:2000].decode("utf-8", "replace"))
    usage = reply.usage
    cost = prices.cost(reply.model or model, usage) if usage is not None else None
    told = f"HTTP {answer.status}" if answer.status >= 400 else ""
    failed = ": ".join(part for part in (told, reply.error) if part)
    return Side(
        exchange=answer.exchange,
        session="",
        number=0,
        model=reply.model or model,
        status=answer.status,
        text=said(reply),
        finish=reply.finish_reason,
        failed=shortened(failed, 2000),
        tok_in=usage.input if usage else None,
        tok_out=usage.output if usage else None,
        tok_cached=usage.cache_read if usage else None,
        cost_nano=None if cost is None else round(cost * 1e9),
        dur_us=round(answer.seconds * 1e6),
    )


def said(reply: LLMReply | None) -> str:
    """Return what a reply says, tools that it asks for included."""
    parts = []
    for part in reply.message.parts if reply is not None and reply.message is not None else ():
        match part:
            case Text(text):
                parts.append(text)
            case Thinking(text) if text:
                parts.append(f"[thinking] {text}")
            case ToolCall():
                parts.append(f"[tool] {part.name}({part.arguments})")
            case _:
                continue
    return shortened("\n\n".join(parts), MOST_TEXT)


def recorded(reader: Reader, exchange: str, original: str, waits: float = _WAITS) -> Any | None:
    """
    Return the call of a replay once it is recorded, None if that does not happen.

    Args:
        reader: The database.
        exchange: The replay's.
        original: The one that it repeats.
        waits: Seconds to wait for it.
    """
    table = models.Call
    query = table.select().where((table.exchange == exchange) & (table.replay_of == original))
    until = time.monotonic() + waits
    while exchange:
        call = reader.one(query)
        if call is not None and call.state != "running" and call.response_blob is not None:
            return call
        if time.monotonic() >= until:
            return call if call is not None and call.state != "running" else None
        time.sleep(0.05)
    return None


def earlier(reader: Reader, exchange: str) -> list[Earlier]:
    """Return the replays of an exchange, newest first."""
    tag, call, session = models.Tag, models.Call, models.Session
    ids = tag.select(tag.session_id).where((tag.key == TAG) & (tag.value == exchange))
    query = (
        call.select(call.exchange, session.public_id, call.started_us, call.model, call.state)
        .join(session, on=(session.id == call.session_id))
        .where(call.session_id.in_(ids) & (call.replay_of == exchange))
        .order_by(call.id.desc())
        .limit(_MOST_REPLAYS)
    )
    return [Earlier(*row) for row in reader.rows(query)]
