"""The database file: who may read it, its versions, and reading it."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import factory
import pytest

from perimeter_plugin_live_trace.store import Database, StoreError, TooSlow, schema
from perimeter_plugin_live_trace.store.migrations import Migration
from perimeter_plugin_live_trace.store.models import Call, Meta, Session


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return factory.build(tmp_path_factory.mktemp("small") / "small.db")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_only_the_owner_may_read(tmp_path: Path, umask: int) -> None:
    """File, log and index of the log are 0600 in a folder of 0700, whatever the umask."""
    before = os.umask(umask)
    try:
        folder = tmp_path / "new"
        if umask == 0o777:  # a folder that nobody may enter can't be made by mkdir
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)
        database = Database.open(folder / "a.db")
        connection = database.connect()
        connection.execute("UPDATE meta SET value = value")
        modes = {path.name: mode(path) for path in folder.iterdir()}
        connection.close()
    finally:
        os.umask(before)
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}
    assert mode(folder) == 0o700


def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    """A database that was copied without care is 0600 again."""
    path = tmp_path / "a.db"
    Database.open(path)
    path.chmod(0o644)
    Database.open(path)
    assert mode(path) == 0o600


def test_freed_space_can_leave_the_file(tmp_path: Path) -> None:
    """The database is in the mode that retention needs, and survives power cuts."""
    reader = Database.open(tmp_path / "a.db").reader()
    assert reader.sql("PRAGMA auto_vacuum") == [(2,)]
    assert reader.sql("PRAGMA journal_mode") == [("wal",)]
    reader.close()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"garbage" * 1000, "no SQLite database"), (None, "none of live trace")]
)
def test_files_of_something_else_are_left_alone(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """What is no database, or not ours, is refused, and neither changed nor closed to others."""
    path = tmp_path / "other"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE t (x)")
        connection.close()
    else:
        path.write_bytes(content)
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=reason):
        Database.open(path)
    assert path.read_bytes() == before
    assert mode(path) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["other"]


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    """`create=False` makes no file."""
    with pytest.raises(StoreError, match="there is none"):
        Database.open(tmp_path / "a.db", create=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """The message says what is wrong, with the path."""
    with pytest.raises(StoreError, match=f"{tmp_path}: it is no file"):
        Database.open(tmp_path)


def test_a_file_that_can_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says so."""
    path = tmp_path / "a.db"
    Database.open(path)
    if os.geteuid() == 0:  # root may write everywhere; pretend that it may not
        monkeypatch.setattr(os, "access", lambda *_: False)
    path.chmod(0o400)
    with pytest.raises(StoreError, match="not writable"):
        Database.open(path)


def add_colour(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE sessions ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'")


def add_taste(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE sessions ADD COLUMN taste TEXT NOT NULL DEFAULT 'sweet'")


def fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO nowhere VALUES (1)")


COLOUR = Migration(schema.VERSION + 1, add_colour)
TASTE = Migration(schema.VERSION + 2, add_taste)


def test_older_versions_are_brought_up(tmp_path: Path) -> None:
    """Every step after the database's version runs once, and no data are lost."""
    path = tmp_path / "a.db"
    factory.build(path)
    Database.open(path, migrations=(COLOUR,))
    reader = Database.open(path, migrations=(COLOUR, TASTE)).reader()
    assert reader.sql("SELECT count(*), min(colour), min(taste) FROM sessions") == [
        (50, "blue", "sweet")
    ]
    assert reader.value(Meta.select(Meta.value).where(Meta.name == "version")) == str(TASTE.version)
    reader.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    """All steps are one transaction."""
    path = tmp_path / "a.db"
    Database.open(path)
    broken = Migration(TASTE.version, fail)
    with pytest.raises(StoreError, match="nowhere"):
        Database.open(path, migrations=(COLOUR, broken))
    reader = Database.open(path).reader()
    assert "colour" not in [row[1] for row in reader.sql("PRAGMA table_info(sessions)")]
    reader.close()


def test_newer_versions_are_refused(tmp_path: Path) -> None:
    """A database of a later program is left alone, and the message says why."""
    path = tmp_path / "a.db"
    Database.open(path, migrations=(COLOUR,))
    with pytest.raises(StoreError, match="newer perimeter"):
        Database.open(path)


def test_rows_have_names(small: Database) -> None:
    """Queries of peewee give named tuples."""
    reader = small.reader()
    query = Session.select(Session.id, Session.title).order_by(Session.id).limit(2)
    rows = reader.rows(query)
    assert [row.id for row in rows] == [1, 2]
    assert rows[0].title.startswith("A customer")
    assert reader.one(query.where(Session.id == -1)) is None
    assert reader.value(Session.select(Session.id).where(Session.id == -1), 7) == 7
    reader.close()


def test_long_queries_are_ended(small: Database) -> None:
    """A statement that takes longer than the limit raises, and the connection goes on."""
    reader = small.reader()
    reader._limit = 0.001
    count = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000000)"
    with pytest.raises(TooSlow):
        reader.sql(f"{count} SELECT max(x) FROM n")
    assert reader.sql("SELECT 1") == [(1,)]
    reader.close()


def test_readers_can_not_write(small: Database) -> None:
    """Every connection of a reader is read-only."""
    reader = small.reader()
    with pytest.raises(StoreError, match="readonly"):
        reader.sql("DELETE FROM sessions")
    reader.close()


def test_many_threads_read_at_once(small: Database) -> None:
    """One reader serves all threads, and keeps few connections."""
    reader, found, barrier = small.reader(), [], threading.Barrier(20)

    def read() -> None:
        barrier.wait()
        found.extend([reader.value(Session.select(Session.id).limit(1)) for _ in range(20)])

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 400
    assert len(reader._idle) <= 8
    reader.close()


def test_changes_are_seen(tmp_path: Path) -> None:
    """`data_version` is another number after every change, `rev` the number of the commit."""
    database = Database.open(tmp_path / "a.db")
    reader, connection = database.reader(), database.connect()
    versions = [reader.data_version(), reader.data_version()]
    connection.execute("UPDATE meta SET value = '5' WHERE name = 'rev'")
    versions.append(reader.data_version())
    assert versions[0] == versions[1] != versions[2]
    assert reader.rev() == 5
    connection.close()
    reader.close()


def test_a_file_in_the_place_of_another_is_noticed(tmp_path: Path) -> None:
    """After the database was replaced, readers read the new one."""
    path = tmp_path / "a.db"
    reader = factory.build(path).reader()
    before = reader.data_version(), reader.sql("SELECT count(*) FROM sessions")
    for each in tmp_path.iterdir():
        each.unlink()
    with pytest.raises(StoreError, match="gone"):
        reader.sql("SELECT 1")
    Database.open(path)
    assert before[1] == [(50,)]
    assert reader.sql("SELECT count(*) FROM sessions") == [(0,)]
    assert reader.data_version() != before[0]
    reader.close()


def test_histories_are_read_in_parts(small: Database) -> None:
    """Messages come oldest first; some of them can be left out at either end."""
    reader = small.reader()
    call = reader.one(Call.select().order_by(Call.messages.desc()).limit(1))
    every = reader.messages(call.node_id)
    assert len(every) == call.messages > 8
    assert reader.messages(call.node_id, skip=3) == every[3:]
    assert reader.messages(call.node_id, skip=2, limit=4) == every[2:6]
    assert reader.messages(call.node_id, limit=0) == []
    assert reader.messages(None) == []
    assert reader.messages(10**9) == []
    assert reader.blob(None) == reader.blob(10**9) == b""
    reader.close()
