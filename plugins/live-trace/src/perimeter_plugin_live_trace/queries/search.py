"""Search over everything: sessions, events, agents, tools; with the hits marked as structure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from perimeter_plugin_live_trace.queries.events import EventRow, shown
from perimeter_plugin_live_trace.queries.matching import alike
from perimeter_plugin_live_trace.queries.names import AgentName
from perimeter_plugin_live_trace.queries.sessions import Filter, SessionRow, filtered, rows_of
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, Event, Session
from perimeter_plugin_live_trace.store.search import SPACELESS, index_words, match_query


SESSIONS = 10
EVENTS = 20
OTHERS = 10
_LOOKED_AT = 400
"""Events whose sessions are taken, the newest."""
_MOST_TOOLS = 5000
"""Names of tools that are looked through."""
_AROUND = 90
"""Characters before a hit that are shown."""
_LENGTH = 260
_TERM = re.compile(r'"([^"]*)"?|(\S+)')


class Span(msgspec.Struct, frozen=True):
    """A piece of a text; `hit` says that it is what was looked for."""

    text: str
    hit: bool = False


class Hit(msgspec.Struct, frozen=True):
    """An event that was found, with words around what was looked for."""

    event: EventRow
    spans: list[Span]


class FoundSession(msgspec.Struct, frozen=True):
    """A session that was found; `hits` of the events that were looked at are in it."""

    session: SessionRow
    title: list[Span]
    hits: int


class FoundTool(msgspec.Struct, frozen=True):
    """A tool that was found, and in how many sessions it was used."""

    name: list[Span]
    key: str
    sessions: int


class FoundAgent(msgspec.Struct, frozen=True):
    """An agent that was found."""

    agent: AgentName
    name: list[Span]
    last_us: int


class Results(msgspec.Struct, frozen=True):
    """All that was found; `more` says that there are more events than were looked at."""

    sessions: list[FoundSession] = []
    events: list[Hit] = []
    agents: list[FoundAgent] = []
    tools: list[FoundTool] = []
    more: bool = False


def search(reader: Reader, text: str, now_us: int) -> Results:
    """Return what is found for what somebody typed."""
    if not text.strip():
        return Results()
    pattern = hits_of(text)
    match = match_query(text)
    ids = [row[0] for row in reader.sql(_NEWEST, (match, _LOOKED_AT + 1))] if match else []
    return Results(
        sessions=_sessions(reader, text, ids[:_LOOKED_AT], pattern, now_us),
        events=_events(reader, ids[:EVENTS], pattern),
        agents=_agents(reader, text, pattern),
        tools=_tools(reader, text, pattern),
        more=len(ids) > _LOOKED_AT,
    )


_NEWEST = "SELECT rowid FROM fts WHERE fts MATCH ? ORDER BY rowid DESC LIMIT ?"


def _sessions(
    reader: Reader, text: str, ids: list[int], pattern: re.Pattern[str], now_us: int
) -> list[FoundSession]:
    counts: dict[int, int] = {}
    if ids:
        query = Event.select(Event.session_id).where(
            Event.id.in_(ids) & Event.session_id.is_null(False)
        )
        for (session,) in reader.rows(query.order_by(Event.id.desc())):
            counts[session] = counts.get(session, 0) + 1
    exact = reader.value(Session.select(Session.id).where(Session.public_id == text.strip()))
    chosen = [*([exact] if exact else []), *(each for each in counts if each != exact)][:SESSIONS]
    base = filtered(reader, Filter(), now_us).where(Session.id.in_(chosen))
    rows = rows_of(reader, reader.rows(base), now_us) if chosen else []
    rows.sort(key=lambda row: chosen.index(row.id))
    return [
        FoundSession(row, marked(row.title or row.public_id, pattern), counts.get(row.id, 0))
        for row in rows
    ]


def _events(reader: Reader, ids: list[int], pattern: re.Pattern[str]) -> list[Hit]:
    if not ids:
        return []
    rows = reader.rows(Event.select().where(Event.id.in_(ids)).order_by(Event.id.desc()))
    marks = ", ".join("?" * len(ids))
    words = dict(reader.sql(f"SELECT id, words FROM texts WHERE id IN ({marks})", ids))  # noqa: S608 - marks
    return [
        Hit(row, marked(around(joined(words.get(row.id, "")) or row.preview, pattern), pattern))
        for row in shown(reader, rows)
    ]


def _agents(reader: Reader, text: str, pattern: re.Pattern[str]) -> list[FoundAgent]:
    part = f"*{text.strip()[:100]}*"
    query = Agent.select(Agent.id, Agent.key, Agent.name, Agent.last_us).where(
        alike(Agent.key, part) | alike(Agent.name, part)
    )
    rows = reader.rows(query.order_by(Agent.last_us.desc(), Agent.id.desc()).limit(OTHERS))
    return [
        FoundAgent(
            AgentName(row.id, row.key, row.name or row.key),
            marked(row.name or row.key, pattern),
            row.last_us,
        )
        for row in rows
    ]


def _tools(reader: Reader, text: str, pattern: re.Pattern[str]) -> list[FoundTool]:
    part = text.strip()[:100].replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    rows = reader.sql(_TOOLS, (_MOST_TOOLS, f"%{part}%", OTHERS))
    return [FoundTool(marked(name, pattern), name, count) for name, count in rows]


# From one name to the next along the index: there are many rows, and few names.
_TOOLS = r"""
    WITH RECURSIVE names (tool, number) AS (
        SELECT min(tool), 1 FROM session_tools
        UNION ALL
        SELECT (SELECT min(tool) FROM session_tools WHERE tool > names.tool), number + 1
        FROM names WHERE names.tool IS NOT NULL AND number < ?
    ), found (tool) AS (
        SELECT tool FROM names WHERE tool LIKE ? ESCAPE '\' LIMIT ?
    )
    SELECT tool, (
        SELECT count(*) FROM (SELECT 1 FROM session_tools AS s WHERE s.tool = found.tool LIMIT 1000)
    ) AS used FROM found ORDER BY used DESC, tool
