"""Which sessions a query of `language` means, as conditions of SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

from peewee import SQL, Case, Expression

from perimeter_plugin_live_trace.queries.language import Query, Term
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import (
    Agent,
    Call,
    Finding,
    FindingGroup,
    Session,
    SessionModel,
    SessionTool,
    Tag,
)
from perimeter_plugin_live_trace.store.search import match_query


STALLED_US = 10 * 60 * 1_000_000
"""A call that runs for longer than this is taken for lost."""
MOST_MATCHES = 5_000
"""Events that contain the words that are looked at, the newest."""
_MOST_AGENTS = 500

_WORDS = (
    "(SELECT session_id FROM events WHERE session_id IS NOT NULL AND id IN"
    " (SELECT rowid FROM fts WHERE fts MATCH ? ORDER BY rowid DESC LIMIT ?))"
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_NUMBERS: dict[str, Any] = {
    "sev": Session.sev,
    "cost": Session.cost_nano,
    "tokens": Session.tok_in + Session.tok_out,
    "dur": Session.last_us - Session.started_us,
    "errors": Session.errors,
    "turns": Session.turns,
}


def conditions(reader: Reader, query: Query, now_us: int) -> list[Any]:
    """
    Return what must be true of sessions.

    Args:
        reader: The database, to look up agents.
        query: What somebody asks for.
        now_us: The time, which decides what has stalled.
    """
    found = [_negated(_condition(reader, term, now_us), term) for term in query.terms if term.key]
    words = match_query(query.words)
    if words:
        found.append(Session.id.in_(having_words(words)))
    for term in query.terms:
        if not term.key and term.negated:
            unwanted = match_query(f'"{term.value}"' if term.phrase else term.value)
            if unwanted:
                found.append(Session.id.not_in(having_words(unwanted)))
    return found


def having_words(match: str) -> SQL:
    """Return the ids of the sessions that have events with these words, as a subquery."""
    return SQL(_WORDS, (match, MOST_MATCHES))


def stalled(now_us: int) -> Any:
    """Return the condition that a session waits for a call that runs for too long."""
    since = now_us - STALLED_US
    waiting = Call.select(Call.session_id).where(
        (Call.state == "running") & (Call.started_us < since) & Call.session_id.is_null(False)
    )
    return (Session.status == "active") & (Session.running > 0) & Session.id.in_(waiting)


def has_status(word: str, now_us: int) -> Any:
    """Return the condition that a session has a status, `stalled` included."""
    if word == "stalled":
        return stalled(now_us)
    if word == "active":
        return (Session.status == "active") & ~stalled(now_us)
    return Session.status == word


def of_agents(ids: Iterable[int]) -> Any:
    """Return the condition that a session is one of some agents; none is found for no agents."""
    chosen = sorted(ids)
    return Session.agent_id == chosen[0] if len(chosen) == 1 else Session.agent_id.in_(chosen)


def _negated(condition: Any, term: Term) -> Any:
    # What is NULL, such as the agent of a session without one, is none of what is negated.
    return (Case(None, [(condition, 0)], 1) == 1) if term.negated else condition


def _condition(reader: Reader, term: Term, now_us: int) -> Any:
    if term.key in _NUMBERS:
        return _COMPARE[term.op](_NUMBERS[term.key], term.number)
    if term.key == "status":
        return has_status(term.value, now_us)
    return _TEXTS[term.key](reader, term.value)


def like(column: Any, value: str) -> Any:
    """Return the condition that a column is a text, whatever its case, with `*` for anything."""
    return alike(column, value) if "*" in value else column == value


def alike(column: Any, value: str) -> Any:
    """Return the condition that a column is like a pattern with `*`, whatever the case."""
    pattern = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = pattern.replace("*", "%")
    return Expression(column, "ILIKE", SQL("? ESCAPE '\\'", (pattern,)))


def _agent(reader: Reader, value: str) -> Any:
    query = Agent.select(Agent.id).where(alike(Agent.key, value) | alike(Agent.name, value))
    return of_agents(row[0] for row in reader.rows(query.limit(_MOST_AGENTS)))


def _tag(_: Reader, value: str) -> Any:
    key, mark, text = value.partition("=")
    query = Tag.select(Tag.session_id).where(Tag.key == key)
    return Session.id.in_(query.where(like(Tag.value, text)) if mark else query)


def _model(_: Reader, value: str) -> Any:
    return Session.id.in_(
        SessionModel.select(SessionModel.session_id).where(like(SessionModel.model, value))
    )


def _tool(_: Reader, value: str) -> Any:
    return Session.id.in_(
        SessionTool.select(SessionTool.session_id).where(like(SessionTool.tool, value))
    )


def _owasp(_: Reader, value: str) -> Any:
    groups = FindingGroup.select(FindingGroup.id).where(FindingGroup.owasp == value)
    return Session.id.in_(Finding.select(Finding.session_id).where(Finding.group_id.in_(groups)))


def _has(_: Reader, value: str) -> Any:
    return {
        "pii": Session.pii > 0,
        "findings": Session.findings > 0,
        "errors": Session.errors > 0,
        "tools": Session.tools > 0,
        "tags": Session.id.in_(Tag.select(Tag.session_id)),
        "rewrites": Session.id.in_(Call.select(Call.session_id).where(Call.rewritten == 1)),
        "replays": Session.id.in_(Call.select(Call.session_id).where(Call.replay_of != "")),
    }[value]


_TEXTS: dict[str, Callable[[Reader, str], Any]] = {
    "agent": _agent,
    "tag": _tag,
    "model": _model,
    "tool": _tool,
    "owasp": _owasp,
    "has": _has,
    "id": lambda _, value: like(Session.public_id, value),
    "workflow": lambda _, value: like(Session.workflow, value),
    "run": lambda _, value: like(Session.run, value),
}

__all__ = ["MOST_MATCHES", "STALLED_US", "conditions", "has_status", "having_words"]
