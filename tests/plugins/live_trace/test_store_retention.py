"""What is deleted is gone: from every table, from the index, and from the file."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import factory
import pytest

from perimeter_plugin_live_trace.records import Happened, Record
from perimeter_plugin_live_trace.store import Limits, Reader, Tidied, Writer, changes
from perimeter_plugin_live_trace.store.models import TABLES, FindingGroup


DAY = 86_400.0
NOBODY = "session_id IS NOT NULL AND session_id NOT IN (SELECT id FROM sessions)"
ORPHANS = {
    "events": NOBODY,
    "calls": NOBODY,
    "nodes": NOBODY,
    "tags": NOBODY,
    "session_models": NOBODY,
    "session_tools": NOBODY,
    "findings": NOBODY,
    "documents": NOBODY,
    "texts": "id NOT IN (SELECT id FROM events)",
    "blobs": (
        "id NOT IN (SELECT attributes_blob FROM events WHERE attributes_blob IS NOT NULL"
        " UNION SELECT envelope_blob FROM calls WHERE envelope_blob IS NOT NULL"
        " UNION SELECT response_blob FROM calls WHERE response_blob IS NOT NULL"
        " UNION SELECT request_headers_blob FROM calls WHERE request_headers_blob IS NOT NULL"
        " UNION SELECT response_headers_blob FROM calls WHERE response_headers_blob IS NOT NULL"
        " UNION SELECT blob_id FROM nodes"
        " UNION SELECT prompt_blob FROM agents WHERE prompt_blob IS NOT NULL)"
    ),
}
"""Which rows of a table nothing belongs to."""


class Kept:
    """A database that was built, with a writer whose clock can be set."""

    def __init__(self, path: Path, kind: str = "small") -> None:
        self.now = factory.NOW
        self.database = factory.build(path, kind)
        self.writer = Writer(self.database, clock=lambda: self.now)
        self.reader: Reader = self.database.reader()

    def tidy(self, **limits: float) -> list[Tidied]:
        """Tidy up until there is nothing more to do."""
        done = [self.writer.tidy(Limits(**limits))]  # type: ignore[arg-type]
        while done[-1].more:
            done.append(self.writer.tidy(Limits(**limits)))  # type: ignore[arg-type]
            assert len(done) < 1000
        return done

    def count(self, table: str, condition: str = "1") -> int:
        return int(self.reader.sql(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0])

    def check(self) -> None:
        """Nothing that is left over belongs to nothing, and the index is that of the texts."""
        for table, condition in ORPHANS.items():
            assert self.count(table, condition) == 0, table
        connection = self.database.connect()
        connection.execute("INSERT INTO fts (fts, rank) VALUES ('integrity-check', 1)")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "live.db")
    yield made
    made.writer.close()
    made.reader.close()


def test_every_table_is_looked_at() -> None:
    """A new table must be thought of here."""
    names = {table._meta.table_name for table in TABLES}
    others = {"meta", "agents", "sessions", "finding_groups", "audit", "gone"}
    others |= {"rollups", "rollups_of_all"}
    assert names == ORPHANS.keys() | others


def test_old_sessions_are_deleted(kept: Kept) -> None:
    """Those that nothing happened in for long go, completed ones too; the others stay."""
    border = (factory.NOW - DAY) * 1e6
    old = kept.count("sessions", f"last_us < {border}")
    young = kept.count("sessions", f"last_us >= {border}")
    titles = kept.reader.sql(
        f"SELECT title, turns FROM sessions WHERE last_us >= {border} ORDER BY id"
    )
    assert old > 5
    assert kept.count("sessions", f"status = 'done' AND last_us < {border}")
    assert sum(each.sessions for each in kept.tidy(max_age=DAY)) == old
    assert kept.count("sessions") == young
    assert kept.reader.sql("SELECT title, turns FROM sessions ORDER BY id") == titles
    assert kept.count("gone", "reason = 'older than 1 day'") == old
    kept.check()


def test_the_oldest_of_too_many_are_deleted(kept: Kept) -> None:
    """The number of sessions is what it may be."""
    newest = kept.reader.sql("SELECT id FROM sessions ORDER BY last_us DESC LIMIT 7")
    kept.tidy(max_sessions=7)
    assert kept.reader.sql("SELECT id FROM sessions ORDER BY last_us DESC") == newest
    kept.check()


def test_a_large_database_gets_smaller(tmp_path: Path) -> None:
    """Sessions go until the bytes in use are few enough, and the file itself shrinks."""
    kept = Kept(tmp_path / "live.db")
    kept.writer.close()
    kept.reader.close()
    before = kept.database.path.stat().st_size
    kept.writer = Writer(kept.database, clock=lambda: kept.now)
    kept.tidy(max_size=before // 2)
    assert 0 < kept.count("sessions") < 45
    kept.reader.close()
    kept.writer.close()
    assert kept.database.path.stat().st_size <= before * 0.6
    kept.check()


def test_nothing_is_left_of_deleted_words(kept: Kept) -> None:
    """After all sessions are gone, neither file has their words in it, nor can they be found."""
    words = [row[0] for row in kept.reader.sql("SELECT DISTINCT title FROM sessions")]
    kept.tidy(max_age=0.001)
    assert kept.count("sessions") == kept.count("events") == kept.count("calls") == 0
    assert kept.count("blobs", "id NOT IN (SELECT prompt_blob FROM agents)") == 0
    found = "SELECT count(*) FROM fts WHERE fts MATCH 'invoice OR result OR request'"
    assert kept.reader.sql(found) == [(0,)]
    kept.reader.close()
    kept.writer.close()
    content = b"".join(path.read_bytes() for path in kept.database.path.parent.iterdir())
    assert len(words) > 7
    for title in words:
        assert title.encode() not in content
    kept.check()


def test_deletion_comes_in_parts(tmp_path: Path) -> None:
    """No transaction deletes more than 200 sessions."""
    kept = Kept(tmp_path / "live.db")
    kept.writer.take(
        [
            Happened("x", factory.NOW - 9, "", f"{n}", "INFO", f"many-{n}", None, {"n": n})
            for n in range(900)
        ]
    )
    parts = kept.tidy(max_sessions=10)
    assert [each.sessions for each in parts] == [200, 200, 200, 200, 140]
    assert [each.more for each in parts] == [True] * 4 + [False]
    kept.writer.close()
    kept.reader.close()


def test_nothing_to_do(kept: Kept) -> None:
    """Where all limits are kept, or there are none, nothing is deleted."""
    before = kept.reader.sql("SELECT count(*) FROM sessions, blobs")
    assert kept.tidy() == [Tidied()]
    assert kept.tidy(max_age=30 * DAY, max_sessions=100, max_size=10**9) == [Tidied()]
    assert kept.reader.sql("SELECT count(*) FROM sessions, blobs") == before


def test_what_belongs_to_no_session_gets_old_too(kept: Kept) -> None:
    """Calls and events without a session are deleted by age."""
    assert kept.count("calls", "session_id IS NULL") == 2
    kept.now += 2 * DAY
    kept.tidy(max_age=DAY)
    assert kept.count("calls") == kept.count("events") == 0
    kept.check()


def test_rollups_of_minutes_are_kept_for_two_days(kept: Kept) -> None:
    """Those of hours and days stay."""
    tables = ("rollups", "rollups_of_all")
    before = [[kept.count(table, f"size = '{size}'") for size in "hd"] for table in tables]
    assert all(kept.count(table, "size = 'm'") for table in tables)
    kept.now += 4 * DAY
    kept.tidy()
    assert [kept.count(table, "size = 'm'") for table in tables] == [0, 0]
    after = [[kept.count(table, f"size = '{size}'") for size in "hd"] for table in tables]
    assert before == after


def test_agents_without_sessions_are_forgotten(kept: Kept) -> None:
    """But not those that somebody gave a name, nor decisions about findings."""
    kept.writer.change(changes.rename_agent(1, "The first"))
    group = kept.reader.one(FindingGroup.select())
    kept.writer.change(changes.set_group_state(group.id, "ignored", "known"))
    kept.now += 60 * DAY
    kept.tidy(max_age=30 * DAY)
    ids = {row[0] for row in kept.reader.sql("SELECT id FROM agents")}
    assert ids == {1, group.agent_id}
    assert kept.reader.sql("SELECT id, state FROM finding_groups") == [(group.id, "ignored")]
    kept.check()


def test_shared_bytes_stay_as_long_as_one_needs_them(kept: Kept) -> None:
    """Messages that sessions have in common outlive the first of them."""
    traffic = factory.Traffic(random.Random(5), factory.NOW)
    records: list[Record] = []
    for name in ("one", "two"):
        records += factory.Talk(traffic, factory.AGENTS[0], name, factory.NOW, {}).turn("The same.")
    kept.writer.take(records)
    query = (
        "SELECT blob_id FROM nodes WHERE session_id = (SELECT id FROM sessions WHERE public_id = ?)"
    )
    blobs = kept.reader.sql(query, ("one",))
    assert blobs == kept.reader.sql(query, ("two",))
    (first,) = kept.reader.sql("SELECT id FROM sessions WHERE public_id = 'one'")
    kept.writer.change(changes.delete_sessions(first))
    assert kept.reader.sql(query, ("one",)) == []
    assert all(kept.reader.blob(blob) for (blob,) in kept.reader.sql(query, ("two",)))
    kept.check()


def test_a_deleted_session_that_goes_on(kept: Kept) -> None:
    """It begins anew, with all of its history, and nobody says any more that it is gone."""
    traffic = factory.Traffic(random.Random(5), factory.NOW)
    talk = factory.Talk(traffic, factory.AGENTS[0], "again", factory.NOW, {})
    kept.writer.take(talk.turn("one"))
    (first,) = kept.reader.sql("SELECT id FROM sessions WHERE public_id = 'again'")
    kept.writer.change(changes.delete_sessions(first))
    assert kept.count("gone", "public_id = 'again'") == 1
    kept.writer.take(talk.turn("two"))
    found = "SELECT turns, carried, messages FROM sessions JOIN calls ON session_id = sessions.id"
    assert kept.reader.sql(f"{found} WHERE public_id = 'again'") == [(1, 0, len(talk.history))] or (
        kept.reader.sql(f"{found} WHERE public_id = 'again'")[0][:2] == (1, 0)
    )
    assert kept.count("gone", "public_id = 'again'") == 0
    kept.check()


def test_hostile_sessions_can_be_deleted(tmp_path: Path) -> None:
    """Whatever they are called."""
    kept = Kept(tmp_path / "live.db", "hostile")
    kept.tidy(max_age=0.001)
    assert kept.count("sessions") == 0
    assert kept.count("gone") == len(factory.HOSTILE)
    kept.check()
    kept.writer.close()
    kept.reader.close()
