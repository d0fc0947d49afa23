"""
The file in which sessions outlive a restart.

It has one owner, the process that opened it last: two that write would mix up their numbers. Who
lost it to another one goes on in memory, and takes it back when that one has let go of it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from perimeter.errors import ConfigError, Problem


MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE secret (key BLOB NOT NULL)",
        "CREATE TABLE owner (token TEXT NOT NULL)",
        "INSERT INTO owner VALUES ('')",
        """CREATE TABLE sessions (
            number INTEGER PRIMARY KEY,
            last_at REAL NOT NULL,
            ended INTEGER NOT NULL,
            state BLOB NOT NULL
        )""",
        "CREATE INDEX sessions_by_time ON sessions (last_at)",
    ),
)
"""What leads from each version of the schema to the next one; the first makes version 1."""

_TAKEN = "another process keeps its sessions there"
_VERSION_TABLE = "perimeter_sessions_version"

Row = tuple[int, float, bool, bytes]
"""Number, Unix time of the last activity, whether it is over, packed state."""


class Unusable(sqlite3.DatabaseError):
    """The file can't be used, or not any more, though SQLite itself has nothing against it."""


@attrs.define(eq=False)
class SessionFile:
    """
    A database of sessions. Used by one thread at a time.

    Attributes:
        path: Where it is.
        token: Of this owner, unlike any other one's.
        is_ours: Whether this owner writes to it.
        taken: Whether another owner has taken it since it was ours.
    """

    path: Path
    token: str = attrs.field(factory=lambda: os.urandom(8).hex())
    is_ours: bool = False
    taken: bool = False
    _connection: sqlite3.Connection | None = None
    _inode: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it is open, and still the file that others would find under its name."""
        if self._connection is None:
            return False
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def open(self, patience: float) -> None:
        """
        Open the file; make it, and its folder, where there is none.

        Args:
            patience: Seconds to wait where another process has locked it.

        Raises:
            ConfigError: A newer version of Perimeter made it.
            OSError: It can't be made.
            sqlite3.Error: It can't be read.
        """
        self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        # The thread that opens it first is another one than the one that writes.
        connection = sqlite3.connect(
            self.path, timeout=patience, isolation_level=None, check_same_thread=False
        )
        self._connection = connection
        self._inode = self.path.stat().st_ino
        try:
            version = _version(connection)
        except sqlite3.Error:
            self.close()
            raise
        if version > len(MIGRATIONS):
            self.close()
            message = f"it has version {version}, and this is for versions up to {len(MIGRATIONS)}"
            raise ConfigError(
                [Problem(f"a newer Perimeter made this file: {message}", str(self.path))]
            )

    def claim(self, secret: bytes) -> bytes:
        """
        Become the owner, and bring the file up to date; who came later is not disturbed.

        Args:
            secret: What keys are made with, b"" if that of the file is good. Where the file has
                another one, its sessions are of no use and go.

        Returns:
            The file's secret.
        """
        connection = self._opened()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            _migrate(connection)
            [(owner,)] = connection.execute("SELECT token FROM owner")
            if self.taken and owner not in {"", self.token}:
                raise Unusable(_TAKEN)
            connection.execute("UPDATE owner SET token = ?", (self.token,))
            kept = self.secret()
            if secret and kept != secret:
                connection.execute("DELETE FROM secret")
                kept = b""
            if not kept:
                kept = secret or os.urandom(32)
                connection.execute("INSERT INTO secret VALUES (?)", (kept,))
            if secret:
                connection.execute("DELETE FROM sessions")  # those in memory are the newer ones
        self.is_ours, self.taken = True, False
        return kept

    def secret(self) -> bytes:
        """Return what keys were made with, b"" where nothing has been kept."""
        connection = self._opened()
        if not _version(connection):
            return b""
        row = connection.execute("SELECT key FROM secret").fetchone()
        return bytes(row[0]) if row else b""

    def load(self, most: int, since: float) -> tuple[list[bytes], set[int]]:
        """
        Return the sessions that are of use, and the numbers of all.

        Args:
            most: So many of the newest.
            since: Those that were quiet since then are of use only if they have not ended.

        Returns:
            States, the one that was quiet for longest first, and numbers.
        """
        connection = self._opened()
        if not _version(connection):
            return [], set()
        found = connection.execute(
            "SELECT state FROM sessions WHERE last_at > ? OR NOT ended"
            " ORDER BY last_at DESC LIMIT ?",
            (since, most),
        )
        states = [state for (state,) in found]
        numbers = {number for (number,) in connection.execute("SELECT number FROM sessions")}
        return states[::-1], numbers

    def write(self, rows: Iterable[Row], gone: Iterable[int]) -> None:
        """
        Write a batch, all of it or nothing.

        Raises:
            OSError: It can't be written.
            sqlite3.Error: The same; or another process owns the file.
        """
        connection = self._opened()
        with self._transaction():
            if connection.execute("SELECT token FROM owner").fetchone() != (self.token,):
                self.is_ours, self.taken = False, True
                raise Unusable(_TAKEN)
            connection.executemany("DELETE FROM sessions WHERE number = ?", ((n,) for n in gone))
            connection.executemany("REPLACE INTO sessions VALUES (?, ?, ?, ?)", rows)

    def release(self) -> None:
        """Leave the file to others."""
        try:
            if self.is_ours and self.is_open:
                self._opened().execute("UPDATE owner SET token = '' WHERE token = ?", (self.token,))
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; it can be opened again."""
        connection, self._connection = self._connection, None
        self.is_ours = False
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unusable("the file is not open")
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _version(connection: sqlite3.Connection) -> int:
    """Return the schema's version, 0 for a new file."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    tables = {name for (name,) in found}
    if not tables:
        return 0
    if _VERSION_TABLE not in tables:
        raise Unusable("it is a database of something else")
    row = connection.execute(f"SELECT version FROM {_VERSION_TABLE}").fetchone()  # noqa: S608
    return int(row[0]) if row else 0


def _migrate(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if not version:
        connection.execute(f"CREATE TABLE {_VERSION_TABLE} (version INTEGER NOT NULL)")
        connection.execute(f"INSERT INTO {_VERSION_TABLE} VALUES (0)")  # noqa: S608
    for step in MIGRATIONS[version:]:
        for statement in step:
            connection.execute(statement)
    if version < len(MIGRATIONS):
        connection.execute(f"UPDATE {_VERSION_TABLE} SET version = ?", (len(MIGRATIONS),))  # noqa: S608
