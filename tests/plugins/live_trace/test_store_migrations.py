"""Databases of older versions: what they held is there afterwards, and what is new is right."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_parts import Store, rollups_added_up, rollups_of_all

from perimeter_plugin_live_trace.store import Database, StoreError
from perimeter_plugin_live_trace.store.models import Agent


FIRST = Path(__file__).parents[2] / "data" / "databases" / "live_trace_1.sql"
TABLES = ("agents", "sessions", "events", "calls", "nodes", "blobs", "texts", "findings", "tags")


def rows(connection: sqlite3.Connection, table: str, columns: str = "*") -> list[tuple[object]]:
    """Return all rows of a table, in an order that does not depend on how it is stored."""
    return sorted(connection.execute(f"SELECT {columns} FROM {table}"), key=repr)


@pytest.fixture
def first(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that the first version wrote."""
    connection = sqlite3.connect(tmp_path / "live.db")
    connection.executescript(FIRST.read_text())
    yield connection
    connection.close()


def test_nothing_is_lost(first: sqlite3.Connection, tmp_path: Path) -> None:
    """All rows are as they were, those of rollups in another order."""
    columns = (
        "size, kind, bucket_us, agent_id, name, calls, errors, tok_in, cost_nano, lat_us, hist"
    )
    before = {table: rows(first, table) for table in TABLES}
    rollups = rows(first, "rollups", columns)
    Database.open(tmp_path / "live.db")
    assert {table: rows(first, table) for table in TABLES} == before
    assert rows(first, "rollups", columns) == rollups != []
    assert first.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_tables_are_those_of_a_new_database(first: sqlite3.Connection, tmp_path: Path) -> None:
    """Whichever way a database came to this version, its tables and indexes are the same."""
    names = [row[0] for row in first.execute("SELECT name FROM sqlite_master")]
    Database.open(tmp_path / "live.db")
    Database.open(tmp_path / "new.db")
    with sqlite3.connect(tmp_path / "new.db") as new:
        assert made(new).keys() > set(names)
        assert made(first) == made(new)
    new.close()


def made(connection: sqlite3.Connection) -> dict[str, str]:
    """Return what made all tables and indexes, without what SQL does not care for."""
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {name: "".join(sql.split()) for name, sql in found}


def test_rollups_of_all_are_added_up(first: sqlite3.Connection, tmp_path: Path) -> None:
    """They are the sums of what agents did, and go on with what is written."""
    database = Database.open(tmp_path / "live.db")
    reader = database.reader()
    added = rollups_of_all(reader)
    assert added == rollups_added_up(reader)
    assert len(added) < first.execute("SELECT count(*) FROM rollups").fetchone()[0]
    assert reader.value(Agent.select(Agent.calls).where(Agent.id == 2)) == 4
    reader.close()


def test_what_is_written_goes_on(first: sqlite3.Connection, tmp_path: Path) -> None:
    """A call of an agent that was there before counts with the others."""
    store = Store(tmp_path / "live.db")
    before = rollups_of_all(store.reader)
    store.writer.take(store.talk().turn("one more"))
    after = rollups_of_all(store.reader)
    assert after == rollups_added_up(store.reader)
    calls = [
        sum(row[0] for key, row in rows.items() if key[1] == "llm") for rows in (before, after)
    ]
    assert calls[1] == calls[0] + 3
    store.writer.close()
    store.reader.close()


def test_two_processes_bring_it_up(first: sqlite3.Connection, tmp_path: Path) -> None:
    """Who waited for another one to do it finds it done, and does nothing twice."""
    opened = threading.Barrier(4)
    problems: list[str] = []

    def bring_up() -> None:
        opened.wait()
        try:
            Database.open(tmp_path / "live.db")
        except StoreError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=bring_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert first.execute("SELECT value FROM meta WHERE name = 'version'").fetchone() == ("2",)
