"""One transaction's work: rows are read once, changed in memory, and written together."""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Any

from perimeter_plugin_live_trace.store.blobs import Blobs
from perimeter_plugin_live_trace.store.messages import Histories
from perimeter_plugin_live_trace.store.rollups import Rollups
from perimeter_plugin_live_trace.store.rows import (
    AGENTS,
    CALL_ANSWER,
    CALLS,
    EVENTS,
    FINDINGS,
    GROUPS,
    ROLLUPS,
    ROLLUPS_OF_ALL,
    SESSIONS,
    Table,
    insert_sql,
)


class Rows:
    """Rows of one table that change: the newest in memory, what has changed until it is written."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        table: Table,
        key: tuple[str, ...],
        kept: int,
        partial: tuple[str, Any] | None = None,
    ) -> None:
        self._connection = connection
        self._table = table
        self._kept = kept
        self._columns = key
        conditions = " AND ".join(f'"{column}" = ?' for column in key)
        self._by_key = f"SELECT id FROM {table.name} WHERE {conditions}"  # noqa: S608 - our names
        self._by_id = f"{table.select} WHERE id = ?"
        self._partial = partial
        self._rows: OrderedDict[Hashable, Any] = OrderedDict()
        self._keys: dict[int, tuple[Any, ...]] = {}
        self._new: dict[int, Any] = {}
        self._changed: dict[int, Any] = {}
        self._partly: dict[int, Any] = {}
        self._next = 1
        self.forget()

    def forget(self) -> None:
        """Forget what is known and what was not written yet."""
        self._rows.clear()
        for each in (self._keys, self._new, self._changed, self._partly):
            each.clear()
        text = f"SELECT coalesce(max(id), 0) + 1 FROM {self._table.name}"  # noqa: S608 - our name
        self._next = self._connection.execute(text).fetchone()[0]

    def get(self, *key: Any) -> Any:
        """Return the row with a key, None where there is none."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
            return row
        # Most are new, and of those it costs less to look for the id alone.
        found = self._connection.execute(self._by_key, key).fetchone()
        return None if found is None else self.with_id(found[0])

    def with_id(self, row_id: int | None) -> Any:
        """Return the row with an id, None where there is none."""
        if row_id is None:
            return None
        key = self._keys.get(row_id)
        if key is not None:
            return self._rows[key]
        found = self._connection.execute(self._by_id, (row_id,)).fetchone()
        if found is None:
            return None
        row = self._table.load(found)
        return self._remember(tuple([getattr(row, column) for column in self._columns]), row)

    def add(self, *key: Any, **values: Any) -> Any:
        """Add a row, and return it."""
        row = self._table.row(id=self._next, **values)
        self._next += 1
        self._new[row.id] = row
        return self._remember(key, row)

    def change(self, row: Any) -> None:
        """Note that a row has changed."""
        if row.id not in self._new:
            self._changed[row.id] = row

    def change_partly(self, row: Any) -> None:
        """Note that a row has changed in nothing but the columns that change often."""
        if row.id not in self._new:
            self._partly[row.id] = row

    def touched(self) -> Iterable[Any]:
        """Return what is new or has changed."""
        return [*self._new.values(), *self._changed.values()]

    def write(self) -> None:
        """Write what is new and what has changed."""
        table, many = self._table, self._connection.executemany
        if self._new:
            many(table.insert, map(table.values, self._new.values()))
        if self._changed:
            many(table.update, map(table.changes, self._changed.values()))
        if self._partly and self._partial is not None:
            text, values = self._partial
            rows = [row for key, row in self._partly.items() if key not in self._changed]
            many(text, map(values, rows))
        for each in (self._new, self._changed, self._partly):
            each.clear()

    def trim(self) -> None:
        """Remember less, where it has become much."""
        while len(self._rows) > self._kept:
            _, row = self._rows.popitem(last=False)
            del self._keys[row.id]

    def _remember(self, key: tuple[Any, ...], row: Any) -> Any:
        self._rows[key] = row
        self._keys[row.id] = key
        return row


_TAGS = insert_sql("tags", ("key", "value", "session_id"), "INSERT OR IGNORE")
_MODELS = (
    insert_sql("session_models", ("model", "session_id", "calls"))
    + " ON CONFLICT (model, session_id) DO UPDATE SET calls = calls + excluded.calls"
)
_TOOLS = (
    insert_sql("session_tools", ("tool", "session_id", "calls", "errors"))
    + " ON CONFLICT (tool, session_id)"
    " DO UPDATE SET calls = calls + excluded.calls, errors = errors + excluded.errors"
)


