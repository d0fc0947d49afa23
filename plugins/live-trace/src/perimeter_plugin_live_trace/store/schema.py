"""
The schema's versions.

A new database gets the tables as `models` has them. An older one is brought up by the migrations
after its version, one after the other in one transaction. Where the models change, `VERSION` goes
up by one and a migration is added that does the same to a database full of data.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import peewee

from perimeter_plugin_live_trace.store.errors import StoreError
from perimeter_plugin_live_trace.store.migrations import MIGRATIONS, Migration
from perimeter_plugin_live_trace.store.models import TABLES


VERSION = 2
"""Of the schema that this program writes."""

APPLICATION_ID = 0x50724C54
"""Tells our databases from others (`PRAGMA application_id`)."""

_INDEX = """
    CREATE VIRTUAL TABLE fts USING fts5(
        words, content='texts', content_rowid='id', tokenize="unicode61 remove_diacritics 2"
    )
"""


def statements() -> Iterator[str]:
    """Yield the SQL that makes all tables."""
    unbound = peewee.SqliteDatabase(None)
    with unbound.bind_ctx(TABLES):
        for table in TABLES:
            # peewee has no public way to the SQL itself
            manager: Any = table._schema  # type: ignore[attr-defined]
            for query in (
                manager._create_table(safe=False),
                *manager._create_indexes(safe=False),
            ):
                yield query.query()[0]
    yield _INDEX


def create(connection: sqlite3.Connection) -> None:
    """Make all tables in an empty database."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        for statement in statements():
            connection.execute(statement)
        facts = {
            "version": str(VERSION),
            "key": secrets.token_hex(16),
            "rev": "0",
            "created_us": str(int(time.time() * 1_000_000)),
        }
        connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", facts.items())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def version_of(connection: sqlite3.Connection) -> int:
    """
    Return the version of a database, 0 for an empty one.

    Raises:
        StoreError: It is a database of something else.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return 0
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        return int(row[0])
    except (sqlite3.OperationalError, TypeError, ValueError) as error:
        if "locked" in str(error):
            raise
        message = "it is a SQLite database, but none of live trace"
        raise StoreError(message) from None


def migrate(connection: sqlite3.Connection, migrations: tuple[Migration, ...] = MIGRATIONS) -> None:
    """
    Bring a database up to the newest version, all of it or nothing.

    Raises:
        StoreError: It is of a newer version, or of something else.
    """
    newest = max([VERSION, *(each.version for each in migrations)])
    version = version_of(connection)
    if version > newest:
        message = (
            f"it has schema version {version}, and this program knows versions up to {newest}:"
            " it was written by a newer perimeter"
        )
        raise StoreError(message)
    if version == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        version = version_of(connection)  # another process may have done it meanwhile
        for step in migrations:
            if step.version > version:
                step.run(connection)
        connection.execute("UPDATE meta SET value = ? WHERE name = 'version'", (str(newest),))
