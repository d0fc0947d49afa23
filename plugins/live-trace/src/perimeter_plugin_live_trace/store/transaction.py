"""What a change by people gets to work with."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import peewee


_sql: Callable[[], Any] = peewee.SqliteDatabase(None).get_sql_context


@attrs.frozen
class Transaction:
    """
    A transaction in which something is changed.

    Attributes:
        connection: The connection.
        rev: The number of this commit, for the rows that have one.
        now_us: The time.
    """

    connection: sqlite3.Connection
    rev: int
    now_us: int

    def run(self, query: peewee.BaseQuery) -> sqlite3.Cursor:
        """Run a query of peewee."""
        text, params = _sql().sql(query).query()
        return self.connection.execute(text, params)

    def sql(self, text: str, params: Sequence[object] | dict[str, object] = ()) -> sqlite3.Cursor:
        """Run a statement of SQL."""
        return self.connection.execute(text, params)

    def many(self, text: str, params: Iterable[Sequence[Any]]) -> None:
        """Run a statement of SQL for each of many rows."""
        self.connection.executemany(text, params)
