"""What becomes of records: rows, bodies, totals, words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import factory
import pytest
from store_parts import NOW, Store, answered, asked, chat, event

from perimeter_plugin_live_trace.records import Asked
from perimeter_plugin_live_trace.store import Writer
from perimeter_plugin_live_trace.store.models import (
    Agent,
    Rollup,
    Tag,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "live.db")
    yield made
    made.writer.close()
    made.reader.close()
    assert not made.writer.skipped
    assert not made.writer.lost


def test_the_age_of_a_batch_is_that_of_its_oldest_record(store: Store) -> None:
    """A batch is as old as what it tells of first; a request that takes long to come is not old."""
    body = chat("Where is my order?")
    for at, later in ((NOW + 1.0, 3.0), (NOW + 9.0, 0.25)):
        store.now = at + later
        slow = asked(body, f"x{at}", at=NOW - 500)
        told = [answered(b"{}", f"x{at}", at=at), answered(b"{}", f"y{at}", at=store.now)]
        store.writer.take([slow, *told])
        assert store.writer.lag == pytest.approx(later)

    assert len(store.writer.ages) == 2
    assert store.writer.ages.quantile(0.5) == pytest.approx(250_000, rel=0.07)
    assert store.writer.ages.quantile(1.0) == pytest.approx(3_000_000, rel=0.07)


def test_a_call_becomes_rows(store: Store) -> None:
    """Session, call, events, agent and spans of time tell what happened."""
    talk = store.talk(team="blue")
    store.writer.take(talk.turn("Where is my order?", answer="It is on its way."))
    session, call = store.session(), store.calls()[0]
    assert (session.turns, session.running, session.errors, session.status) == (1, 0, 0, "active")
    assert session.title == "Where is my order?"
    assert session.models == "gpt-4.1"
    assert (call.state, call.outcome, call.http_status) == ("ok", "completed", 200)
    assert (call.messages, call.carried, call.rewritten, call.number) == (2, 0, 0, 1)
    assert call.cost_nano == session.cost_nano > 0
    assert session.tok_in == call.tok_in
    assert session.p95_us == pytest.approx(call.dur_us, rel=0.07)
    assert [each.kind for each in store.events()][:3] == [
        "session.start",
        "llm.call.start",
        "llm.call.finish",
    ]
    assert [each.seq for each in store.events()] == list(range(1, session.last_seq + 1))
    assert store.events("llm.call.start")[0].preview == "Where is my order?"
    assert store.events("llm.call.finish")[0].preview == "It is on its way."
    agent = store.reader.one(Agent.select())
    assert (agent.key, agent.calls, agent.sessions) == ("support-triage", 1, 1)
    assert json.loads(agent.tools) == sorted(factory.AGENTS[0].tools)
    assert store.reader.blob(agent.prompt_blob).decode() == factory.AGENTS[0].system
    rollups = store.reader.rows(Rollup.select().where(Rollup.kind == "llm"))
    assert sorted(row.size for row in rollups) == ["d", "h", "m"]
    assert {(row.calls, row.tok_in, row.name) for row in rollups} == {(1, call.tok_in, "gpt-4.1")}
    tags = [(row.key, row.value) for row in store.reader.rows(Tag.select())]
    assert tags == [("team", "blue")]


@pytest.mark.parametrize("number", range(len(factory.AGENTS)))
def test_bodies_come_back_as_they_were(store: Store, number: int) -> None:
    """Requests of every provider equal what was sent; only what is new is stored again."""
    talk, sent = store.talk(number), []
    for text in ("one", "two", "three"):
        records = talk.turn(text)
        sent += [record for record in records if isinstance(record, Asked)]
        store.writer.take(records)
    calls = store.calls()
    for call, record in zip(calls, sent, strict=True):
        assert json.loads(store.reader.body(call)) == json.loads(record.body)
    assert [call.carried for call in calls] == [0, calls[0].messages, calls[1].messages]
    new = json.loads(store.reader.body(calls[2], only_new=True))[calls[2].list_key]
    assert new == json.loads(sent[2].body)[calls[2].list_key][calls[2].carried :]
    assert store.reader.sql("SELECT count(*) FROM nodes") == [(calls[2].messages,)]
    assert not any(call.rewritten for call in calls)
    assert len({call.system_digest for call in calls}) == 1
    assert calls[0].system_digest


def test_streams_are_read(store: Store) -> None:
    """What a stream says is in its event's preview, and found."""
    store.writer.take(store.talk(1).turn("Hi", answer="A perfectly ordinary sentence."))
    assert store.events("llm.call.finish")[0].preview == "A perfectly ordinary sentence."
    found = store.reader.sql("SELECT rowid FROM fts WHERE fts MATCH 'perfectly'")
    assert found == [(store.events("llm.call.finish")[0].id,)]


