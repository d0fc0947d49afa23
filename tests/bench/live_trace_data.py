"""
A large database of live trace, the same for the same seed.

    python tests/bench/live_trace_data.py big.db [--sessions 10000] [--events 1000000] [--seed 1]

Rows are written directly, because the writer would take some minutes: totals, rollups, histories
and the full-text index are what the writer would have made of the same traffic. The first session
has 10,000 events, or all of them where it is the only one.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from live_trace_rows import Maker
from live_trace_talk import Talk

from perimeter_plugin_live_trace.store import Database


NOW = 1_790_000_000.0
DAYS = 30
LARGEST = 10_000
"""Events of the first session."""


def build(
    path: Path, sessions: int = 10_000, events: int = 1_000_000, seed: int = 1, now: float = NOW
) -> Database:
    """
    Make the database.

    Args:
        path: The file, which is not there yet.
        sessions: How many sessions, over 30 days.
        events: How many events, about.
        seed: The same one makes the same data.
        now: When the newest of it happened, Unix time.
    """
    database = Database.open(path)
    connection = database.connect()
    connection.execute("PRAGMA synchronous = OFF")
    indexes = without_indexes(connection)
    connection.execute("BEGIN")
    maker = Maker(connection, seed, now)
    for number, (started_us, size) in enumerate(plan(maker, sessions, events), start=1):
        Talk(maker, number, started_us).run(size)
    maker.finish()
    connection.execute("UPDATE meta SET value = ? WHERE name = 'rev'", (str(sessions),))
    connection.execute("COMMIT")
    for statement in indexes:
        connection.execute(statement)
    connection.execute("INSERT INTO fts (fts) VALUES ('rebuild')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return database


def without_indexes(connection: sqlite3.Connection) -> list[str]:
    """Drop all indexes, which are made faster at the end; return what makes them."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    found = connection.execute(query).fetchall()
    for name, _ in found:
        connection.execute(f'DROP INDEX "{name}"')
    return [statement for _, statement in found]


def plan(maker: Maker, sessions: int, events: int) -> Iterator[tuple[int, int]]:
    """Yield when each session begins, the oldest first, and how many events it has."""
    rng = maker.rng
    span = DAYS * 86_400_000_000
    starts = sorted(
        maker.now_us - 7_200_000_000 - int(rng.random() * span) for _ in range(sessions)
    )
    first = min(LARGEST, events // 10) if sessions > 1 else events
    sizes = [rng.lognormvariate(0, 0.9) for _ in range(sessions - 1)]
    scale = (events - first - 5.5 * (sessions - 1)) / (sum(sizes) or 1.0)
    yield starts[0], first
    for start, size in zip(starts[1:], sizes, strict=True):
        yield start, max(3, int(size * scale) + 5)


def counted(database: Database, tables: Sequence[str]) -> dict[str, int]:
    """Return how many rows some tables have."""
    reader = database.reader()
    found = {name: reader.sql(f"SELECT max(rowid) FROM {name}")[0][0] for name in tables}
    reader.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--sessions", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    begun = time.perf_counter()
    database = build(options.path, options.sessions, options.events, options.seed)
    print(f"{time.perf_counter() - begun:.0f} s, {options.path.stat().st_size / 1e6:.0f} MB")
    print(counted(database, ("sessions", "events", "calls", "nodes", "blobs", "texts")))


if __name__ == "__main__":
    main()
