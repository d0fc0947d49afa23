"""
The versions of an agent's system prompt.

They are read from the calls of its newest sessions: how often each was sent, since when and until
when, its words, and which lines it changed of the version before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries.reading import request_of, system_of
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Session


SESSIONS = 200
"""The newest ones, of which calls are looked at."""
VERSIONS = 20
"""The newest ones that are shown."""
_MOST_CALLS = 5000
_MOST_TEXT = 100_000
_MOST_LINES = 2000
_MOST_CHANGED = 32 * 1024
_AROUND = 3


class Line(msgspec.Struct, frozen=True):
    """A line of a difference: `sign` is `+`, `-`, ` ` or `@` for lines left out."""

    sign: str
    text: str


class Version(msgspec.Struct, frozen=True):
    """
    One system prompt.

    Attributes:
        digest: Of it.
        first_us: When it was first sent.
        last_us: When it was last sent.
        calls: How many of the calls looked at sent it.
        text: Its words; "" where they are no longer kept.
        changes: Against the version before it; empty for the first one.
    """

    digest: str
    first_us: int
    last_us: int
    calls: int
    text: str
    changes: list[Line]


class _Seen:
    def __init__(self, call: Any) -> None:
        self.call = call
        self.first_us = self.last_us = call.started_us
        self.calls = 0

    def add(self, call: Any) -> None:
        self.calls += 1
        self.first_us = min(self.first_us, call.started_us)
        if call.started_us >= self.last_us:
            self.last_us, self.call = call.started_us, call


def versions(reader: Reader, agent: int) -> list[Version]:
    """Return the versions of an agent's system prompt, the newest first."""
    seen: dict[str, _Seen] = {}
    for call in _calls(reader, agent):
        seen.setdefault(call.system_digest, _Seen(call)).add(call)
    ordered = sorted(seen.items(), key=lambda item: item[1].first_us)[-VERSIONS:]
    found: list[Version] = []
    before = ""
    for digest, each in ordered:
        text = _words(reader, each.call)
        changes = difference(before, text) if found else []
        found.append(Version(digest, each.first_us, each.last_us, each.calls, text, changes))
        before = text
    return found[::-1]


def _calls(reader: Reader, agent: int) -> list[Any]:
    newest = (
        Session.select(Session.id)
        .where(Session.agent_id == agent)
        .order_by(Session.last_us.desc(), Session.id.desc())
        .limit(SESSIONS)
    )
    ids = [row[0] for row in reader.rows(newest)]
    query = (
        Call.select()
        .where(Call.session_id.in_(ids) & (Call.agent_id == agent) & (Call.system_digest != ""))
        .limit(_MOST_CALLS)
    )
    return reader.rows(query) if ids else []


def _words(reader: Reader, call: Any) -> str:
    """Return the system prompt of a call."""
    request = request_of(reader, call, only_new=False)
    return (request.system or "")[:_MOST_TEXT] if request else ""


def changes(
    reader: Reader, before: Any, after: Any, hide: Callable[[str], str] = str
) -> list[Line]:
    """
    Return how the system prompt of a call differs from that of the call before it.

    Args:
        reader: The database.
        before: The row of a call.
        after: The row of the other one.
        hide: Returns a text without what must not be shown of it.
    """
    if not after.system_digest or before.system_digest == after.system_digest:
        return []
    old, new = (hide(system_of(reader, call))[:_MOST_CHANGED] for call in (before, after))
    return difference(old, new)


def difference(before: str, after: str) -> list[Line]:
    """Return how one text became another, by lines, with a little of what stayed the same."""
    old, new = before.splitlines()[:_MOST_LINES], after.splitlines()[:_MOST_LINES]
    lines = list(difflib.unified_diff(old, new, n=_AROUND, lineterm=""))[2:]
    return [Line(line[0], "" if line[0] == "@" else line[1:]) for line in lines if line]