"""


def hits_of(text: str) -> re.Pattern[str]:
    """Return a pattern that finds what somebody looks for, in a text as it was."""
    terms = []
    for phrase, word in _TERM.findall(text[:500]):
        pieces = re.findall(r"\w+", index_words(phrase or word))
        if pieces:
            # Words of a phrase are apart by anything that is no word, those of Chinese by nothing.
            terms.append(r"\W*".join(map(re.escape, pieces)))
    return re.compile("|".join(sorted(terms, key=len, reverse=True)) or r"(?!)", re.IGNORECASE)


def marked(text: str, pattern: re.Pattern[str]) -> list[Span]:
    """Return a text in pieces, the hits marked."""
    found, at = [], 0
    for hit in pattern.finditer(text):
        if hit.start() > at:
            found.append(Span(text[at : hit.start()]))
        if hit[0]:
            found.append(Span(hit[0], hit=True))
        at = hit.end()
    if at < len(text):
        found.append(Span(text[at:]))
    return found


def around(text: str, pattern: re.Pattern[str]) -> str:
    """Return the part of a text that the first hit is in, in a line."""
    hit = pattern.search(text)
    start = max(hit.start() - _AROUND, 0) if hit else 0
    line = " ".join(text[start : start + _LENGTH].split())
    return f"{'…' if start else ''}{line}{'…' if start + _LENGTH < len(text) else ''}"


def joined(words: str) -> str:
    """Return indexed words as they were, without the blanks around characters that are words."""
    return _BLANKS.sub(r"\1", words)


_BLANKS = re.compile(f" ({SPACELESS.pattern}) ")


def plain(spans: Iterable[Span]) -> str:
    """Return the text of pieces."""
    return "".join(span.text for span in spans)
