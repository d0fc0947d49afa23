"""What people change: findings, names, documents, deletions; and the trail of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factory
import pytest

from perimeter_plugin_live_trace.records import Happened
from perimeter_plugin_live_trace.store import Reader, StoreError, Writer, changes
from perimeter_plugin_live_trace.store.models import (
    Agent,
    Audit,
    Document,
    Finding,
    FindingGroup,
    Session,
)


class Store:
    """A small database."""

    def __init__(self, path: Path) -> None:
        database = factory.build(path)
        self.writer = Writer(database, clock=lambda: factory.NOW)
        self.reader: Reader = database.reader()

    def group(self) -> Any:
        return self.reader.one(FindingGroup.select().where(FindingGroup.sev == 4))

    def sessions(self, group_id: int) -> list[Any]:
        ids = Finding.select(Finding.session_id).where(Finding.group_id == group_id)
        return self.reader.rows(Session.select().where(Session.id.in_(ids)))

    def audit(self) -> Any:
        return self.reader.one(Audit.select().order_by(Audit.id.desc()))

    def find_again(self, group: Any) -> None:
        """Let the finding of a group happen once more, in a session that has it."""
        session = self.sessions(group.id)[0]
        agent = self.reader.one(Agent.select().where(Agent.id == group.agent_id))
        attributes = {**factory.FINDINGS[0], "again": True}
        happened = Happened(
            "security.finding",
            factory.NOW,
            "",
            "cd" * 8,
            "WARNING",
            session.public_id,
            agent.key,
            attributes,
        )
        self.writer.take([happened])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "live.db")
    yield made
    made.writer.close()
    made.reader.close()


@pytest.mark.parametrize(("state", "severity"), [("ignored", 0), ("fixed", 0), ("acknowledged", 4)])
def test_states_of_findings(store: Store, state: str, severity: int) -> None:
    """The decision is kept with its reason; sessions have no open finding any more but those."""
    group, rev = store.group(), store.reader.rev()
    assert {session.sev for session in store.sessions(group.id)} == {4}
    store.writer.change(changes.set_group_state(group.id, state, "we know"))
    changed = store.group()
    assert (changed.state, changed.note, changed.rev) == (state, "we know", rev + 1)
    for session in store.sessions(group.id):
        assert (session.sev, bool(session.risk), session.rev) == (severity, severity > 0, rev + 1)
    trail = store.audit()
    assert (trail.action, trail.subject) == ("state", f"group {group.id}")
    assert (trail.before, trail.after, trail.reason) == ("open", state, "we know")
    store.writer.change(changes.set_group_state(group.id, "open"))
    assert {session.sev for session in store.sessions(group.id)} == {4}


def test_what_was_fixed_comes_back(store: Store) -> None:
    """A finding after `fixed` makes the group `regressed`, and counts for its session again."""
    group = store.group()
    store.writer.change(changes.set_group_state(group.id, "fixed"))
    store.find_again(group)
    changed = store.group()
    assert (changed.state, changed.count, changed.sessions) == (
        "regressed",
        group.count + 1,
        group.sessions,
    )
    assert 4 in {session.sev for session in store.sessions(group.id)}


def test_what_is_ignored_stays_so(store: Store) -> None:
    """A further finding is counted, and nobody is bothered."""
    group = store.group()
    store.writer.change(changes.set_group_state(group.id, "ignored", "known"))
    store.find_again(group)
    assert (store.group().state, store.group().count) == ("ignored", group.count + 1)
    assert {session.sev for session in store.sessions(group.id)} == {0}


def test_what_is_muted_is_not_counted(store: Store) -> None:
    """A further finding is kept with its group, and its session takes no notice."""
    group = store.group()
    before = [session.findings for session in store.sessions(group.id)]
    store.writer.change(changes.set_group_state(group.id, "muted"))
    store.find_again(group)
    assert (store.group().state, store.group().count) == ("muted", group.count + 1)
    assert [session.findings for session in store.sessions(group.id)] == before
    assert {session.sev for session in store.sessions(group.id)} == {0}


@pytest.mark.parametrize(
    ("state", "note", "reason"),
    [("gone", "", "can't be 'gone'"), ("ignored", "  ", "reason"), ("regressed", "", "can't be")],
)
def test_states_that_are_none(store: Store, state: str, note: str, reason: str) -> None:
    """They are refused with the reason."""
    with pytest.raises(StoreError, match=reason):
        changes.set_group_state(1, state, note)


@pytest.mark.parametrize(
    "change", [changes.set_group_state(999, "fixed"), changes.rename_agent(999, "x")]
)
def test_what_is_not_there(store: Store, change: Any) -> None:
    """Changing what does not exist says so, and leaves no trail."""
    rev = store.reader.rev()
    with pytest.raises(changes.NotThere):
        store.writer.change(change)
    assert store.audit() is None
    assert store.reader.rev() == rev


def test_names_of_agents(store: Store) -> None:
    """A name is kept in one line, also while the agent goes on working."""
    store.writer.change(changes.rename_agent(1, "  Ticket\n sorter "))
    agent = store.reader.one(Agent.select().where(Agent.id == 1))
    happened = Happened("x", factory.NOW, "", "", "INFO", "s", agent.key, {})
    store.writer.take([happened])
    assert store.reader.value(Agent.select(Agent.name).where(Agent.id == 1)) == "Ticket sorter"
    assert store.audit().after == "Ticket sorter"


def test_documents(store: Store) -> None:
    """One document for a kind and key: put, replaced, deleted."""
    first = store.writer.change(changes.put_document("view", "mine", {"url": "/a"}, session_id=3))
    again = store.writer.change(changes.put_document("view", "mine", {"url": "/b"}))
    other = store.writer.change(changes.put_document("report", "mine", ["x"]))
    assert first == again != other
    found = store.reader.one(Document.select().where(Document.id == first))
    assert (json.loads(found.body), found.session_id) == ({"url": "/b"}, None)
    assert store.writer.change(changes.delete_document("view", "mine"))
    assert not store.writer.change(changes.delete_document("view", "mine"))
    assert store.reader.value(Document.select(Document.id)) == other


@pytest.mark.parametrize("body", [{1, 2, object()}, "x" * (5 * 1024 * 1024), float, [object()]])
def test_documents_that_are_none(body: Any) -> None:
    """What is no JSON, or too much, is refused."""
    with pytest.raises(StoreError):
        changes.put_document("kind", "key", body)


def test_documents_go_with_their_session(store: Store) -> None:
    """What is about a session is deleted with it."""
    store.writer.change(changes.put_document("analysis", "1", {}, session_id=1))
    store.writer.change(changes.put_document("analysis", "2", {}, session_id=2))
    assert store.writer.change(changes.delete_sessions([1, 1, 777], "asked for")) == 1
    assert [row.key for row in store.reader.rows(Document.select())] == ["2"]
    assert store.audit().reason == "asked for"
    reason = store.reader.sql("SELECT reason FROM gone")
    assert reason == [("asked for",)]


def test_many_sessions_are_deleted_at_once(store: Store) -> None:
    """All of them, and what they had."""
    assert store.writer.change(changes.delete_sessions(range(1, 10_000))) == 50
    assert store.reader.sql("SELECT count(*) FROM nodes") == [(0,)]
    assert store.reader.sql("SELECT count(*) FROM events WHERE session_id > 0") == [(0,)]
