"""
Databases full of data, the same for the same seed, written by the real writer.

The records are those that the proxy sends: requests and answers with real bodies, and events as the
tracker makes them. `build` for a database; `Traffic` and `Talk` to make records of one's own.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from factory_agents import AGENTS, FINDINGS, NOW, PRICES, Agent
from factory_hostile import HOSTILE, deface, hostile
from factory_traffic import Talk, Traffic

from perimeter_plugin_live_trace.records import Answered, Asked, Happened, Record
from perimeter_plugin_live_trace.store import Database, Writer


__all__ = [
    "AGENTS",
    "FINDINGS",
    "HOSTILE",
    "NOW",
    "PRICES",
    "Agent",
    "Talk",
    "Traffic",
    "build",
    "without_session",
]


def build(path: Path, kind: str = "small", now: float = NOW, seed: int = 6) -> Database:
    """
    Make a database.

    Args:
        path: The file, which is not there yet.
        kind: `small` (50 sessions over two days), `hostile` (attacks in every text) or `giant`
            (a session of 5,000 events, a payload of 20 MB, JSON of 100,000 values).
        now: When the newest of it happened, Unix time.
        seed: The same one makes the same data.
    """
    database = Database.open(path)
    writer = Writer(database, clock=lambda: now)
    for batch in _KINDS[kind](Traffic(random.Random(seed), now)):
        writer.take(batch)
    if kind == "hostile":
        deface(writer)
    writer.close()
    assert writer.state == "open", writer.problem
    assert not writer.skipped, "records of the factory make no sense"
    return database


def small(traffic: Traffic) -> Iterator[list[Record]]:
    """Yield the records of about fifty sessions, the oldest first, two of them under way."""
    rng = traffic.rng
    starts = sorted(rng.uniform(0, 2 * 86400) ** 1.0 for _ in range(48))
    for number, age in enumerate(reversed(starts)):
        agent = AGENTS[number % len(AGENTS)]
        turns = rng.choice([1, 1, 2, 3, 4, 6, 9])
        yield from traffic.conversation(
            agent,
            traffic.now - max(age, 900) - 600,
            turns,
            session=f"session-{number:03d}",
            fails=number % 9 == 4,
            tags={"team": "blue" if number % 2 else "red", "env": "test"}
            if number % 3 == 0
            else {},
            finding=FINDINGS[number // 6 % len(FINDINGS)] if number % 6 == 5 else None,
            ends=number % 7 != 0,
        )
    yield from rewritten(traffic)
    yield from traffic.conversation(
        AGENTS[0], traffic.now - 90, 2, session="session-live", ends=False, running=True
    )
    yield without_session(traffic)


def rewritten(traffic: Traffic) -> Iterator[list[Record]]:
    """Yield a session whose agent leaves out the middle of its history."""
    talk = Talk(traffic, AGENTS[1], "session-rewritten", traffic.now - 4000, {"kind": "compacted"})
    for text in ("Read the code.", "Now the tests.", "What is missing?"):
        yield talk.turn(text)
    del talk.history[1:-1]
    yield talk.turn("Go on with what is left.")
    yield [talk.end()]


def without_session(traffic: Traffic) -> list[Record]:
    """Return the records of embeddings, and of a path that no dialect knows."""
    body = json.dumps({"model": "text-embedding-3-small", "input": ["one", "two"]}).encode()
    at, records = traffic.now - 300, []
    for exchange, dialect, operation, path in (
        ("e" * 24, "openai.embeddings", "embeddings", "/v1/embeddings"),
        ("f" * 24, "raw", "", "/v1/models"),
    ):
        headers = [(b"content-type", b"application/json")]
        records.append(
            Asked(exchange, at, dialect, operation, "openai", "", "POST", path, headers, body, 50)
        )
        if operation:
            attributes = {"call.id": exchange, "llm.model": "text-embedding-3-small"}
            records += [
                Happened(name, at, "", "a" * 16, "INFO", None, None, attributes)
                for name in ("llm.call.start", "llm.call.finish")
            ]
        answer = b'{"data": []}'
        records.append(Answered(exchange, at + 1, "completed", 200, headers, answer, 12, 0.2))
    return records


def giant(traffic: Traffic) -> Iterator[list[Record]]:
    """Yield a session of more than 5,000 events, one of 20 MB, and one of 100,000 JSON values."""
    talk = Talk(traffic, AGENTS[3], "session-giant", traffic.now - 20_000, {"size": "giant"})
    for number in range(150):
        batch = talk.turn(f"Step {number}: {traffic.words(12)}")
        for step in range(16):
            batch += tool_use(traffic, talk, f"tool_{step}")
        yield batch
    large = Talk(traffic, AGENTS[0], "session-large", traffic.now - 3000, {})
    large.history = [
        {"role": "user", "content": f"part {number} " + traffic.words(9) * 90_000}
        for number in range(5)
    ]
    yield large.turn("What is the sum of all this?")
    deep = Talk(traffic, AGENTS[2], "session-json", traffic.now - 2000, {})
    # Attributes of more than 1 MiB are not kept whole.
    values = {f"key{row}": [row, str(row), None, {"x": row / 7}] for row in range(19_000)}
    yield [
        *deep.turn(json.dumps(values)),
        deep.happened("tool.execution", {"tool.name": "run_sql", "tool.params": values}),
    ]


def tool_use(traffic: Traffic, talk: Talk, name: str) -> list[Record]:
    """Return the events of a tool that is used."""
    span = traffic.hex(16)
    ran = {"tool.name": name, "tool.params": {"path": traffic.words(3)}}
    got = {
        "tool.name": name,
        "tool.status": "success",
        "tool.result": traffic.words(12),
        "tool.execution_time_ms": traffic.rng.uniform(3, 900),
    }
    talk.at += traffic.rng.uniform(0.1, 2)
    return [
        talk.happened("tool.execution", ran, span=span),
        talk.happened("tool.result", got, span=span),
    ]


_KINDS = {"small": small, "hostile": hostile, "giant": giant}