class Work:
    """
    What one transaction does.

    Attributes:
        rev: The number of the commit that is being prepared.
        tags: Labels of sessions: key, value and session.
        models: Calls, by model and session.
        tools: Calls and failures, by tool and session.
        started: Events that are not written yet, by call and kind.
        finding_places: Groups and sessions of findings that are not written yet.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        key = connection.execute("SELECT value FROM meta WHERE name = 'key'").fetchone()[0]
        self.blobs = Blobs(connection, bytes.fromhex(key))
        self.histories = Histories(connection, self.blobs)
        self.rollups = Rollups(connection, ROLLUPS)
        self.rollups_of_all = Rollups(connection, ROLLUPS_OF_ALL)
        self.agents = Rows(connection, AGENTS, ("key",), 2000)
        self.sessions = Rows(connection, SESSIONS, ("public_id",), 3000)
        self.calls = Rows(connection, CALLS, ("exchange",), 3000, CALL_ANSWER)
        self.groups = Rows(connection, GROUPS, ("rule", "agent_id"), 1000)
        self._events: list[Any] = []
        self._texts: dict[int, str] = {}
        self._previews: list[tuple[str, int]] = []
        self._findings: list[Any] = []
        self.tags: set[tuple[str, str, int]] = set()
        self.models: dict[tuple[str, int], int] = {}
        self.tools: dict[tuple[str, int], list[int]] = {}
        self.started: dict[tuple[int, str], Any] = {}
        self.finding_places: set[tuple[int, int]] = set()
        self.rev = 0
        self._next_event = self._next_finding = 1
        self.forget()

    def forget(self) -> None:
        """Forget everything: the database was changed by others, or a transaction failed."""
        for part in self._parts():
            part.forget()
        self._clear()
        one = self.connection.execute
        self._next_event = one("SELECT coalesce(max(id), 0) + 1 FROM events").fetchone()[0]
        self._next_finding = one("SELECT coalesce(max(id), 0) + 1 FROM findings").fetchone()[0]
        self.rev = int(one("SELECT value FROM meta WHERE name = 'rev'").fetchone()[0]) + 1

    def event(self, **values: Any) -> Any:
        """Add an event; it may be changed until it is written."""
        row = EVENTS.row(id=self._next_event, **values)
        self._next_event += 1
        self._events.append(row)
        return row

    def finding(self, **values: Any) -> Any:
        """Add a finding."""
        row = FINDINGS.row(id=self._next_finding, **values)
        self._next_finding += 1
        self._findings.append(row)
        return row

    def preview(self, event_id: int, text: str) -> None:
        """Set the preview of an event that was written before."""
        self._previews.append((text, event_id))

    def text(self, event_id: int, words: str) -> None:
        """Make an event findable."""
        if words:
            self._texts[event_id] = words

    def write(self) -> None:
        """Write everything, with a new revision."""
        for session in self.sessions.touched():
            session.rev = self.rev
            latencies = session.calls_hist
            if latencies is not None:
                session.hist = latencies.to_bytes()
                session.p95_us = latencies.quantile(0.95) or 0
        for rows in (self.agents, self.groups):
            for row in rows.touched():
                row.rev = self.rev
        for part in self._parts():
            part.write()
        self._write_events()
        self._write_labels()
        text = "UPDATE meta SET value = ? WHERE name = 'rev'"
        self.connection.execute(text, (str(self.rev),))

    def done(self) -> None:
        """Take that all was committed."""
        self.rev += 1
        self._clear()
        for part in self._parts():
            part.trim()

    def _parts(self) -> tuple[Any, ...]:
        shared = (self.blobs, self.histories, self.rollups, self.rollups_of_all)
        return (*shared, self.agents, self.sessions, self.calls, self.groups)

    def _clear(self) -> None:
        pending: tuple[Any, ...] = (self._events, self._texts, self._previews, self._findings)
        told = (self.tags, self.models, self.tools, self.started, self.finding_places)
        for each in (*pending, *told):
            each.clear()

    def _write_events(self) -> None:
        many = self.connection.executemany
        if self._events:
            many(EVENTS.insert, map(EVENTS.values, self._events))
        if self._previews:
            many("UPDATE events SET preview = ? WHERE id = ?", self._previews)
        if self._texts:
            many("INSERT OR IGNORE INTO texts (id, words) VALUES (?, ?)", self._texts.items())
            many("INSERT INTO fts (rowid, words) VALUES (?, ?)", self._texts.items())
        if self._findings:
            many(FINDINGS.insert, map(FINDINGS.values, self._findings))

    def _write_labels(self) -> None:
        many = self.connection.executemany
        if self.tags:
            many(_TAGS, self.tags)
        if self.models:
            many(_MODELS, [(*key, calls) for key, calls in self.models.items()])
        if self.tools:
            many(_TOOLS, [(*key, *counts) for key, counts in self.tools.items()])
