"""
A page of a conversation: what each call added to it.

A request repeats all that was said before. Stored are the new messages, and what a request repeats
of the reply before it is left out here, so that everything is shown once, where it was said first;
a tool's result stands with the call of the tool, although it came with the next request.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import msgspec

from perimeter.calls import LLMReply, LLMRequest, Message, ToolCall
from perimeter.calls import Text as Words
from perimeter_plugin_live_trace.queries.cards import Cards, same_words, signature
from perimeter_plugin_live_trace.queries.matching import STALLED_US
from perimeter_plugin_live_trace.queries.prompts import changes
from perimeter_plugin_live_trace.queries.reading import reply_of, request_of, system_of
from perimeter_plugin_live_trace.queries.spotting import Spotting
from perimeter_plugin_live_trace.queries.turns import Budget, Card, ToolUse, Turn
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Event


CALLS = 50
"""On a page."""
_MOST_EVENTS = 3000
_EVENT = (Event.id, Event.seq, Event.call_id, Event.kind, Event.name, Event.dur_us, Event.status)
_MOST_COMPARED = 500
"""Messages of a rewritten history that are looked for in the one before."""


@attrs.define
class _Read:
    """A call with what is read of it."""

    call: Any
    request: LLMRequest | None
    reply: LLMReply | None


class Conversation(msgspec.Struct, frozen=True):
    """
    A page of a conversation.

    Attributes:
        turns: In order.
        page: Its number, from 1 on.
        pages: How many there are.
    """

    turns: list[Turn]
    page: int
    pages: int


def page_of(reader: Reader, session_id: int, seq: int) -> int:
    """Return the page that an event is on."""
    query = Call.select(Call.number).where(
        (Call.session_id == session_id) & (Call.start_seq <= seq) & (Call.number > 0)
    )
    number = int(reader.value(query.order_by(Call.number.desc()).limit(1), 1))
    return (max(number, 1) - 1) // CALLS + 1


def conversation(reader: Reader, session: Any, page: int, now_us: int) -> Conversation:
    """
    Return a page of a session's conversation.

    Args:
        reader: The database.
        session: A row of `Session`.
        page: Its number, from 1 on; beyond the last one it is the last one.
        now_us: The time.
    """
    pages = max(1, -(-session.turns // CALLS))
    page = min(max(page, 1), pages)
    low = (page - 1) * CALLS + 1
    found = turns(reader, session, low, low + CALLS - 1, now_us)
    return Conversation(found, page, pages)


def turns(reader: Reader, session: Any, low: int, high: int, now_us: int) -> list[Turn]:
    """Return the calls of a session with these numbers."""
    query = Call.select().where(
        (Call.session_id == session.id) & Call.number.between(low - 1, high + 1)
    )
    # One before, because its reply is what the first one repeats; one after for the tools' results.
    rows = reader.rows(query.order_by(Call.number))
    return _Builder(reader, session, now_us).build([row for row in rows if row.number], low, high)


class _Builder:
    """Makes turns of calls, one after the other."""

    def __init__(self, reader: Reader, session: Any, now_us: int) -> None:
        self._reader, self._session, self._now_us = reader, session, now_us
        self._budget = Budget()
        self._waiting: defaultdict[str, deque[ToolUse]] = defaultdict(deque)
        self._attempts: dict[str, tuple[int, int]] = {}
        self._spotting = Spotting(self._budget.marks)

    def build(self, rows: Sequence[Any], low: int, high: int) -> list[Turn]:
        self._look_around([row for row in rows if low <= row.number <= high])
        built: list[Turn] = []
        before: _Read | None = None
        for row in rows:
            shown = low <= row.number <= high
            read = _Read(row, request_of(self._reader, row), None)
            if row.number <= high:
                read.reply = reply_of(self._reader, row)
            if shown:
                built.append(self._turn(read, before, first=not built))
            elif row.number > high and read.request is not None:
                self._cards(row).results(read.request.messages)
            before = read
        self._spotting.settle()
        return built

    def _look_around(self, rows: Sequence[Any]) -> None:
        """Read events and findings of the calls that are shown, and how often each was tried."""
        self._events: defaultdict[int, list[Any]] = defaultdict(list)
        if not rows:
            return
        starts = [row.start_seq for row in rows if row.start_seq > 0]
        low = 1 if rows[0].number == 1 else min(starts, default=1)
        high = self._end(rows[-1])
        events = self._reader.rows(
            Event.select(*_EVENT)
            .where((Event.session_id == self._session.id) & Event.seq.between(low, high))
            .order_by(Event.seq).limit(_MOST_EVENTS)
        )  # fmt: skip
        self._assign(events, rows)
        self._chains(rows)

    def _end(self, last: Any) -> int:
        """Return the last event before the call after the last one that is shown."""
        query = Call.select(Call.start_seq).where(
            (Call.session_id == self._session.id) & (Call.number == last.number + 1)
        )
        following: int | None = self._reader.value(query, 0)
        last_seq: int = self._session.last_seq
        return following - 1 if following and following > 0 else max(last_seq, 0)

    def _assign(self, events: Sequence[Any], rows: Sequence[Any]) -> None:
        """Give each event to its call, or to the one that it happened after."""
        ids = {row.id for row in rows}
        at = rows[0].id
        places: dict[int, int] = {}
        for event in events:
            if event.call_id in ids and event.kind == "llm.call.start":
                at = event.call_id
            # A tool's result names the call that brought it, but belongs to the one that asked.
            own = event.call_id if event.call_id in ids and event.kind != "tool.result" else at
            self._events[own].append(event)
            places[event.id] = own
        self._spotting.find(self._reader, self._session.id, places)

    def _chains(self, rows: Sequence[Any]) -> None:
        """Number the attempts of calls that were made again."""
        chains: dict[str, list[str]] = {}
        for row in rows:
            chain = chains.get(row.retry_of, [row.retry_of]) if row.retry_of else []
            chain.append(row.exchange)
            chains[row.exchange] = chain
        for chain in chains.values():
            for attempt, exchange in enumerate(chain, 1):
                self._attempts[exchange] = (attempt, len(chain))
        self._numbers = {row.exchange: row.number for row in rows}

    def _cards(self, row: Any) -> Cards:
        return Cards(self._budget, self._waiting, self._events.get(row.id, []))

    def _turn(self, read: _Read, before: _Read | None, *, first: bool) -> Turn:
        row = read.call
        cards = self._cards(row)
        asked, repeated = self._asked(read, before, cards)
        reply = None
        if read.reply is not None and read.reply.message is not None:
            reply = cards.reply(read.reply.message)
        attempt, tries = self._attempts.get(row.exchange, (1, 1))
        events = self._events.get(row.id, [])
        own = {row.start_seq, row.end_seq, *(use.seq for use in cards.uses)}
        return Turn(
            **{name: getattr(row, name) for name in _SAME},
            seq=max([row.start_seq, row.end_seq, 0]),
            start_id=cards.start_id,
            end_id=cards.end_id,
            anchors=[event.seq for event in events if event.seq not in own],
            stalled=row.state == "running" and row.started_us < self._now_us - STALLED_US,
            attempt=attempt,
            attempts_of=tries,
            retry_of=self._numbers.get(row.retry_of, 0),
            received=row.response_size,
            repeated=repeated,
            rewritten=bool(row.rewritten),
            stream=bool(row.stream),
            error=row.error or (read.reply.error if read.reply and row.state == "error" else ""),
            system=self._system(row, before, cards, first=first),
            system_changed=_changed(row, before),
            system_changes=changes(
                self._reader, before.call if before else row, row, self._budget.marks.hide
            ),
            asked=asked,
            reply=reply,
            unread=_unread(read),
            findings=self._spotting.by_call.get(row.id, []),
        )

    def _system(self, row: Any, before: _Read | None, cards: Cards, *, first: bool) -> Any:
        if not row.system_digest or not (first or _changed(row, before)):
            return None
        text = system_of(self._reader, row)
        href = cards.part("system") if cards.start_id else ""
        return self._budget.excerpt(text, href) if text else None

    def _asked(self, read: _Read, before: _Read | None, cards: Cards) -> tuple[list[Card], int]:
        """Return the new messages of a request, and how many of them are none."""
        if read.request is None:
            return [], 0
        messages = list(enumerate(read.request.messages))
        while messages and messages[0][1].role in {"system", "developer"} and not read.call.carried:
            messages.pop(0)  # they stand in the system prompt
        repeated = 0
        if read.call.rewritten and before is not None:
            messages, repeated = self._unsaid(messages, before)
        edited = False
        if before is not None and before.reply is not None and before.reply.message is not None:
            messages, edited = _without_reply(messages, before.reply.message)
        return cards.messages(messages, edited=edited), repeated

    def _unsaid(self, messages: list[Any], before: _Read) -> tuple[list[Any], int]:
        """Leave out the messages that the history before this one had, too, at another place."""
        if before.call.messages > _MOST_COMPARED:
            return messages, 0
        earlier = request_of(self._reader, before.call, only_new=False)
        known = {signature(each) for each in earlier.messages} if earlier else set()
        fresh = [pair for pair in messages if signature(pair[1]) not in known]
        return fresh, len(messages) - len(fresh)


_OWN = {"seq", "start_id", "end_id", "anchors", "stalled", "attempt", "attempts_of", "retry_of",
        "received", "repeated", "rewritten", "stream", "error", "system", "system_changed",
        "system_changes", "asked", "reply", "unread", "findings"}  # fmt: skip
_SAME = [name for name in Turn.__struct_fields__ if name not in _OWN]


def _changed(row: Any, before: _Read | None) -> bool:
    """Whether a call has another system prompt than the one before it."""
    return before is not None and before.call.system_digest != row.system_digest


def _without_reply(messages: list[Any], reply: Message) -> tuple[list[Any], bool]:
    """Leave out what a request repeats of the reply before it; say whether it changed that."""
    start = 0
    while start < len(messages) and messages[start][1].role in {"assistant", "model"}:
        start += 1
    if not start:
        return messages, False
    parts = [part for _, message in messages[:start] for part in message.parts]
    said = [part for part in parts if isinstance(part, (Words, ToolCall))]
    if same_words(said, reply.parts):
        return messages[start:], False
    return messages, True


def _unread(read: _Read) -> str:
    """Return why nothing of a call can be shown, "" where something can."""
    if read.request is not None or read.call.envelope_blob is None:
        return ""
    if read.call.request_cut:
        return "The request was too large to be kept whole."
    return f"The request can't be read as {read.call.dialect or 'anything known'}."


def find_turns(reader: Reader, session: Any, after: int, now_us: int) -> Iterable[Turn]:
    """Return the last calls of a session that something happened in after an event, or that run."""
    query = Call.select(Call.number).where(
        (Call.session_id == session.id)
        & (Call.number > session.turns - CALLS)
        & ((Call.start_seq > after) | (Call.end_seq > after) | (Call.state == "running"))
    )
    numbers = [row[0] for row in reader.rows(query)]
    # The one before them, too: its tools may have got their results.
    return (
        turns(reader, session, max(min(numbers) - 1, 1), session.turns, now_us) if numbers else ()
    )
