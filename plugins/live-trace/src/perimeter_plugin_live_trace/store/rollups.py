"""Totals of minutes, hours and days."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from typing import Any

from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.rows import Table, insert_sql


SPANS = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
"""Microseconds of a bucket, by its size."""

_KEPT = 2000

Key = tuple[Any, ...]


class Rollups:
    """Adds to the totals of every span of time that a moment is in."""

    def __init__(self, connection: sqlite3.Connection, table: Table) -> None:
        conditions = " AND ".join(f"{column} = ?" for column in table.key)
        self._connection = connection
        self._table = table
        self._select = f"{table.select} WHERE {conditions}"
        self._write = insert_sql(table.name, table.fields, "INSERT OR REPLACE")
        self._rows: OrderedDict[Key, Any] = OrderedDict()
        self._changed: dict[Key, Any] = {}

    def forget(self) -> None:
        """Forget what is known and what was not written yet."""
        self._rows.clear()
        self._changed.clear()

    def at(self, ts_us: int, kind: str, *whose: Any) -> list[Any]:
        """Return the rows of a moment, to be changed: of its minute, its hour and its day."""
        found = []
        for size, span in SPANS.items():
            key = (size, kind, ts_us - ts_us % span, *whose)
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
        rows = map(self._table.values, self._changed.values())
        self._connection.executemany(self._write, rows)
        self._changed.clear()

    def trim(self) -> None:
        """Remember less, where it has become much."""
        while len(self._rows) > _KEPT:
            self._rows.popitem(last=False)

    def _row(self, key: Key) -> Any:
        row = self._rows.get(key)
        if row is None:
            found = self._connection.execute(self._select, key).fetchone()
            if found is None:
                row = self._table.row(**dict(zip(self._table.key, key, strict=True)))
            else:
                row = self._table.load(found)
            row.latencies = Histogram.from_bytes(row.hist)
            self._rows[key] = row
        else:
            self._rows.move_to_end(key)
        return row
