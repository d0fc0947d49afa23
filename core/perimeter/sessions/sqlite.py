"""Sessions that outlive a restart: memory decides, and a file follows behind."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from perimeter.errors import ConfigError
from perimeter.sessions.evidence import Ended, Ending, Evidence, Reply, Resolution
from perimeter.sessions.memory import Limits
from perimeter.sessions.records import Record
from perimeter.sessions.snapshot import SharedStore
from perimeter.sessions.sqlite_file import Row, SessionFile


log = logging.getLogger("perimeter.sessions")

PERIOD = 0.5
"""Seconds between two batches: so much is lost at most when the process is killed."""
LONGEST = 30.0
"""Seconds between two tries at most, while the file can't be written."""
PATIENCE = 1.0
"""Seconds to wait for another process's lock: at the start, and in the thread that writes."""
GOODBYE = 5.0
"""Seconds that a slow disk has at the end."""

_FAILURES = (sqlite3.Error, OSError, ConfigError)


class SQLiteStore(SharedStore):
    """
    Keeps sessions in memory, and writes those that changed to a file behind it.

    A thread of its own writes. What waits for it is the numbers of sessions, so that a slow disk
    costs no memory; nothing ever waits for it. Whatever is wrong with the file, calls go on.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float], path: Path) -> None:
        """
        Take up the sessions of the last time.

        Args:
            limits: What is kept.
            clock: Tells Unix time, seconds.
            path: The file.

        Raises:
            ConfigError: A newer version of Perimeter made the file.
        """
        self._lock = threading.RLock()  # held while a session changes or is packed, never for I/O
        self._dirty: set[int] = set()
        self._gone: set[int] = set()
        self._written: set[int] = set()
        self._stopping = threading.Event()
        self._writer: threading.Thread | None = None
        self._failing = False
        self._file = SessionFile(path)
        secret, states, numbers = self._take_up(limits, clock())
        super().__init__(limits, clock, secret)
        self._written = numbers
        self._gone = numbers - self.restore(states, max(numbers, default=0))

    def _take_up(self, limits: Limits, now: float) -> tuple[bytes, Sequence[bytes], set[int]]:
        """Return the file's secret, states and numbers; nothing of all where it can't be read."""
        try:
            self._file.open(PATIENCE)
            try:
                secret = self._file.claim(b"")
            except (sqlite3.Error, OSError) as error:
                self._failed(error)
                secret = self._file.secret()
            if not secret:
                return b"", (), set()
            states, numbers = self._file.load(limits.max_sessions, now - limits.ttl)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            self._file.close()
            return b"", (), set()
        return secret, states, numbers

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    # -- what the loop calls

    def resolve(self, evidence: Evidence, writes: Sequence[Reply]) -> Resolution:
        """Take what became of earlier calls, then place this one."""
        with self._lock:
            return super().resolve(evidence, writes)

    def write(self, replies: Sequence[Reply]) -> None:
        """Take what became of calls."""
        with self._lock:
            super().write(replies)

    def sweep(self) -> Sequence[Ended]:
        """Return the sessions that ended since the last time."""
        with self._lock:
            return super().sweep()

    def learn(self, number: int, words: Iterable[int]) -> None:
        """Keep keys of what was said in a session."""
        with self._lock:
            super().learn(number, words)
            self._mark(number)

    def end_all(self) -> Sequence[Ended]:
        """End all sessions; the store goes on."""
        with self._lock:
            return super().end_all()

    async def close(self) -> Sequence[Ended]:
        """End all sessions, and write what has not been written; waits for that, not for ever."""
        ended = self.end_all()
        self._stopping.set()
        await asyncio.to_thread(self._finish)
        return ended

    def _finish(self) -> None:
        if self._writer is None:
            self._file.release()
            return
        self._writer.join(GOODBYE)
        if self._writer.is_alive():
            log.warning("the newest sessions could not be kept in time")

    # -- what changes

    def _touch(self, record: Record) -> None:
        super()._touch(record)
        self._mark(record.number)

    def _end(self, record: Record, reason: Ending) -> None:
        super()._end(record, reason)
        self._mark(record.number)

    def _forget(self, record: Record, reason: Ending) -> None:
        super()._forget(record, reason)
        self._dirty.discard(record.number)
        if record.number in self._written:
            self._gone.add(record.number)

    def _mark(self, number: int) -> None:
        self._dirty.add(number)
        if self._writer is None and not self._stopping.is_set():
            self._writer = threading.Thread(target=self._follow, name="sessions", daemon=True)
            self._writer.start()

    # -- what the thread does

    def _follow(self) -> None:
        """Write a batch every now and then, the last one when the store is closed."""
        pause = PERIOD
        while not self._stopping.wait(pause):
            pause = PERIOD if self._flush() else min(2 * pause, LONGEST)
        self._flush()
        try:
            self._file.release()
        except sqlite3.Error as error:
            self._failed(error)

    def _flush(self) -> bool:
        """Write what changed; return whether that could be done."""
        dirty, gone = self._take()
        if not (dirty or gone):
            return True
        packed: set[int] = set()
        try:
            if self._prepare():
                dirty, gone = self._take()
            self._file.write(self._rows(dirty, packed), gone)
        except Exception as error:  # noqa: BLE001 - logged, and tried again
            self._failed(error)
            with self._lock:
                self._dirty.update(dirty.intersection(self._records))
                self._gone |= gone
            return False
        with self._lock:
            self._written = (self._written - gone) | packed
            self._gone |= packed - self._records.keys()
        if self._failing:
            self._failing = False
            log.info("sessions are kept in %s again", self._file.path)
        return True

    def _take(self) -> tuple[set[int], set[int]]:
        with self._lock:
            dirty, self._dirty = self._dirty, set()
            gone, self._gone = self._gone, set()
        return dirty, gone

    def _prepare(self) -> bool:
        """Open the file if need be; return whether all has to be written anew."""
        if not self._file.is_open:
            self._file.open(PATIENCE)
        if self._file.is_ours:
            return False
        self._file.claim(self.secret)
        with self._lock:
            self._dirty = set(self._records)
            self._gone, self._written = set(), set()
        return True

    def _rows(self, numbers: Iterable[int], packed: set[int]) -> Iterator[Row]:
        """Pack sessions one at a time, while SQLite asks for them; add their numbers to a set."""
        for number in numbers:
            with self._lock:
                found = self.pack(number)
            if found is not None:
                packed.add(number)
                record, state = found
                yield number, record.last_at, record.ended, state

    def _failed(self, error: Exception) -> None:
        """Log the first failure of a row."""
        if not self._failing:
            self._failing = True
            unexpected = None if isinstance(error, _FAILURES) else error
            text = "sessions can't be kept in %s, and go on in memory: %s"
            log.warning(text, self._file.path, error, exc_info=unexpected)
