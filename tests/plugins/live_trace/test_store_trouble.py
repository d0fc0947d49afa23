"""The disk is full, read-only, busy or gone; the writer is killed; records make no sense."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factory
import pytest

from perimeter_plugin_live_trace.records import Happened, Record
from perimeter_plugin_live_trace.store import Database, StoreError, Writer, changes, opened, opening
from perimeter_plugin_live_trace.store import writer as writing


pytestmark = pytest.mark.filterwarnings("default::ResourceWarning")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long."""
    monkeypatch.setattr(opening, "_WAIT", 0.02)
    monkeypatch.setattr(writing, "_RETRY", 0.0)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(Database.open(tmp_path / "live.db"), clock=lambda: factory.NOW)
    yield made
    made.close()


def call(session: str) -> list[Record]:
    """Return the records of a call of a new session."""
    traffic = factory.Traffic(random.Random(session), factory.NOW)
    talk = factory.Talk(traffic, factory.AGENTS[4], session, factory.NOW, {})
    return talk.turn("Hello")


def sessions(writer: Writer) -> list[str]:
    reader = writer.database.reader()
    found = reader.sql("SELECT public_id FROM sessions ORDER BY id")
    reader.close()
    return [row[0] for row in found]


def test_a_full_disk(writer: Writer) -> None:
    """It is said so; what could not be written can be, once there is room again."""
    writer.take(call("before"))
    pages = writer._opened.work.connection.execute("PRAGMA page_count").fetchone()[0]
    writer._opened.work.connection.execute(f"PRAGMA max_page_count = {pages}")
    large = Happened(
        "x",
        factory.NOW,
        "",
        "",
        "INFO",
        None,
        None,
        {"text": random.Random(1).randbytes(400_000).hex()},
    )
    records = [*call("meanwhile"), large]
    assert not writer.take(records)
    assert (writer.state, writer.problem) == ("full", "the disk is full")
    assert sessions(writer) == ["before"]
    assert writer.take(records)
    assert (writer.state, writer.problem, writer.lost) == ("open", "", 0)
    assert sessions(writer) == ["before", "meanwhile"]


def test_a_disk_that_became_read_only(writer: Writer) -> None:
    """The state says so, changes by people are refused with the reason, and it goes on."""
    writer.take(call("before"))
    writer._opened.work.connection.execute("PRAGMA query_only = 1")
    assert not writer.take(call("meanwhile"))
    assert writer.state == "read-only"
    assert "can't be written" in writer.problem
    assert writer.take(call("meanwhile"))
    assert writer.state == "open"
    assert sessions(writer) == ["before", "meanwhile"]
    writer._opened.work.connection.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="readonly"):
        writer.change(changes.put_document("a", "b", 1))
    assert writer.state == "read-only"


def test_a_busy_database(writer: Writer) -> None:
    """It is tried again a few times; then it is up to the caller to come again."""
    other = writer.database.connect()
    other.execute("BEGIN IMMEDIATE")
    assert not writer.take(call("meanwhile"))
    assert (writer.state, writer.lost) == ("busy", 0)
    other.execute("COMMIT")
    other.close()
    assert writer.take(call("meanwhile"))
    assert (writer.state, sessions(writer)) == ("open", ["meanwhile"])


