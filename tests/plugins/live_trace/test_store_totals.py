"""What comes too early, too late, twice, or not at all; tools, findings, revisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factory
import pytest
from store_parts import NOW, Store, answered, asked, chat, event

from perimeter_plugin_live_trace.records import Happened, Progress
from perimeter_plugin_live_trace.store import Reader, Writer, messages
from perimeter_plugin_live_trace.store.models import (
    Agent,
    Finding,
    FindingGroup,
    Rollup,
    SessionTool,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "live.db")
    yield made
    made.writer.close()
    made.reader.close()
    assert not made.writer.skipped
    assert not made.writer.lost


def test_an_event_without_its_call(store: Store) -> None:
    """Where the request was lost, what events tell is kept."""
    store.writer.take([event("llm.call.start", **{"llm.model": "m"})])
    assert store.session().running == 1
    store.writer.take([event("llm.call.finish", **{"llm.usage.input_tokens": 7})])
    session, call = store.session(), store.calls()[0]
    assert (session.turns, session.running, session.tok_in) == (1, 0, 7)
    assert (call.model, call.method, call.state, call.envelope_blob) == ("m", "", "ok", None)


def test_a_body_waits_for_its_event(store: Store) -> None:
    """A request is stored with its session, though that is known in a later batch only."""
    store.writer.take([asked(chat("early"))])
    assert store.calls() == []
    store.writer.take([event("llm.call.start")])
    assert store.calls()[0].messages == 1
    assert store.events()[0].preview == store.session().title == "early"


def test_a_body_comes_after_its_event(store: Store) -> None:
    """An event that was written before its body came gets its line later."""
    store.writer.take([event("llm.call.start")])
    store.writer.take([asked(chat("late"))])
    assert store.events()[0].preview == store.session().title == "late"
    assert store.reader.sql("SELECT rowid FROM fts WHERE fts MATCH 'late'") == [(1,)]


def test_nobody_waits_for_ever(store: Store) -> None:
    """An exchange that no event tells of is stored after a while, and put in order if one does."""
    body = chat("alone")
    store.writer.take([asked(body), answered(b"x")])
    store.now += 3
    store.writer.take([])
    call = store.calls()[0]
    assert (call.session_id, call.state, store.reader.body(call)) == (None, "ok", body)
    store.writer.take([event("llm.call.start")])
    call = store.calls()[0]
    assert (call.session_id, call.number, call.messages) == (1, 1, 1)
    assert store.session().title == "alone"
    assert json.loads(store.reader.body(call)) == json.loads(body)
    assert store.session().turns == 1


def test_what_is_no_call_is_stored_at_once(store: Store) -> None:
    """A path that no dialect knows has no events to wait for."""
    store.writer.take(
        [asked(b"x", dialect="raw", operation=""), answered(b"y", outcome="upstream_error")]
    )
    call = store.calls()[0]
    assert (call.session_id, call.state, call.outcome) == (None, "error", "upstream_error")


def test_duplicates_count_once(store: Store) -> None:
    """Records that come again change nothing, in the same batch, in a later one, or later still."""
    records = store.talk().turn("one", finding=factory.FINDINGS[0])
    store.writer.take([*records, *records])
    before = tables(store.reader)
    store.writer.take(records)
    store.writer.close()
    store.writer = Writer(store.database, clock=lambda: NOW)
    store.writer.take([each for each in records if not is_start_or_finding(each)])
    assert tables(store.reader) == before


def is_start_or_finding(record: object) -> bool:
    """Such events belong to no call, and are known again by the process only that wrote them."""
    return isinstance(record, Happened) and record.name in {"session.start", "security.finding"}


def tables(reader: Reader) -> dict[str, list[Any]]:
    names = ("events", "calls", "session_tools", "session_models", "findings", "nodes", "rollups")
    found = {name: reader.sql(f"SELECT * FROM {name}") for name in names}
    found["totals"] = reader.sql("SELECT turns, events, tools, tok_in, errors FROM sessions")
    return found


def test_tools_are_counted(store: Store) -> None:
    """Executions count; failures and times come with results."""
    ran, got = {"tool.name": "t"}, {"tool.name": "t", "tool.execution_time_ms": 250.0}
    store.writer.take(
        [
            event("tool.execution", **ran, n=1),
            event("tool.execution", **ran, n=2),
            event("tool.result", **got, **{"tool.status": "success", "tool.result": "fine"}),
            event("tool.result", **got, **{"tool.status": "error", "tool.result": "broken"}),
        ]
    )
    session = store.session()
    assert (session.tools, session.errors, session.tool_us) == (2, 1, 500_000)
    tool = store.reader.one(SessionTool.select())
    assert (tool.tool, tool.calls, tool.errors) == ("t", 2, 1)
    rollup = store.reader.one(Rollup.select().where(Rollup.size == "h"))
    assert (rollup.kind, rollup.calls, rollup.errors, rollup.lat_us) == ("tool", 2, 1, 500_000)
    assert [each.status for each in store.events()] == ["ok", "ok", "ok", "error"]


def test_findings_are_grouped(store: Store) -> None:
    """Findings of one rule and agent are one group; the worst open one is the session's."""
    for number, session in enumerate(("s1", "s1", "s2")):
        attributes = {**factory.FINDINGS[number % 2], "finding.rule": "same", "n": number}
        store.writer.take([event("security.finding", session, **attributes)])
    group = store.reader.one(FindingGroup.select())
    assert (group.rule, group.count, group.sessions, group.sev, group.state) == (
        "same",
        3,
        2,
        4,
        "open",
    )
    assert (store.session().sev, store.session().findings) == (4, 2)
    assert store.session().risk > store.session("s2").risk - 1 > 0
    finding = store.reader.one(Finding.select())
    assert json.loads(finding.evidence)["ptr"] == "/messages/3/content"
    assert finding.event_id == store.events()[0].id


