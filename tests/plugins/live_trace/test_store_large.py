"""The builder of large databases: what it writes directly is what the writer would have made."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_parts import rollups_added_up, rollups_of_all

from perimeter_plugin_live_trace.store import Database, Limits, Reader, Writer
from perimeter_plugin_live_trace.store.models import Call


sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import live_trace_data


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    path = tmp_path_factory.mktemp("large") / "large.db"
    made = live_trace_data.build(path, sessions=60, events=3000).reader()
    yield made
    made.close()


def test_totals_are_those_of_the_rows(reader: Reader) -> None:
    """Sessions, agents and rollups hold the sums of their events and calls."""
    assert reader.sql("SELECT count(*) FROM sessions") == [(60,)]
    assert reader.sql("SELECT count(*) > 2900 FROM events") == [(1,)]
    wrong = """
        SELECT count(*) FROM sessions WHERE
            events <> (SELECT count(*) FROM events WHERE session_id = sessions.id)
            OR turns <> (SELECT count(*) FROM calls WHERE session_id = sessions.id)
            OR tok_in <> (SELECT sum(tok_in) FROM calls WHERE session_id = sessions.id)
            OR findings <> (SELECT count(*) FROM findings WHERE session_id = sessions.id)
            OR tools <> (SELECT sum(calls) FROM session_tools WHERE session_id = sessions.id)
    """
    assert reader.sql(wrong) == [(0,)]
    sums = "SELECT sum(calls), sum(tok_in), sum(cost_nano), sum(errors) FROM"
    days = reader.sql(f"{sums} rollups WHERE size = 'd' AND kind = 'llm'")
    assert days == reader.sql(f"{sums} agents")
    assert days == reader.sql(f"{sums} rollups WHERE size = 'h' AND kind = 'llm'")
    assert rollups_of_all(reader) == rollups_added_up(reader)
    assert days[0][:2] == reader.sql("SELECT count(*), sum(tok_in) FROM calls")[0]


def test_it_is_a_whole_database(reader: Reader, tmp_path: Path) -> None:
    """All indexes are there, nothing is broken, and words are found."""
    assert reader.sql("PRAGMA integrity_check") == [("ok",)]
    schema = "SELECT name, sql FROM sqlite_master ORDER BY name"
    fresh = Database.open(tmp_path / "fresh.db").reader()
    assert reader.sql(schema) == fresh.sql(schema)
    fresh.close()
    text = reader.sql("SELECT words FROM texts LIMIT 1")[0][0].split()[0]
    assert reader.sql("SELECT count(*) > 0 FROM fts WHERE fts MATCH ?", (text,)) == [(1,)]
    call = reader.one(Call.select().order_by(Call.messages.desc()).limit(1))
    assert len(reader.messages(call.node_id, limit=10_000)) == call.messages


def test_the_writer_goes_on_with_it(tmp_path: Path) -> None:
    """A writer can open it, and retention empty it."""
    database = live_trace_data.build(tmp_path / "large.db", sessions=30, events=900)
    writer = Writer(database, clock=lambda: live_trace_data.NOW)
    while writer.tidy(Limits(max_sessions=1)).more:
        pass
    reader = database.reader()
    assert reader.sql("SELECT count(*) FROM sessions") == [(1,)]
    assert reader.sql("SELECT count(DISTINCT session_id) FROM events") == [(1,)]
    assert (writer.state, reader.sql("PRAGMA integrity_check")) == ("open", [("ok",)])
    reader.close()
    writer.close()
