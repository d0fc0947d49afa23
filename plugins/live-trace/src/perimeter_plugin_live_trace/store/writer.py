"""
The one thread that writes.

Records come in batches, and each batch is one transaction. What is wrong with a record is that
record's own trouble; what is wrong with the disk is told, and as soon as that is mended it goes on.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import attrs

from perimeter.dialects import Dialect
from perimeter_plugin_live_trace.records import Answered, Happened, Record
from perimeter_plugin_live_trace.store import tidying
from perimeter_plugin_live_trace.store.errors import StoreError
from perimeter_plugin_live_trace.store.histogram import Histogram
from perimeter_plugin_live_trace.store.known import built_in
from perimeter_plugin_live_trace.store.opened import Opened
from perimeter_plugin_live_trace.store.opening import Database
from perimeter_plugin_live_trace.store.transaction import Transaction
from perimeter_plugin_live_trace.store.trouble import MENDABLE, Condition, about_disk, condition


T = TypeVar("T")

_log = logging.getLogger(__name__)
_RETRY = 1.0
"""Seconds until the database is opened again after trouble."""


class Writer:
    """
    Writes what happens. All methods are to be called in one thread.

    Attributes:
        database: The database.
        state: How it is doing: `open`, or what is wrong.
        problem: The same for people; "" while nothing is to be said.
        taken: Records that were written.
        lost: Records that could not be written, and never will be, for what is wrong with the file.
        skipped: Records that made no sense.
        lag: Age of the newest batch when it was committed, in seconds: that of its oldest record.
        ages: The ages of all batches.
        took: Seconds that the newest transaction with records took, its commit included.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        dialects: Mapping[str, Dialect] | None = None,
    ) -> None:
        """
        Open the database for writing.

        Args:
            database: The database.
            clock: Unix time.
            dialects: Those that bodies are in, by name.

        Raises:
            StoreError: It can't be used.
        """
        self.database = database
        self.state: Condition = "open"
        self.problem = ""
        self.taken = self.lost = self.skipped = 0
        self.lag = self.took = 0.0
        self.ages = Histogram()
        self._clock = clock
        self._dialects = built_in() if dialects is None else dialects
        self._retry_at = 0.0
        self._opened: Opened | None = None
        try:
            self._opened = Opened(database, clock, self._dialects, interrupt=True)
        except (sqlite3.Error, OSError) as error:
            message = f"can't write to the database {database.path}: {error}"
            raise StoreError(message) from error

    # -- records

    def take(self, records: Sequence[Record]) -> bool:
        """
        Write records, in one transaction. Never fails; see `state`.

        Returns:
            False where there is trouble with the disk that may be mended: come again with them.
        """
        opened = self._ready()
        if opened is None:
            return False
        try:
            self._write(opened, records)
        except (sqlite3.Error, OSError) as error:
            self._trouble(error)
            if self.state in MENDABLE:
                return False
            self.lost += len(records)
            return True
        self._mended()
        return True

    def _write(self, opened: Opened, records: Sequence[Record]) -> None:
        """Write records; those apart that can't be written together."""
        began = time.perf_counter()
        try:
            opened.transact(lambda: opened.apply(records))
        except Exception as error:
            if about_disk(error):
                raise
            self._apart(opened, records, error)
        else:
            self.taken += len(records)
            self.took = time.perf_counter() - began
            self._note_lag(records)

    def _apart(self, opened: Opened, records: Sequence[Record], error: Exception) -> None:
        if len(records) > 1:
            half = len(records) // 2
            self._write(opened, records[:half])
            self._write(opened, records[half:])
            return
        self.skipped += len(records)
        for record in records:
            kind, name = type(record).__name__, type(error).__name__
            _log.warning("a record can't be stored: %s, %s", kind, name, exc_info=error)

    def flush(self) -> None:
        """Write what waits for events that may never come."""
        opened = self._ready()
        if opened is None:
            return
        try:
            opened.transact(lambda: opened.calls.overdue(everything=True))
        except (sqlite3.Error, OSError) as error:
            self._trouble(error)

    def _note_lag(self, records: Sequence[Record]) -> None:
        # An `Asked` has the time at which its request began to come in.
        told = [record.at for record in records if isinstance(record, Happened | Answered)]
        if told:
            self.lag = max(0.0, self._clock() - min(told))
            self.ages.add(int(self.lag * 1_000_000))

    # -- changes by people

    def change(self, what: Callable[[Transaction], T]) -> T:
        """
        Make a change in a transaction of its own.

        Args:
            what: Makes it, see `changes`.

        Raises:
            StoreError: The database can't be written to now.
        """
        opened = self._ready()
        if opened is None:
            raise StoreError(self.problem)
        try:
            return self._change(opened, what)
        except (sqlite3.Error, OSError) as error:
            if about_disk(error):
                self._trouble(error)
            message = f"the database can't be changed: {error}"
            raise StoreError(message) from error

    def _change(self, opened: Opened, what: Callable[[Transaction], T]) -> T:
        work, now_us = opened.work, int(self._clock() * 1_000_000)
        change = Transaction(work.connection, work.rev, now_us)
        changed = opened.transact(lambda: what(change))
        work.forget()  # rows in memory may differ from those in the database now
        return changed

    def tidy(self, limits: tidying.Limits) -> tidying.Tidied:
        """
        Delete what is too old or too much, a part of it at a time.

        Returns:
            What was deleted; call again while there is more. Nothing where there is trouble.
        """
        opened = self._ready()
        if opened is None:
            return tidying.Tidied()
        try:
            opened.transact(opened.calls.overdue)
            tidied = self._change(opened, lambda change: tidying.tidy(change, limits))
            more = tidying.give_back(opened.work.connection, last=not tidied.more)
        except (sqlite3.Error, OSError) as error:
            self._trouble(error)
            return tidying.Tidied()
        return attrs.evolve(tidied, more=tidied.more or more)

    def close(self) -> None:
        """Write what is left, and close the database."""
        if self._opened is not None:
            self.flush()
        self._close()

    # -- the database's condition

    def _ready(self) -> Opened | None:
        """Return the database if it is open, and still where it was, or can be opened again."""
        if self._opened is not None:
            if self._opened.in_place():
                return self._opened
            _log.error("the database %s was deleted; a new one is begun", self.database.path)
            self._close()
            self.state, self.problem = "gone", "the database file was deleted while running"
        return self._reopened() if time.monotonic() >= self._retry_at else None

    def _reopened(self) -> Opened | None:
        gone = self.state == "gone"
        try:
            Database.open(self.database.path)
            self._opened = Opened(self.database, self._clock, self._dialects, interrupt=False)
        except (sqlite3.Error, StoreError, OSError) as error:
            self._retry_at = time.monotonic() + _RETRY
            if not gone:
                self.problem = str(error)
            return None
        if gone:
            self.state = "open"
            self.problem = "the database file was deleted while running; this is a new one"
        return self._opened

    def _trouble(self, error: Exception) -> None:
        """Note what is wrong, and close the database until it is tried again."""
        before = self.state
        self.state, self.problem = condition(error)
        if before != self.state:
            fate = "stored later" if self.state in MENDABLE else "not kept"
            _log.error("%s (%s); what happens now is %s", self.problem, error, fate)
        self._retry_at = time.monotonic() + (0.0 if self.state == "busy" else _RETRY)
        self._close()

    def _close(self) -> None:
        if self._opened is not None:
            try:
                self._opened.close()
            except sqlite3.Error as error:
                _log.warning("the database could not be closed: %s", error)
            self._opened = None

    def _mended(self) -> None:
        if self.state != "open":
            _log.warning("the database can be written to again")
            self.state, self.problem = "open", ""
