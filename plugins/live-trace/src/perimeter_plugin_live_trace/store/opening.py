"""Opening the database file: who may read it, which version it has, and in which mode it works."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import attrs

from perimeter_plugin_live_trace.store import schema
from perimeter_plugin_live_trace.store.errors import StoreError
from perimeter_plugin_live_trace.store.known import Known
from perimeter_plugin_live_trace.store.migrations import MIGRATIONS, Migration
from perimeter_plugin_live_trace.store.reader import Reader


_WAIT = 2.0
"""Seconds that a writer waits for another one."""

_SETTINGS = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -8000;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA secure_delete = FAST;
"""


@attrs.frozen
class Database:
    """
    A database of live trace.

    Attributes:
        path: The file.
    """

    path: Path

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        migrations: tuple[Migration, ...] = MIGRATIONS,
    ) -> Database:
        """
        Open a database, made anew or brought up to this version where that is needed.

        Args:
            path: The file. It is readable by its owner only, and so is its folder if that is made.
            create: Whether to make it where there is none.
            migrations: Steps from older versions.

        Raises:
            StoreError: It can't be used: newer, garbage, not readable or not writable.
        """
        database = cls(Path(path).absolute())
        try:
            database._prepare(create=create)
            connection = database.connect()
            try:
                if not schema.version_of(connection):
                    schema.create(connection)
                schema.migrate(connection, migrations)
            finally:
                connection.close()
            if stat.S_IMODE(database.path.stat().st_mode) != 0o600:
                database.path.chmod(0o600)  # only now it is known to be ours
        except (OSError, sqlite3.Error, StoreError) as error:
            message = f"can't use the database {database.path}: {_reason(error)}"
            raise StoreError(message) from error
        return database

    def connect(self) -> sqlite3.Connection:
        """
        Return a new connection that writes. Transactions are begun and ended by hand.

        Raises:
            sqlite3.Error: It can't be opened.
            StoreError: It is a database of something else.
        """
        name = self.path.as_uri() + "?mode=rw"  # never makes a file, whose mode would be wrong
        connection = sqlite3.connect(
            name, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        try:
            schema.version_of(connection)  # of a file that is not ours nothing may be changed
            # Only before the first table is made; without it freed space never leaves the file.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.executescript(_SETTINGS)
        except BaseException:
            connection.close()
            raise
        return connection

    def reader(self, known: Known | None = None) -> Reader:
        """
        Return what reads it.

        Args:
            known: What there is to know of calls; what is built in by default.
        """
        return Reader(self.path, known=known)

    def _prepare(self, *, create: bool) -> None:
        """Make the file where there is none, and see that nobody else can read it."""
        path = self.path
        if create and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.close(handle)
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            message = "it is no file"
            raise StoreError(message)
        if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
            message = "it is not writable, or its folder is not"
            raise StoreError(message)


def _reason(error: Exception) -> str:
    """Say what is wrong."""
    if isinstance(error, FileNotFoundError):
        return "there is none"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
        return "it is no SQLite database"
    return str(error)
