"""Rows of a large database of live trace; see `live_trace_data`."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import zlib
from collections import defaultdict
from hashlib import blake2b
from typing import Any

from perimeter_plugin_live_trace.store import Histogram, rows
from perimeter_plugin_live_trace.store.rollups import SPANS


MODELS = tuple(
    f"{family}-{size}"
    for family in ("gpt-4.1", "claude-sonnet-4-5", "gemini-2.5", "o4")
    for size in ("large", "mini", "nano")
)
TOOLS = tuple(
    f"{verb}_{noun}"
    for verb in ("read", "write", "list", "search", "run", "delete")
    for noun in ("file", "ticket", "customer", "page", "query")
)
RULES = (
    ("prompt-injection", "LLM01", 4),
    ("pii.email", "LLM02", 2),
    ("tool-loop", "LLM06", 3),
    ("no-limit", "LLM10", 1),
)
SYLLABLES = ("ka", "lo", "mi", "ter", "san", "vo", "rel", "in", "du", "pra", "con", "est")
CHINESE = "東京天気教今日会議資料確認連絡予定変更"

Row = tuple[Any, ...]


class Words:
    """Texts out of a vocabulary, of which few words are common and most are rare."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.known = ["".join(rng.choices(SYLLABLES, k=rng.randrange(1, 5))) for _ in range(8000)]
        self.weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(8000)))

    def text(self, count: int) -> str:
        chosen = self.rng.choices(self.known, cum_weights=self.weights, k=count)
        if self.rng.random() < 0.05:
            chosen.append("".join(self.rng.choices(CHINESE, k=6)))
        return " ".join(chosen)


class Loader:
    """Collects rows, and writes many of one table at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.waiting: dict[str, list[Row]] = defaultdict(list)
        self.ids: dict[str, int] = defaultdict(int)

    def id(self, table: str) -> int:
        self.ids[table] += 1
        return self.ids[table]

    def add(self, insert: str, row: Row) -> None:
        waiting = self.waiting[insert]
        waiting.append(row)
        if len(waiting) >= 5000:
            self.connection.executemany(insert, waiting)
            waiting.clear()

    def flush(self) -> None:
        for insert, waiting in self.waiting.items():
            self.connection.executemany(insert, waiting)
            waiting.clear()


BLOBS = rows.insert_sql("blobs", ("id", "digest", "codec", "size", "data"))
NODES = rows.insert_sql("nodes", ("id", "session_id", "parent_id", "depth", "digest", "blob_id"))
TEXTS = rows.insert_sql("texts", ("id", "words"))
TAGS = rows.insert_sql("tags", ("key", "value", "session_id"))
SESSION_MODELS = rows.insert_sql("session_models", ("model", "session_id", "calls"))
SESSION_TOOLS = rows.insert_sql("session_tools", ("tool", "session_id", "calls", "errors"))


class Maker:
    """Makes the rows of sessions."""

    def __init__(self, connection: sqlite3.Connection, seed: int, now: float) -> None:
        self.rng = random.Random(seed)
        self.words = Words(self.rng)
        self.load = Loader(connection)
        self.now_us = int(now * 1e6)
        key = connection.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()[0]
        self.key = bytes.fromhex(key)
        self.rollups: dict[Row, Any] = {}
        self.groups: dict[tuple[str, int], Any] = {}
        self.agents = [self.agent(number) for number in range(40)]
        self.attributes = [self.blob({"note": self.words.text(12), "n": n}) for n in range(3000)]
        self.headers = self.blob([["content-type", "application/json"], ["user-agent", "bench"]])
        self.envelopes = [self.blob({"model": model, "messages": []}) for model in MODELS]
        self.told = [self.words.text(10) for _ in range(3000)]
        self.said = [self.message("assistant") for _ in range(4000)]
        self.asked = [self.message("user") for _ in range(4000)]

    def blob(self, value: Any) -> int:
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        packed = zlib.compress(data, 1)
        small = len(data) < 400 or len(packed) >= len(data)
        blob_id = self.load.id("blobs")
        digest = blake2b(data, digest_size=16, key=self.key).digest()
        stored = ("", len(data), data) if small else ("zlib", len(data), packed)
        self.load.add(BLOBS, (blob_id, digest, *stored))
        return blob_id

    def message(self, role: str) -> tuple[str, int, int]:
        """Return a message: its text, its blob, and that of an answer that says it."""
        text = self.words.text(self.rng.randrange(8, 60)) + f" {self.load.ids['blobs']}"
        message = {"role": role, "content": text}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return text, self.blob(message), self.blob(answer) if role == "assistant" else 0

    def agent(self, number: int) -> Any:
        prompt = self.blob(f"You are agent {number}. {self.words.text(40)}")
        return rows.AGENTS.row(
            id=number + 1,
            key=f"prompt-{number:012x}",
            workflow=f"workflow-{number % 8}",
            prompt_blob=prompt,
            tools=json.dumps(sorted(self.rng.sample(TOOLS, 6))),
            first_us=self.now_us,
            last_us=0,
        )

    def count(self, kind: str, ts_us: int, agent: int, name: str, **more: int) -> None:
        for size, span in SPANS.items():
            bucket = ts_us - ts_us % span
            if size == "m" and self.now_us - bucket > 2 * SPANS["d"]:
                continue
            self.sum(rows.ROLLUPS, (size, kind, bucket, agent, name), more)
            self.sum(rows.ROLLUPS_OF_ALL, (size, kind, bucket, name), more)

    def sum(self, table: rows.Table, key: Row, more: dict[str, int]) -> None:
        row = self.rollups.get(key)
        if row is None:
            named = dict(zip(table.key, key, strict=True))
            row = self.rollups[key] = table.row(**named, latencies=Histogram())
        for column, value in more.items():
            setattr(row, column, getattr(row, column) + value)
        if more.get("lat_us"):
            row.latencies.add(more["lat_us"])

    def finish(self) -> None:
        for key, row in self.rollups.items():
            table = rows.ROLLUPS if len(key) == len(rows.ROLLUPS.key) else rows.ROLLUPS_OF_ALL
            row.hist = row.latencies.to_bytes()
            self.load.add(table.insert, table.values(row))
        for agent in self.agents:
            agent.first_us = min(agent.first_us, agent.last_us)
            self.load.add(rows.AGENTS.insert, rows.AGENTS.values(agent))
        for group in self.groups.values():
            self.load.add(rows.GROUPS.insert, rows.GROUPS.values(group))
        self.load.flush()
