"""Findings in their context: the words around what was found, where its text is still the same."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from perimeter.calls import LLMReply, LLMRequest, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.findings import digest
from perimeter_plugin_live_trace.queries.findings import evidence, mark_of
from perimeter_plugin_live_trace.queries.marks import Mark, Marks, Run, runs
from perimeter_plugin_live_trace.queries.reading import reply_of, request_of, system_of
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Event, Finding


AROUND = 200
"""Characters before and after what was found."""
_MOST_READ = 16 * 1024 * 1024
"""Bytes of calls that are read for one page; findings in further ones are shown without context."""
_MOST_PERSONAL = 1000


class Context(msgspec.Struct, frozen=True):
    """
    Where something was found.

    Attributes:
        runs: What was found with the words around it; none where that can't be said.
        moved: Whether a place is known, and the text there is another one now, or gone.
    """

    runs: list[Run] = []
    moved: bool = False


def contexts(
    reader: Reader, rows: Sequence[Any], *, reveal: Container[int] = ()
) -> dict[int, Context]:
    """
    Return the contexts of findings, by their ids.

    Args:
        reader: The database.
        rows: Rows of `Finding`.
        reveal: Findings whose personal data is shown.
    """
    said = {row.id: evidence(row.evidence) for row in rows}
    marks = [(row, mark) for row in rows if (mark := mark_of(row, said[row.id])) is not None]
    texts = _Texts(reader, [row.event_id for row, _ in marks])
    personal = personal_of(reader, {row.session_id for row, _ in marks})
    found = {row.id: Context() for row in rows}
    for row, mark in marks:
        text = texts.find(row.event_id, said[row.id].text_sha)
        if text is None:
            continue
        if not mark.fits(text):
            found[row.id] = Context(moved=True)
            continue
        others = [each for each in personal.of(text) if each.finding != row.id]
        found[row.id] = _context(text, mark, others, reveal)
    return found


class _Texts:
    """The texts of calls: each call is read once, and not more than a page has time for."""

    def __init__(self, reader: Reader, events: Iterable[int | None]) -> None:
        self._reader = reader
        self._left = _MOST_READ
        self._known: dict[int, dict[str, str]] = {}
        ids = [each for each in events if each is not None]
        pairs = reader.rows(Event.select(Event.id, Event.call_id).where(Event.id.in_(ids)))
        calls = reader.rows(Call.select().where(Call.id.in_({row.call_id for row in pairs})))
        by_id = {call.id: call for call in calls}
        self._calls = {row.id: by_id[row.call_id] for row in pairs if row.call_id in by_id}

    def find(self, event_id: int | None, text_sha: str) -> str | None:
        """Return a text of an event's call; "" where it has no such text, None if nobody looked."""
        call = self._calls.get(event_id or 0)
        if call is None:
            return ""
        if call.id not in self._known:
            if self._left <= 0:
                return None
            self._left -= call.request_size + call.response_size
            self._known[call.id] = {digest(text): text for text in _texts(self._reader, call)}
        return self._known[call.id].get(text_sha, "")


def personal_of(reader: Reader, sessions: set[int]) -> Marks:
    """Return all that is known of personal data in sessions: it is hidden beside others, too."""
    query = Finding.select().where(Finding.session_id.in_(sessions))
    found = Marks()
    for row in reader.rows(query.limit(_MOST_PERSONAL)):
        said = evidence(row.evidence)
        mark = mark_of(row, said)
        if mark is not None and mark.kind:
            found.add(said.text_sha, mark)
    return found


def _context(text: str, mark: Mark, others: list[Mark], reveal: Container[int]) -> Context:
    low, high = max(0, mark.start - AROUND), mark.end + AROUND
    here = [
        msgspec.structs.replace(each, start=each.start - low, end=each.end - low)
        for each in (mark, *others)
    ]
    cut = runs(text[low:high], here, reveal=reveal)
    if low:
        cut.insert(0, Run("…"))
    if high < len(text):
        cut.append(Run("…"))
    return Context(cut)


def _texts(reader: Reader, call: Any) -> Iterator[str]:
    yield system_of(reader, call)
    request: LLMRequest | None = request_of(reader, call, only_new=False)
    reply: LLMReply | None = reply_of(reader, call)
    messages = list(request.messages) if request is not None else []
    if reply is not None and reply.message is not None:
        messages.append(reply.message)
    for message in messages:
        for part in message.parts:
            yield _text(part)


def _text(part: Part) -> str:
    if isinstance(part, Text | Thinking | ToolResult):
        return part.text
    return part.arguments if isinstance(part, ToolCall) else ""
