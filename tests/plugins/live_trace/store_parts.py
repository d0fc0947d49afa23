"""A new database with its writer and its reader, and records to write."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import factory

from perimeter_plugin_live_trace.records import Answered, Asked, Happened
from perimeter_plugin_live_trace.store import Database, Histogram, Reader, Writer
from perimeter_plugin_live_trace.store.models import Call, Event, Session


NOW = factory.NOW


class Store:
    """A new database, its writer and its reader."""

    def __init__(self, path: Path) -> None:
        self.now = NOW
        self.database = Database.open(path)
        self.writer = Writer(self.database, clock=lambda: self.now)
        self.reader: Reader = self.database.reader()
        self.traffic = factory.Traffic(random.Random(1), NOW)

    def talk(self, agent: int = 0, session: str = "s1", **tags: str) -> factory.Talk:
        return factory.Talk(self.traffic, factory.AGENTS[agent], session, NOW - 1000, tags)

    def session(self, public_id: str = "s1") -> Any:
        return self.reader.one(Session.select().where(Session.public_id == public_id))

    def calls(self) -> list[Any]:
        return self.reader.rows(Call.select().order_by(Call.id))

    def events(self, kind: str = "") -> list[Any]:
        query = Event.select().order_by(Event.id)
        return self.reader.rows(query.where(Event.kind == kind) if kind else query)


def asked(body: bytes, exchange: str = "x1", **changes: Any) -> Asked:
    values = {
        "exchange": exchange,
        "at": NOW,
        "dialect": "openai.chat",
        "operation": "chat",
        "upstream": "openai",
        "workflow": "",
        "method": "POST",
        "target": "/v1/chat/completions",
        "headers": [],
        "body": body,
        "size": len(body),
    }
    return Asked(**{**values, **changes})


def answered(body: bytes, exchange: str = "x1", **changes: Any) -> Answered:
    values = {
        "exchange": exchange,
        "at": NOW + 1,
        "outcome": "completed",
        "status": 200,
        "headers": [],
        "body": body,
        "size": len(body),
        "duration": 1.0,
    }
    return Answered(**{**values, **changes})


def event(name: str, session: str | None = "s1", exchange: str = "x1", **more: Any) -> Happened:
    attributes = {"call.id": exchange, **more}
    return Happened(name, NOW, "", "ab" * 8, "INFO", session, "agent", attributes)


def chat(*texts: str) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return json.dumps({"model": "m", "messages": messages}).encode()


_KEY = "size, kind, bucket_us, name"
_SUMS = "calls, errors, tok_in, tok_out, tok_cached, cost_nano, lat_us, hist"


def rollups_of_all(reader: Reader) -> dict[Any, Any]:
    """Return what is kept of all agents together, histograms last."""
    rows = reader.sql(f"SELECT {_KEY}, {_SUMS} FROM rollups_of_all")
    return {row[:4]: (*row[4:-1], Histogram.from_bytes(row[-1])) for row in rows}


def rollups_added_up(reader: Reader) -> dict[Any, Any]:
    """Return the same, from what is kept of each agent."""
    found: dict[Any, Any] = {}
    for row in reader.sql(f"SELECT {_KEY}, {_SUMS} FROM rollups"):
        key, sums, hist = row[:4], row[4:-1], Histogram.from_bytes(row[-1])
        before = found.get(key, ((0,) * len(sums)) + (Histogram(),))
        hist.merge(before[-1])
        found[key] = (*(one + other for one, other in zip(sums, before, strict=False)), hist)
    return found
