"""In whatever order and batches records come, the totals are the same."""

from __future__ import annotations

import json
import random
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import factory
import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_parts import rollups_added_up, rollups_of_all

from perimeter_plugin_live_trace.records import Happened, Record
from perimeter_plugin_live_trace.store import Database, Reader, Writer
from perimeter_plugin_live_trace.store.models import Call


def some_records() -> list[Record]:
    """Return two sessions with tools, a failure, a finding, and calls of no session."""
    traffic = factory.Traffic(random.Random(3), factory.NOW)
    records: list[Record] = []
    for agent, fails in ((0, False), (1, True)):
        for batch in traffic.conversation(
            factory.AGENTS[agent],
            factory.NOW - 9000,
            3,
            session=f"s{agent}",
            fails=fails,
            tags={"team": "blue"},
            finding=factory.FINDINGS[agent],
        ):
            records += batch
    return [*records, *factory.without_session(traffic)]


RECORDS = some_records()

SESSIONS = """
    SELECT public_id, started_us, last_us, turns, running, events, tools, errors, tok_in, tok_out,
        tok_cached, cost_nano, unpriced, llm_us, tool_us, p95_us, hist, risk, sev, findings, pii,
        models, run, workflow, last_seq
    FROM sessions ORDER BY public_id
"""
AGENTS = """
    SELECT key, workflow, first_us, last_us, sessions, calls, errors, tok_in, tok_out, cost_nano,
        tools
    FROM agents ORDER BY key
"""
CALLS = """
    SELECT exchange, public_id, state, outcome, model, calls.tok_in, calls.tok_out,
        calls.cost_nano, calls.finish, http_status, messages, dur_us, calls.started_us,
        request_size, response_size, error_type, system_digest = '', list_key
    FROM calls LEFT JOIN sessions ON sessions.id = session_id ORDER BY exchange
"""
ROLLUPS = """
    SELECT size, bucket_us, kind, key, rollups.name, rollups.calls, rollups.errors, rollups.tok_in,
        rollups.tok_out, tok_cached, rollups.cost_nano, lat_us, hist
    FROM rollups LEFT JOIN agents ON agents.id = agent_id ORDER BY 1, 2, 3, 4, 5
"""
MODELS = "SELECT model, public_id, calls FROM session_models JOIN sessions ON id = session_id"
TOOLS = """
    SELECT tool, public_id, session_tools.calls, session_tools.errors
    FROM session_tools JOIN sessions ON id = session_id
"""
EVENTS = "SELECT kind, ts_us, name, status, dur_us, tok_in, preview FROM events"
TAGS = "SELECT key, value, public_id FROM tags JOIN sessions ON id = session_id"
GROUPS = "SELECT rule, sev, count, sessions, first_us, last_us, state FROM finding_groups"


def totals(reader: Reader) -> dict[str, Any]:
    """Return everything that must not depend on the order."""
    found = {text: reader.sql(text) for text in (SESSIONS, AGENTS, CALLS, ROLLUPS)}
    found |= {text: sorted(reader.sql(text)) for text in (MODELS, TOOLS, TAGS, GROUPS)}
    found[EVENTS] = sorted(map(repr, reader.sql(EVENTS)))
    found["bodies"] = [
        json.loads(reader.body(call) or b"null")
        for call in reader.rows(Call.select().where(Call.dialect != "raw").order_by(Call.exchange))
    ]
    return found


def written(*runs: list[list[Record]]) -> dict[str, Any]:
    """Return the totals after some batches by one writer or several, and that nothing is broken."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "a.db")
        for batches in runs:
            writer = Writer(database, clock=lambda: factory.NOW)
            for batch in batches:
                writer.take(batch)
            writer.close()
            assert (writer.skipped, writer.lost) == (0, 0)
        reader = database.reader()
        found = totals(reader)
        assert rollups_of_all(reader) == rollups_added_up(reader)
        assert reader.sql("PRAGMA integrity_check") == [("ok",)]
        reader.close()
        return found


EXPECTED = written([RECORDS])


def test_the_totals_are_right() -> None:
    """What is compared below is what the records say."""
    (first, second) = EXPECTED[SESSIONS]
    assert (first[3], first[4], second[3], second[4]) == (3, 0, 3, 0)
    assert first[8] > 0
    assert sum(row[6] for row in (first, second)) > 1
    assert len(EXPECTED[CALLS]) == 8
    assert sum(row[5] for row in EXPECTED[ROLLUPS] if row[0] == "d" and row[2] == "llm") == 7


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.permutations(range(len(RECORDS))),
    st.lists(st.integers(0, len(RECORDS)), max_size=6),
    st.lists(st.integers(0, len(RECORDS) - 1), max_size=8),
)
def test_any_order_gives_the_same_totals(
    order: list[int], cuts: list[int], again: list[int]
) -> None:
    """Shuffled, cut into any batches, some of them twice: everything adds up to the same."""
    records = [RECORDS[number] for number in [*order, *again]]
    borders = [0, *sorted(cuts), len(records)]
    batches = [records[low:high] for low, high in pairwise(borders)]
    assert written(batches) == EXPECTED


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.integers(0, len(RECORDS) - 1), max_size=len(RECORDS)),
    st.lists(st.integers(0, len(RECORDS)), max_size=3),
)
def test_what_is_sent_again_after_a_restart_counts_once(again: list[int], cuts: list[int]) -> None:
    """Whatever another process has written is known: begins of sessions, tools, findings, ends."""
    records = [RECORDS[number] for number in again]
    borders = [0, *sorted(min(cut, len(records)) for cut in cuts), len(records)]
    batches = [records[low:high] for low, high in pairwise(borders)]
    assert written([RECORDS], batches) == EXPECTED


def test_alike_events_after_a_restart_are_two() -> None:
    """What only looks like an event of before is another one: here another finding of the call."""
    (finding,) = [each for each in RECORDS if _is_finding(each, "prompt-injection")]
    other = msgspec.structs.replace(
        finding, attributes={**finding.attributes, "finding.evidence": {"text": "another"}}
    )
    found = written([RECORDS], [[finding, other]])

    (count,) = [row[2] for row in found[GROUPS] if row[0] == "prompt-injection"]
    assert count == 2


def _is_finding(record: Record, rule: str) -> bool:
    return isinstance(record, Happened) and record.attributes.get("finding.rule") == rule
