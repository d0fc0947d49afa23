"""Databases of other versions, met by a process beside a proxy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
from traced import traced

from perimeter_plugin_live_trace.store import schema
from proxies import wait_until


OLDER = Path(__file__).parents[2] / "data" / "databases" / "live_trace_1.sql"
"""What the first version of the schema wrote."""


def test_a_database_of_a_newer_version(tmp_path, monkeypatch):
    """It is refused with the reason, untouched; traffic goes on."""
    with traced(tmp_path, monkeypatch) as trace:
        pass
    with closing(sqlite3.connect(trace.database)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE name = 'version'")
        connection.commit()
    (tmp_path / "again").mkdir()
    options = f'db_path = "{trace.database}"\n'
    with traced(tmp_path / "again", monkeypatch, options) as newer:
        wait_until(lambda: "live trace does not run" in newer.proxy.said)
        assert newer.proxy.line().chat("hello")[0].status == 200
        said = newer.proxy.said

    assert "newer" in said
    assert "dashboard:" not in said


def test_a_database_of_an_older_version(tmp_path, monkeypatch):
    """The process brings it up to date at its start: what was there is shown, and goes on."""
    path = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLDER.read_text(encoding="utf-8"))
        before = {row[0] for row in connection.execute("SELECT public_id FROM sessions")}
    options = f'db_path = "{path}"\nmax_age = 0\n'
    with traced(tmp_path, monkeypatch, options, file="older.db") as trace:
        stored = trace.calls()
        trace.proxy.line().chat("hello")
        trace.wait_for_calls(stored + 1)
        answer = httpx.get(f"{trace.url}/sessions.json?range=all", timeout=30)
        version = trace.rows("SELECT value FROM meta WHERE name = 'version'")

    rows = {row["public_id"]: row["title"] for row in answer.json()["rows"]}
    assert len(before) == 5
    assert before < rows.keys()
    assert set(rows.values()) > {"hello", "question 1 0"}
    assert version == [(str(schema.VERSION),)]
