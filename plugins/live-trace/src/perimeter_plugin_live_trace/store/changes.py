"""
What people change.

Every function makes what `Writer.change` runs in its thread:

    writer.change(changes.set_group_state(3, "ignored", "known"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from perimeter_plugin_live_trace.store import deleting, texts
from perimeter_plugin_live_trace.store.errors import StoreError
from perimeter_plugin_live_trace.store.findings import OPEN, risk
from perimeter_plugin_live_trace.store.models import Agent, Audit, Document, FindingGroup
from perimeter_plugin_live_trace.store.tidying import CHUNK
from perimeter_plugin_live_trace.store.transaction import Transaction


STATES = ("open", "acknowledged", "fixed", "ignored", "muted")
"""
States that people can give a group of findings; it becomes `regressed` by itself. What else is
found of a muted one is kept, but sessions do not count it.
"""
LARGEST_DOCUMENT = 4 * 1024 * 1024
"""Bytes of a document's JSON."""

_NOTE = 2000
_RECALCULATED = 20_000
"""Sessions whose worst open finding is looked for again, the newest."""


class NotThere(StoreError):
    """What is to be changed does not exist."""


def delete_sessions(ids: Iterable[int], reason: str = "deleted") -> Callable[[Transaction], int]:
    """
    Delete sessions with everything that is only theirs; the result is how many there were.

    Args:
        ids: Their ids; those that are not there do no harm.
        reason: What is said to those who look for them.
    """
    chosen = sorted(set(ids))

    def run(change: Transaction) -> int:
        before = _count(change)
        for start in range(0, len(chosen), CHUNK):
            deleting.sessions(change, chosen[start : start + CHUNK], texts.name(reason))
        deleted = before - _count(change)
        audit("delete", f"{deleted} sessions", before=_listed(chosen), reason=reason)(change)
        return deleted

    return run


def _count(change: Transaction) -> int:
    return int(change.sql("SELECT count(*) FROM sessions").fetchone()[0])


def _listed(ids: list[int]) -> str:
    more = f" and {len(ids) - 100} more" if len(ids) > 100 else ""
    return ", ".join(map(str, ids[:100])) + more


def set_group_state(group_id: int, state: str, note: str = "") -> Callable[[Transaction], None]:
    """
    Decide about a group of findings.

    Args:
        group_id: Its id.
        state: One of `STATES`.
        note: Why; needed for `ignored`.

    Raises:
        StoreError: There is no such state, or a reason is missing.
    """
    note = texts.excerpt(note.strip(), _NOTE)
    if state not in STATES:
        message = f"a finding can't be {texts.name(state, 40)!r}, only {', '.join(STATES)}"
        raise StoreError(message)
    if state == "ignored" and not note:
        message = "to ignore a finding needs a reason"
        raise StoreError(message)

    def run(change: Transaction) -> None:
        query = FindingGroup.select(FindingGroup.state).where(FindingGroup.id == group_id)
        found = change.run(query).fetchone()
        if found is None:
            message = f"there is no group of findings {group_id}"
            raise NotThere(message)
        values = {"state": state, "note": note, "rev": change.rev}
        change.run(FindingGroup.update(values).where(FindingGroup.id == group_id))
        _recalculate(change, group_id)
        audit("state", f"group {group_id}", before=found[0], after=state, reason=note)(change)

    return run


def _recalculate(change: Transaction, group_id: int) -> None:
    """Set the worst open finding of the sessions that have findings of a group."""
    marks = ", ".join("?" * len(OPEN))
    query = f"""
        SELECT sessions.id, sessions.findings, coalesce((
            SELECT max(findings.sev) FROM findings
            JOIN finding_groups ON finding_groups.id = findings.group_id
            WHERE findings.session_id = sessions.id AND finding_groups.state IN ({marks})
        ), 0)
        FROM sessions WHERE sessions.id IN (
            SELECT DISTINCT session_id FROM findings WHERE group_id = ?
            ORDER BY session_id DESC LIMIT {_RECALCULATED}
        )
    """  # noqa: S608 - our own text
    rows = change.sql(query, (*OPEN, group_id)).fetchall()
    change.many(
        "UPDATE sessions SET sev = ?, risk = ?, rev = ? WHERE id = ?",
        [(sev, risk(sev, count), change.rev, session_id) for session_id, count, sev in rows],
    )


def rename_agent(agent_id: int, name: str) -> Callable[[Transaction], None]:
    """
    Give an agent a name; "" takes it away.

    Args:
        agent_id: Its id.
        name: At most 200 characters of it are kept.
    """
    name = texts.name(" ".join(name.split()))

    def run(change: Transaction) -> None:
        found = change.run(Agent.select(Agent.name).where(Agent.id == agent_id)).fetchone()
        if found is None:
            message = f"there is no agent {agent_id}"
            raise NotThere(message)
        values = {"name": name, "rev": change.rev}
        change.run(Agent.update(values).where(Agent.id == agent_id))
        audit("rename", f"agent {agent_id}", before=found[0], after=name)(change)

    return run


def put_document(
    kind: str,
    key: str,
    body: Any,
    *,
    session_id: int | None = None,
    agent_id: int | None = None,
) -> Callable[[Transaction], int]:
    """
    Keep a document, in the place of one of the same kind and key; the result is its id.

    Args:
        kind: Its kind.
        key: Its key among those of its kind.
        body: JSON values.
        session_id: The session that it is about; it is deleted with that.
        agent_id: The agent that it is about.

    Raises:
        StoreError: The body is no JSON, or too large.
    """
    data = _document(body)
    names = texts.identifier(kind), texts.identifier(key)

    def run(change: Transaction) -> int:
        found = change.run(
            Document.insert(
                kind=names[0],
                key=names[1],
                session_id=session_id,
                agent_id=agent_id,
                created_us=change.now_us,
                changed_us=change.now_us,
                body=data,
            )
            .on_conflict(
                conflict_target=[Document.kind, Document.key],
                update={
                    Document.body: data,
                    Document.changed_us: change.now_us,
                    Document.session_id: session_id,
                    Document.agent_id: agent_id,
                },
            )
            .returning(Document.id)
        )
        return int(found.fetchall()[0][0])

    return run


def _document(body: Any) -> str:
    try:
        data = texts.to_json(body).decode()
    except ValueError as error:
        message = f"the document can't be written as JSON: {error}"
        raise StoreError(message) from error
    if len(data) > LARGEST_DOCUMENT:
        message = f"the document is larger than {LARGEST_DOCUMENT} bytes"
        raise StoreError(message)
    return data


def delete_document(kind: str, key: str) -> Callable[[Transaction], bool]:
    """Delete a document; the result is whether there was one."""
    names = texts.identifier(kind), texts.identifier(key)

    def run(change: Transaction) -> bool:
        query = Document.delete().where(Document.kind == names[0], Document.key == names[1])
        return change.run(query).rowcount > 0

    return run


def audit(
    action: str, subject: str, *, before: str = "", after: str = "", reason: str = ""
) -> Callable[[Transaction], None]:
    """Note who changed what; the other functions here do so themselves."""

    def run(change: Transaction) -> None:
        change.run(
            Audit.insert(
                at_us=change.now_us,
                action=texts.name(action),
                subject=texts.name(subject),
                before=texts.excerpt(before, _NOTE),
                after=texts.excerpt(after, _NOTE),
                reason=texts.excerpt(reason, _NOTE),
            )
        )

    return run