def test_only_new_words_are_indexed(store: Store) -> None:
    """A message is found once, however often it is sent again; Chinese inside of texts, too."""
    talk = store.talk()
    for text in ("elephants", "東京の天気", "giraffes"):
        store.writer.take(talk.turn(text, answer="yes"))
    starts = store.events("llm.call.start")
    assert store.reader.sql("SELECT rowid FROM fts WHERE fts MATCH 'elephants'") == [
        (starts[0].id,)
    ]
    found = store.reader.sql("SELECT rowid FROM fts WHERE fts MATCH ?", ('"天 気"',))
    assert found == [(starts[1].id,)]


def test_words_of_an_event_are_bounded(store: Store) -> None:
    """Of a long text 2,000 characters are indexed, 160 shown and 120 make the title."""
    store.writer.take([event("llm.call.start"), asked(chat("word " * 100_000))])
    assert len(store.reader.sql("SELECT words FROM texts")[0][0]) <= 2000
    assert len(store.events()[0].preview) <= 160
    assert len(store.session().title) <= 120


def test_a_rewritten_history_is_noticed(store: Store) -> None:
    """A call that lacks what the one before it had sent says so, and from where on it is new."""
    bodies = [chat("a", "b", "c"), chat("a", "x"), chat("a", "x", "d"), chat("a", "b", "c", "e")]
    for number, body in enumerate(bodies):
        exchange = f"x{number}"
        store.writer.take([event("llm.call.start", exchange=exchange), asked(body, exchange)])
    calls = store.calls()
    assert [(call.carried, call.rewritten) for call in calls] == [(0, 0), (1, 1), (2, 0), (1, 1)]
    for call, body in zip(calls, bodies, strict=True):
        assert json.loads(store.reader.body(call)) == json.loads(body)
    # a, b, c, x, d and the e after c: what two branches share is stored once
    assert store.reader.sql("SELECT count(*) FROM nodes") == [(6,)]


def test_a_changed_system_prompt_is_noticed(store: Store) -> None:
    """It may change while every message is sent again, where the API has a place of its own."""
    for number, (system, *texts) in enumerate((("A", "a"), ("A", "a", "b"), ("B", "a", "b", "c"))):
        body = {**json.loads(chat(*texts)), "system": system}
        sent = asked(json.dumps(body).encode(), f"x{number}", dialect="anthropic.messages")
        store.writer.take([event("llm.call.start", exchange=f"x{number}"), sent])
    first, second, third = (call.system_digest for call in store.calls())
    assert first == second
    assert second != third


def test_histories_go_on_after_a_restart(store: Store) -> None:
    """A new writer knows what was sent before."""
    talk = store.talk()
    store.writer.take(talk.turn("one"))
    store.writer.close()
    store.writer = Writer(store.database, clock=lambda: NOW)
    store.writer.take(talk.turn("two"))
    first, second = store.calls()
    assert second.carried == first.messages
    assert second.system_digest == first.system_digest
    assert (second.number, store.session().turns) == (2, 2)


def test_secrets_are_masked_everywhere(store: Store) -> None:
    """No column of any table has a key in it, wherever it was sent."""
    key = "sk-" + "aB3" * 14
    escaped = key.replace("s", "\\u0073", 1)
    body = b'{"model":"m","messages":[{"role":"user","content":"my key: %s and %s"}]}' % (
        key.encode(),
        escaped.encode(),
    )
    fields = [(b"authorization", f"Bearer {key}".encode()), (b"x-api-key", key.encode())]
    reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": key}}]}).encode()
    error = {"error.type": key, "error.message": f"bad key {key}"}
    store.writer.take(
        [
            event("session.start", prompt=f"use {key}", **{"session.tags": {"t": key}}),
            event("llm.call.start", note=key),
            asked(body, headers=fields, target=f"/v1/chat/completions?key={key}"),
            answered(reply, headers=fields, error=key, status=401),
            event("llm.call.error", **error),
            event("tool.result", **{"tool.result": key, "tool.name": "t"}),
            event("security.finding", **{"finding.rule": "r", "finding.title": key}),
        ]
    )
    store.writer.close()
    for (table,) in store.reader.sql("SELECT name FROM sqlite_master WHERE type = 'table'"):
        for row in store.reader.sql(f"SELECT * FROM {table}"):
            assert key[:20] not in repr(row), table
            assert key[4:20] not in repr(row), table
    for (blob,) in store.reader.sql("SELECT id FROM blobs"):
        assert key.encode() not in store.reader.blob(blob)
    assert "****" in store.session().title
