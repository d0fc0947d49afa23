"""Reading the database, from any thread, never for long."""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from collections import deque, namedtuple
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import peewee

from perimeter_plugin_live_trace.store import bodies
from perimeter_plugin_live_trace.store.errors import Busy, StoreError, TooSlow
from perimeter_plugin_live_trace.store.known import Known


LIMIT = 1.0
"""Seconds that a statement may take."""

_IDLE = 8
"""Connections that are kept."""
_STEPS = 5000
"""Instructions of SQLite between two looks at the clock: about a third of a millisecond."""

_CHAIN = """
    WITH RECURSIVE up (id, parent_id, depth, blob_id) AS (
        SELECT id, parent_id, depth, blob_id FROM nodes WHERE id = :node
        UNION ALL
        SELECT nodes.id, nodes.parent_id, nodes.depth, nodes.blob_id
        FROM up JOIN nodes ON nodes.id = up.parent_id WHERE nodes.depth > :skip
    )
    SELECT blobs.codec, blobs.data FROM up JOIN blobs ON blobs.id = up.blob_id
    WHERE depth > :skip AND depth <= :skip + :limit ORDER BY depth
"""

Query = peewee.BaseQuery
_namedtuple: Callable[..., Any] = namedtuple  # noqa: PYI024 - columns are known at run time only
_sql: Callable[[], Any] = peewee.SqliteDatabase(None).get_sql_context


class Reader:
    """
    Reads the database. Any thread may use it at any time.

    A file that was put in the place of the one that was opened is noticed.

    Attributes:
        path: The file.
        known: What there is to know of calls beside their rows.
    """

    def __init__(self, path: Path, limit: float = LIMIT, known: Known | None = None) -> None:
        self.path = path
        self.known = known or Known()
        self._limit = limit
        self._idle: deque[_Connection] = deque()
        self._watch: _Connection | None = None
        self._lock = Lock()

    def rows(self, query: Query) -> list[Any]:
        """
        Return what a query finds, as named tuples.

        Raises:
            TooSlow: It took longer than a second.
            StoreError: It can't be read.
        """
        text, params = _sql().sql(query).query()
        with self._connection() as connection:
            cursor = connection.execute(text, params)
            make = _row(tuple([column[0] for column in cursor.description]))
            return list(map(make, cursor))

    def one(self, query: Query) -> Any | None:
        """Return the first row that a query finds, or None."""
        found = self.rows(query)
        return found[0] if found else None

    def value(self, query: Query, default: Any = None) -> Any:
        """Return the first column of the first row that a query finds, or the default."""
        found = self.one(query)
        return default if found is None else found[0]

    def sql(self, text: str, params: Sequence[object] | dict[str, object] = ()) -> list[Any]:
        """Return what a statement of SQL finds, as tuples."""
        with self._connection() as connection:
            return connection.execute(text, params).fetchall()

    def rev(self) -> int:
        """Return the number of the newest commit."""
        found = self.sql("SELECT value FROM meta WHERE name = 'rev'")
        return int(found[0][0]) if found else 0

    def data_version(self) -> int:
        """Return a number that is another one after somebody has changed the database."""
        with self._lock:
            if self._watch is None or not self._watch.current():
                if self._watch is not None:
                    self._watch.close()
                self._watch = None
                with _plainly():
                    self._watch = _Connection(self.path)
            watch = self._watch
            with _plainly():
                number: int = watch.execute("PRAGMA data_version").fetchone()[0]
            # Another file may count like the one before it did.
            return number + (watch.inode << 32)

    def blob(self, blob_id: int | None) -> bytes:
        """Return the bytes of a blob; b"" for None, and where it is gone."""
        if blob_id is None:
            return b""
        found = self.sql("SELECT codec, data FROM blobs WHERE id = ?", (blob_id,))
        return _unpacked(*found[0]) if found else b""

    def messages(self, node_id: int | None, *, skip: int = 0, limit: int = 200) -> list[bytes]:
        """
        Return messages of a history as JSON, the oldest first.

        Args:
            node_id: The last one, see `Node`; None for no history.
            skip: How many of the first to leave out.
            limit: How many to return at most.
        """
        if node_id is None or limit <= 0:
            return []
        found = self.sql(_CHAIN, {"node": node_id, "skip": max(0, skip), "limit": limit})
        return [_unpacked(codec, data) for codec, data in found]

    def body(self, call: Any, *, only_new: bool = False) -> bytes:
        """
        Return the body of a request, put together again; as JSON it equals what was sent.

        Args:
            call: A row of `Call`, with the columns `envelope_blob`, `list_key`, `node_id`,
                `messages` and `carried`.
            only_new: Leave out the messages that the call before it had sent, too.
        """
        envelope = self.blob(call.envelope_blob)
        if not call.list_key:
            return envelope
        skip = call.carried if only_new else 0
        items = self.messages(call.node_id, skip=skip, limit=max(1, call.messages - skip))
        return bodies.join(envelope, call.list_key, items)

    def size(self) -> int:
        """Return the bytes on disk, of the file and its write-ahead log."""
        total = 0
        for name in (self.path, self.path.with_name(self.path.name + "-wal")):
            try:
                total += name.stat().st_size
            except OSError:
                continue
        return total

    def close(self) -> None:
        """Close all connections; later reads open new ones."""
        with self._lock:
            connections = [*self._idle, *([self._watch] if self._watch else [])]
            self._idle.clear()
            self._watch = None
        for connection in connections:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        with _plainly():
            connection = self._take()
            try:
                connection.deadline = time.monotonic() + self._limit
                yield connection
            finally:
                self._give_back(connection)

    def _take(self) -> _Connection:
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return _Connection(self.path)
            if connection.current():
                return connection
            connection.close()

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """A connection that reads, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self.deadline = 0.0
        self._path = path
        self.inode = path.stat().st_ino
        self._connection = sqlite3.connect(
            path.as_uri() + "?mode=ro",
            uri=True,
            timeout=LIMIT,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.execute("PRAGMA query_only = 1")
        self._connection.execute("PRAGMA cache_size = -4000")
        self._connection.set_progress_handler(self._over, _STEPS)
        self.execute: Callable[..., sqlite3.Cursor] = self._connection.execute

    def current(self) -> bool:
        """Whether the file that it reads is still the one at that place."""
        try:
            return self._path.stat().st_ino == self.inode
        except OSError:
            return False

    def close(self) -> None:
        self._connection.close()

    def _over(self) -> bool:
        return bool(self.deadline) and time.monotonic() > self.deadline


@contextmanager
def _plainly() -> Iterator[None]:
    """Turn errors of SQLite into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            message = "the query took too long"
            raise TooSlow(message) from error
        if "locked" in str(error) or "busy" in str(error):
            message = "the database is busy"
            raise Busy(message) from error
        message = f"the database can't be read: {error}"
        raise StoreError(message) from error
    except sqlite3.DatabaseError as error:
        message = f"the database can't be read: {error}"
        raise StoreError(message) from error
    except OSError as error:
        message = f"the database is gone: {os.strerror(error.errno or 0)}"
        raise StoreError(message) from error


@lru_cache(maxsize=512)
def _row(columns: tuple[str, ...]) -> Callable[[Sequence[object]], Any]:
    """Return what makes rows with these columns."""
    made: Any = _namedtuple("Row", columns, rename=True)
    make: Callable[[Sequence[object]], Any] = made._make
    return make


def _unpacked(codec: str, data: bytes) -> bytes:
    return zlib.decompress(data) if codec == "zlib" else data
