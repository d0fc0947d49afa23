"""Whatever is in records: bodies, names, ids, times and attributes of any kind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store_parts import NOW, Store, answered, asked, chat, event

from perimeter_plugin_live_trace.store.models import (
    Agent,
    Session,
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


def test_encoded_bodies_are_stored_decoded(store: Store) -> None:
    """Content-encoding is undone; what is not in the coding it claims stays as it came."""
    reply = json.dumps({"choices": [{"message": {"role": "assistant", "content": "packed"}}]})
    fields = [(b"Content-Encoding", b"gzip"), (b"content-type", b"application/json")]
    store.writer.take(
        [
            event("llm.call.start"),
            asked(gzip.compress(chat("squeezed")), headers=fields),
            answered(gzip.compress(reply.encode()), headers=fields),
            event("llm.call.start", exchange="x2"),
            asked(chat("plain"), "x2", headers=fields),
        ]
    )
    first, second = store.calls()
    assert json.loads(store.reader.body(first)) == json.loads(chat("squeezed"))
    assert store.reader.blob(first.response_blob) == reply.encode()
    assert json.loads(store.reader.body(second)) == json.loads(chat("plain"))


def test_a_bomb_is_not_unpacked(store: Store) -> None:
    """Of an answer four megabytes are kept, and it says that it was cut."""
    bomb = gzip.compress(b"x" * 50_000_000)
    fields = [(b"content-encoding", b"gzip")]
    store.writer.take([event("llm.call.start"), asked(chat("a")), answered(bomb, headers=fields)])
    call = store.calls()[0]
    assert len(store.reader.blob(call.response_blob)) == 4 * 1024 * 1024
    assert call.response_cut


BAD_BODIES = {
    "empty": b"",
    "no json": b"\x00\x01\x02 hello",
    "invalid utf-8": b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}',
    "surrogate": b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "nul": b'{"messages": [{"role": "user", "content": "a\\u0000b"}]}',
    "brackets": b"[" * 1_000_000,
    "deep": b'{"messages": [{"content": ' + b"[" * 300_000 + b"]" * 300_000 + b"}]}",
    "numbers": b'{"messages": [1, 2, 3]}',
    "null": b"null",
    "nan": b'{"messages": [{"role": "user", "content": NaN}]}',
    "large number": b'{"messages": [{"role": "user", "content": ' + b"9" * 5000 + b"}]}",
    "cut": b'{"messages": [{"role": "user", "content": "abc',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_bad_bodies_are_kept(store: Store, body: bytes) -> None:
    """Whatever a body is, it is stored, the call counts, and the answer is, too."""
    store.writer.take(
        [event("llm.call.start"), asked(body), answered(body), event("llm.call.finish")]
    )
    call = store.calls()[0]
    assert (call.state, call.request_size) == ("ok", len(body))
    assert store.reader.body(call).replace(b" ", b"") == body.replace(b" ", b"")
    assert store.reader.blob(call.response_blob) == body
    store.reader.sql("SELECT * FROM events, texts")


def test_a_message_of_fifty_megabytes(store: Store) -> None:
    """It is kept in part, stays JSON, and says that it was cut."""
    body = chat("small", "x" * 50_000_000, "again small")
    store.writer.take([event("llm.call.start"), asked(body)])
    call = store.calls()[0]
    kept = json.loads(store.reader.body(call))["messages"]
    assert [each["role"] for each in kept] == ["user", "assistant", "user"]
    assert 1_000_000 < len(kept[1]["content"]) < 8 * 1024 * 1024
    assert kept[2]["content"] == "again small"
    assert call.request_cut
    assert call.request_size == len(body)


def test_fifty_thousand_messages(store: Store) -> None:
    """A long history is stored once, and one message more costs one node."""
    texts = [f"message {number}" for number in range(50_000)]
    for exchange, body in (("x1", chat(*texts)), ("x2", chat(*texts, "more"))):
        store.writer.take([event("llm.call.start", exchange=exchange), asked(body, exchange)])
    call = store.calls()[1]
    assert (call.messages, call.carried) == (50_001, 50_000)
    assert store.reader.sql("SELECT count(*) FROM nodes") == [(50_001,)]
    assert len(store.reader.messages(call.node_id, skip=49_999)) == 2


def test_ids_of_any_length(store: Store) -> None:
    """Ids of 10,000 characters are told apart, and fit into an address."""
    ids = ["a" * 10_000 + end for end in "xy"]
    for number, name in enumerate(ids):
        happened = event("llm.call.start", name, exchange=name)
        happened.agent = name
        store.writer.take([happened, asked(chat(f"text {number}"), name)])
    rows = store.reader.rows(Session.select().order_by(Session.id))
    assert len({row.public_id for row in rows}) == 2
    assert all(len(row.public_id) <= 200 for row in rows)
    assert [row.title for row in rows] == ["text 0", "text 1"]
    assert len({row.key for row in store.reader.rows(Agent.select())}) == 2


NAMES = ["</script><script>alert(1)</script>", "\ud800", "a\0b", "\u202egnp", "x" * 5000, "'\";--"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_may_be_anything(store: Store, name: str) -> None:
    """Hostile names of models, tools, tags, agents and events are stored, and can be read."""
    happened = event(
        "llm.call.start", name, name, **{"llm.model": name, "session.tags": {name: name}}
    )
    happened.agent = name
    finish = event("llm.call.finish", name, name, **{"llm.model": name})
    other = event(name, name, name, **{"message": name, name: name})
    tool = event("tool.execution", name, name, **{"tool.name": name, "tool.params": {name: name}})
    store.writer.take(
        [
            happened,
            asked(chat(name), name, dialect=name, method=name, target=name, upstream=name),
            answered(b"x", name, outcome=name, error=name, verdicts=[(name, name)]),
            finish,
            other,
            tool,
        ]
    )
    assert len(store.events()) == 4
    assert store.reader.one(Tag.select()).key
    for (table,) in store.reader.sql("SELECT name FROM sqlite_master WHERE type = 'table'"):
        store.reader.sql(f"SELECT * FROM {table}")


@pytest.mark.parametrize("at", [float("nan"), float("inf"), -5.0, 0.0, 1e300])
def test_times_may_be_anything(store: Store, at: float) -> None:
    """A moment that is none becomes now; the past stays the past."""
    happened = event("llm.call.start")
    happened.at = at
    store.writer.take([happened, asked(chat("a"), at=at), answered(b"x", at=at, duration=at)])
    assert 0 <= store.events()[0].ts_us <= NOW * 1e6
    assert store.session().last_us <= NOW * 1e6


def test_clocks_may_go_back(store: Store) -> None:
    """Events keep the order in which they came; the session's times are the first and the last."""
    for number, at in enumerate((NOW, NOW - 3600, NOW - 60)):
        happened = event("llm.call.start", exchange=f"x{number}")
        happened.at = at
        store.writer.take([happened])
    session = store.session()
    assert session.started_us == int((NOW - 3600) * 1e6)
    assert session.last_us == int(NOW * 1e6)
    assert [each.seq for each in store.events()] == [1, 2, 3]