def test_progress_shows_before_the_end(store: Store) -> None:
    """While an answer comes, its size grows, and the session has a new revision."""
    store.writer.take([event("llm.call.start"), asked(chat("a"))])
    before = store.session().rev
    store.writer.take([Progress("x1", 1234), Progress("unknown", 5)])
    assert store.calls()[0].response_size == 1234
    assert store.session().rev > before
    store.writer.take([answered(b"xyz"), Progress("x1", 999)])
    assert store.calls()[0].response_size == 3


def test_revisions_grow(store: Store) -> None:
    """Each commit has its own number, and all that it changed carries it."""
    store.writer.take(store.talk(0, "s1").turn("a"))
    first = store.session().rev
    store.writer.take(store.talk(1, "s2").turn("b"))
    assert store.session("s1").rev == first
    assert store.session("s2").rev == first + 1 == store.reader.rev()
    agents = store.reader.rows(Agent.select().order_by(Agent.id))
    assert [row.rev for row in agents] == [first, first + 1]


def test_a_guard_that_refuses(store: Store) -> None:
    """What guards decided, and how often the request was sent, is kept."""
    store.writer.take(
        [
            event("llm.call.start"),
            asked(chat("a")),
            answered(
                b"no", outcome="blocked", status=403, verdicts=[("guard", "Block")], attempts=0
            ),
        ]
    )
    call = store.calls()[0]
    assert (call.state, call.outcome, json.loads(call.verdicts), call.attempts) == (
        "error",
        "blocked",
        [["guard", "Block"]],
        0,
    )


def test_calls_of_a_killed_run_are_interrupted(store: Store) -> None:
    """They are errors after the next start; if one ends after all, it is put right."""
    store.writer.take([event("llm.call.start"), asked(chat("a"))])
    second = Writer(store.database, clock=lambda: NOW)  # the first one was killed
    call, session = store.calls()[0], store.session()
    assert (call.state, call.outcome, call.error_type) == ("error", "interrupted", "interrupted")
    assert (session.running, session.errors, session.status) == (0, 1, "error")
    second.take([event("llm.call.finish"), answered(b"{}")])
    call, session = store.calls()[0], store.session()
    assert (call.state, call.outcome, call.error, call.error_type) == ("ok", "completed", "", "")
    assert (session.running, session.errors) == (0, 0)
    second.close()


def test_caches_are_bounded(store: Store) -> None:
    """What the writer remembers does not grow with the number of sessions."""
    for start in range(0, 9000, 1000):
        store.writer.take(
            [event("llm.call.start", f"s{n}", f"x{n}") for n in range(start, start + 1000)]
        )
    work = store.writer._opened.work
    assert len(work.sessions._rows) == len(work.sessions._keys) <= 3000
    assert len(work.calls._rows) <= 3000
    assert work.histories._remembered <= 300_000
    store.writer.take([event("llm.call.finish", "s0", "x0")])  # long forgotten
    assert (store.session("s0").turns, store.session("s0").running) == (1, 0)


def test_every_kind_of_database_can_be_built(tmp_path: Path) -> None:
    """What other tests use is there, and the same each time."""
    for kind, sessions in (("small", 50), ("hostile", len(factory.HOSTILE)), ("giant", 3)):
        reader = factory.build(tmp_path / kind, kind).reader()
        assert reader.sql("SELECT count(*) FROM sessions") == [(sessions,)]
        assert reader.sql("PRAGMA integrity_check") == [("ok",)]
        reader.close()
    first = factory.build(tmp_path / "again").reader()
    second = factory.build(tmp_path / "once more").reader()
    dump = "SELECT id, public_id, title, tok_in, events, rev FROM sessions"
    assert first.sql(dump) == second.sql(dump)
    first.close()
    second.close()


@pytest.mark.parametrize(("bound", "most"), [("_REMEMBERED", 5), ("_SESSIONS", 1)])
def test_histories_that_were_forgotten(
    store: Store, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """What is not remembered is read again, and goes on as before."""
    monkeypatch.setattr(messages, bound, most)
    for turn in range(3):
        for session in ("s1", "s2", "s3"):
            exchange = f"{session}-{turn}"
            body = chat(*(f"{session} {number}" for number in range(turn + 2)))
            store.writer.take([event("llm.call.start", session, exchange), asked(body, exchange)])
            histories = store.writer._opened.work.histories
            assert (histories._remembered if most == 5 else len(histories._tips)) <= most
    found = store.reader.sql("SELECT number, carried, rewritten FROM calls ORDER BY 1")
    assert found == [(1, 0, 0)] * 3 + [(2, 2, 0)] * 3 + [(3, 3, 0)] * 3
