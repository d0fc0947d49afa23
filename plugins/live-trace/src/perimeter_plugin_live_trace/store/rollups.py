"""Totals of minutes, hours and days."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import Any

from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.rows import ROLLUPS, insert_sql


SPANS = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
"""Microseconds of a bucket, by its size."""

_KEPT = 3000
_KEY = "size = ? AND bucket_us = ? AND kind = ? AND agent_id = ? AND name = ?"
_SELECT = f"{ROLLUPS.select} WHERE {_KEY}"
_WRITE = insert_sql(ROLLUPS.name, ROLLUPS.fields, "INSERT OR REPLACE")

Key = tuple[str, int, str, int, str]


class Rollups:
    """Adds to the totals of every span of time that a moment is in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: OrderedDict[Key, Any] = OrderedDict()
        self._changed: dict[Key, Any] = {}

    def forget(self) -> None:
        """Forget what is known and what was not written yet."""
        self._rows.clear()
        self._changed.clear()

    def at(self, ts_us: int, kind: str, agent_id: int, name: str) -> list[Any]:
        """Return the rows of a moment, to be changed: of its minute, its hour and its day."""
        found = []
        for size, span in SPANS.items():
            key = (size, ts_us - ts_us % span, kind, agent_id, name)
            row = self._changed.get(key)
            if row is None:
                row = self._changed[key] = self._row(key)
            found.append(row)
        return found

    def write(self) -> None:
        """Write what has changed."""
        if not self._changed:
            return
        for row in self._changed.values():
            row.hist = row.latencies.to_bytes()
        rows = map(ROLLUPS.values, self._changed.values())
        self._connection.executemany(_WRITE, rows)
        self._changed.clear()

    def trim(self) -> None:
        """Remember less, where it has become much."""
        while len(self._rows) > _KEPT:
            self._rows.popitem(last=False)

    def _row(self, key: Key) -> Any:
        row = self._rows.get(key)
        if row is None:
            found = self._connection.execute(_SELECT, key).fetchone()
            row = ROLLUPS.row(*key) if found is None else ROLLUPS.load(found)
            row.latencies = Histogram.from_bytes(row.hist)
            self._rows[key] = row
        else:
            self._rows.move_to_end(key)
        return row