@pytest.mark.parametrize(
    "attributes",
    [
        {"llm.usage.input_tokens": "many", "llm.cost_usd": "free"},
        {"llm.usage.input_tokens": -5, "llm.cost_usd": float("nan")},
        {"llm.usage.input_tokens": 10**30, "llm.cost_usd": 10.0**300},
        {"llm.response.duration_ms": float("inf"), "llm.usage.output_tokens": True},
        {"llm.response.duration_ms": [], "session.tags": [1], "llm.model": {"a": 1}},
        {"session.tags": {f"k{n}": n for n in range(100_000)}, "tools": 5},
        {"call.id": 7, "tool.name": None, "error.message": 5},
    ],
    ids=range(7),
)
def test_attributes_may_be_anything(store: Store, attributes: dict[str, Any]) -> None:
    """Values of the wrong type count as nothing; of many tags a hundred are kept."""
    for name in ("session.start", "llm.call.start", "llm.call.finish", "tool.result"):
        store.writer.take([event(name, **attributes)])
    session = store.session()
    assert (session.events, session.tok_in, session.cost_nano) == (4, 0, 0)
    assert store.reader.sql("SELECT count(*) FROM tags")[0][0] <= 100


def test_a_million_tags(store: Store) -> None:
    """A hundred are kept; the event has more of them, and says how many it has not."""
    tags = {f"k{number}": "v" for number in range(1_000_000)}
    store.writer.take([event("llm.call.start", **{"session.tags": tags, "llm.model": "m"})])
    found = store.reader.sql("SELECT key FROM tags")
    assert {key for (key,) in found} == {f"k{number}" for number in range(100)}
    (kept,) = store.events()
    data = store.reader.blob(kept.attributes_blob)
    assert len(data) == kept.size < 1024 * 1024
    read = json.loads(data)
    assert read["llm.model"] == "m"
    more = 1_000_001 - len(read["session.tags"])
    assert read["session.tags"]["..."] == f"[{more} more entries, not kept]"
