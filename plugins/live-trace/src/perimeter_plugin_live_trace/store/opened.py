"""A database that is open for writing, and what applies records to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from perimeter.dialects import Dialect
from perimeter_plugin_live_trace.records import Answered, Asked, Happened, Progress, Record
from perimeter_plugin_live_trace.store.calls import Calls
from perimeter_plugin_live_trace.store.happenings import Happenings
from perimeter_plugin_live_trace.store.opening import Database
from perimeter_plugin_live_trace.store.work import Work


T = TypeVar("T")

TRIES = 3
"""How often a transaction is begun while another process writes; each try waits for two seconds."""


class Opened:
    """
    A database that is open for writing.

    Attributes:
        work: What the transaction does that is under way.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        dialects: Mapping[str, Dialect],
        *,
        interrupt: bool,
    ) -> None:
        """
        Open it.

        Args:
            database: The database.
            clock: Unix time.
            dialects: By name.
            interrupt: Whether whoever wrote before is gone, and calls that were under way with it.

        Raises:
            sqlite3.Error: It can't be opened.
            OSError: The same.
        """
        self._path = database.path
        connection = database.connect()
        try:
            self._inode = database.path.stat().st_ino
            self.work = Work(connection)
            if interrupt:
                _interrupt(connection, self.work.rev)
                self.work.forget()
        except BaseException:
            connection.close()
            raise
        self.calls = Calls(self.work, clock, dialects)
        self._happenings = Happenings(self.work, self.calls, clock)
        self._applying: dict[type, Callable[[Any], None]] = {
            Asked: self.calls.request,
            Answered: self.calls.answer,
            Progress: self.calls.progress,
            Happened: self._happenings.take,
        }

    def apply(self, records: Sequence[Record]) -> None:
        """Apply records; those that tell how the proxy does are not kept."""
        for record in records:
            apply = self._applying.get(type(record))
            if apply is not None:
                apply(record)
        self.calls.overdue()

    def transact(self, what: Callable[[], T]) -> T:
        """Do something in a transaction; all of it is undone if it fails."""
        self._begin()
        self.calls.begin()
        try:
            result = what()
            self.work.write()
            self.work.connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self.work.done()
        self._happenings.done()
        return result

    def in_place(self) -> bool:
        """Whether the file is still there, and the same."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection."""
        self.work.connection.close()

    def _begin(self) -> None:
        for attempt in range(TRIES):
            try:
                self.work.connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == TRIES - 1:
                    raise
            else:
                return

    def _undo(self) -> None:
        try:
            if self.work.connection.in_transaction:
                self.work.connection.execute("ROLLBACK")
        finally:
            self.calls.forget()
            self._happenings.forget()
            self.work.forget()


_RUNNING = "(SELECT count(*) FROM calls WHERE calls.{} = {}.id AND state = 'running')"


def _interrupt(connection: sqlite3.Connection, rev: int) -> None:
    """Mark calls that were under way when the last writer ended: they will hardly be heard of."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        connection.execute(
            "UPDATE sessions SET running = 0, status = 'error', rev = ?,"  # noqa: S608 - our own
            f" errors = errors + {_RUNNING.format('session_id', 'sessions')}"
            " WHERE id IN (SELECT session_id FROM calls WHERE state = 'running')",
            (rev,),
        )
        connection.execute(
            f"UPDATE agents SET errors = errors + {_RUNNING.format('agent_id', 'agents')}"  # noqa: S608 - our own
            " WHERE id IN (SELECT agent_id FROM calls WHERE state = 'running')"
        )
        connection.execute(
            "UPDATE calls SET state = 'error', outcome = 'interrupted',"
            " error_type = 'interrupted', error = 'live trace was stopped meanwhile'"
            " WHERE state = 'running'"
        )
        connection.execute("UPDATE meta SET value = ? WHERE name = 'rev'", (str(rev),))