def test_a_database_that_is_busy_for_a_moment(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost where the other process is done before the last try."""
    other = writer.database.connect()
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(opened, "TRIES", 10**9)
    writer._opened.work.connection.set_progress_handler(None, 0)
    tries: list[int] = []

    class Counting:
        def __init__(self, inner: sqlite3.Connection) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def execute(self, text: str, *params: Any) -> sqlite3.Cursor:
            if text.startswith("BEGIN"):
                tries.append(1)
                if len(tries) == 3:
                    other.execute("COMMIT")
            return self.inner.execute(text, *params)

    writer._opened.work.connection = Counting(writer._opened.work.connection)
    writer.take(call("kept"))
    other.close()
    assert (writer.state, writer.lost, len(tries)) == ("open", 0, 3)
    assert sessions(writer) == ["kept"]


def test_a_database_that_was_deleted(writer: Writer) -> None:
    """A new one is begun, private again, and the problem says so."""
    path = writer.database.path
    writer.take(call("before"))
    for each in path.parent.iterdir():
        each.unlink()
    writer.take(call("after"))
    assert writer.state == "open"
    assert "deleted while running" in writer.problem
    assert sessions(writer) == ["after"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_was_deleted(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the file can't be made again, nothing is taken."""
    path = writer.database.path
    for each in path.parent.iterdir():
        each.unlink()
    path.mkdir()  # something else stands in its place
    assert not writer.take(call("meanwhile"))
    assert writer.state == "gone"
    with pytest.raises(StoreError, match="deleted"):
        writer.change(changes.put_document("a", "b", 1))
    assert writer.tidy(writing.tidying.Limits(max_age=1)).sessions == 0
    path.rmdir()
    assert writer.take(call("meanwhile"))
    assert sessions(writer) == ["meanwhile"]


def test_a_database_that_is_overwritten_with_garbage(writer: Writer) -> None:
    """It is told, and never raised."""
    writer.take(call("before"))
    writer.database.path.write_bytes(b"garbage" * 20_000)
    taken = [writer.take(call(f"s{number}")) for number in range(3)]
    assert writer.state != "open" or writer.lost == 0
    assert writer.lost + writer.taken >= len(call("x")) * sum(taken)


def test_one_record_does_not_hurt_the_others(writer: Writer) -> None:
    """A record that can't be written is left out and counted; the rest of its batch is kept."""
    broken = Happened("x", factory.NOW, "", "", "INFO", "s", None, None)  # type: ignore[arg-type]
    writer.take([*call("one"), broken, *call("two"), broken, *call("three")])
    assert writer.skipped == 2
    assert sorted(sessions(writer)) == ["one", "three", "two"]
    assert writer.state == "open"
    reader = writer.database.reader()
    assert reader.sql("SELECT turns, running, events FROM sessions") == [(1, 0, 3)] * 3
    reader.close()


def test_what_is_written_can_be_too_large_for_a_column(writer: Writer) -> None:
    """A number that SQLite has no room for is its own record's trouble only."""
    writer.take(call("one"))
    session = writer._opened.work.sessions.get("one")
    session.tok_in = 2**63  # as after very many calls
    writer._opened.work.sessions.change(session)
    writer.take(call("two"))
    assert writer.state == "open"
    assert sessions(writer) == ["one", "two"]


def test_a_failed_change_changes_nothing(writer: Writer) -> None:
    """A change by people is one transaction; what it raises comes through."""
    writer.take(call("one"))

    def fail(change: Any) -> None:
        change.sql("DELETE FROM sessions")
        message = "no"
        raise LookupError(message)

    with pytest.raises(LookupError):
        writer.change(fail)
    assert sessions(writer) == ["one"]
    writer.take(call("two"))
    assert sessions(writer) == ["one", "two"]


WRITING = """
import sys
sys.path.insert(0, sys.argv[2])
import random
from pathlib import Path
import factory
from perimeter_plugin_live_trace.store import Database, Limits, Writer
writer = Writer(Database.open(Path(sys.argv[1])))
traffic = factory.Traffic(random.Random(sys.argv[3]), factory.NOW)
for number in range(100_000):
    name = f"{sys.argv[3]}-{number}"
    talk = factory.Talk(traffic, factory.AGENTS[number % 6], name, factory.NOW, {})
    for turn in range(3):
        writer.take(talk.turn("question %d" % turn, finding=factory.FINDINGS[0]))
    if number % 20 == 19:
        writer.tidy(Limits(max_sessions=15))
    print(number, flush=True)
"""


@pytest.mark.parametrize("count", [1, 7, 25, 43])
def test_a_killed_writer_loses_nothing_that_it_committed(tmp_path: Path, count: int) -> None:
    """Killed at any moment, also while it deletes, and again: no corruption, and totals add up."""
    path = tmp_path / "live.db"
    for run in ("a", "b"):
        told = killed(path, run, count)
        database = Database.open(path)
        connection = database.connect()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.execute("INSERT INTO fts (fts, rank) VALUES ('integrity-check', 1)")
        newest = f"SELECT turns FROM sessions WHERE public_id = '{run}-{told}'"
        assert connection.execute(newest).fetchone() == (3,)
        wrong = connection.execute(
            "SELECT count(*) FROM sessions WHERE"
            " events <> (SELECT count(*) FROM events WHERE session_id = sessions.id)"
            " OR turns <> (SELECT count(*) FROM calls WHERE session_id = sessions.id)"
        )
        assert wrong.fetchone() == (0,)
        connection.close()


def killed(path: Path, run: str, count: int) -> int:
    """Run a writer, kill it after some sessions, and return the last that it told of."""
    command = [sys.executable, "-c", WRITING, str(path), str(Path(__file__).parent), run]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = -1
        while told < count:
            told = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read().split()
    assert process.returncode == -signal.SIGKILL
    return int(rest[-1]) if rest else told
