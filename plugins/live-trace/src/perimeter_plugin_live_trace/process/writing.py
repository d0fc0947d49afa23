"""The thread that writes, and everything that is done in it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import attrs

from perimeter_plugin_live_trace.records import Record
from perimeter_plugin_live_trace.store import Limits, Tidied, Writer
from perimeter_plugin_live_trace.web.site import Ingest


T = TypeVar("T")

GATHER_SECONDS = 0.025
"""
How long records wait for others to be committed with.

They have waited in the proxy before; that leaves half of a tenth of a second to write them.
"""
MOST_TOGETHER = 2000
"""Records in one transaction."""
RETRY_SECONDS = 0.25
"""Until what could not be stored is tried again."""
TIDY_SECONDS = 60.0
CHANGE_SECONDS = 10.0
"""What a person waits for a change at most."""

log = logging.getLogger("perimeter.live_trace")


@attrs.frozen(eq=False)
class Batch:
    """
    Records of one frame.

    Attributes:
        records: The records.
        done: Called, in the thread, once they are committed.
    """

    records: Sequence[Record]
    done: Callable[[], None] = lambda: None


@attrs.frozen(eq=False)
class Change:
    """A change by a person, and where its result goes."""

    what: Callable[..., Any]
    result: Future[Any]


@attrs.define(eq=False)
class WritingThread:
    """
    Runs a `Writer` in a thread of its own.

    Attributes:
        writer: Made in this thread's owner, used in the thread only.
        limits: What is kept.
        ingest: Shown on the health page; kept up to date.
        clock: Says how much time has gone by.
    """

    writer: Writer
    limits: Limits
    ingest: Ingest
    clock: Callable[[], float] = time.monotonic
    _jobs: queue.SimpleQueue[Batch | Change | None] = attrs.field(factory=queue.SimpleQueue)
    _thread: threading.Thread = attrs.field(init=False)
    _tidy_at: float = 0.0
    _held: list[Batch] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Have records written; from any thread."""
        self._jobs.put(batch)

    def change(self, what: Callable[..., T]) -> T:
        """
        Make a change of a person, and wait until it is made; from any other thread.

        Raises:
            StoreError: The database can't be changed now.
            TimeoutError: It takes too long.
        """
        result: Future[T] = Future()
        self._jobs.put(Change(what, result))
        return result.result(CHANGE_SECONDS)

    def stop(self, seconds: float) -> None:
        """Write what is there, and close the database."""
        self._jobs.put(None)
        self._thread.join(seconds)

    # -- in the thread

    def _run(self) -> None:
        ended = False
        while not ended:
            batches, changes, ended = self._next()
            self._held += batches
            self._write()
            for change in changes:
                self._change(change)
            self._tidy()
        if self._held:
            count = sum(len(batch.records) for batch in self._held)
            log.error("%d records could not be stored: %s", count, self.writer.problem)
        self.writer.close()

    def _next(self) -> tuple[list[Batch], list[Change], bool]:
        """Wait for something to do, and a little for more of it."""
        batches: list[Batch] = []
        changes: list[Change] = []
        until = None
        total = 0
        while total < MOST_TOGETHER:
            patience = self._patience() if until is None else until - self.clock()
            try:
                job = self._jobs.get(timeout=max(0.0, patience))
            except queue.Empty:
                break
            if job is None:
                return batches, changes, True
            if isinstance(job, Change):
                changes.append(job)
                break
            batches.append(job)
            total += len(job.records)
            until = until or self.clock() + GATHER_SECONDS
        return batches, changes, False

    def _patience(self) -> float:
        return RETRY_SECONDS if self._held else TIDY_SECONDS

    def _write(self) -> None:
        """
        Store what has come.

        While that is not possible it is held here, and soon the sockets are read no more; then it
        waits in the workers, as far as they have room.
        """
        while self._held:
            together = self._together()
            stored = self._take([record for batch in together for record in batch.records])
            self._show()
            if not stored:
                return
            del self._held[: len(together)]
            for batch in together:
                batch.done()

    def _together(self) -> list[Batch]:
        """Return the oldest batches, as many as are stored in one transaction."""
        total, together = 0, []
        for batch in self._held:
            together.append(batch)
            total += len(batch.records)
            if total >= MOST_TOGETHER:
                break
        return together

    def _take(self, records: list[Record]) -> bool:
        try:
            return self.writer.take(records)
        except Exception:  # a defect there must not end the thread
            log.exception("%d records are lost", len(records))
            return True

    def _change(self, change: Change) -> None:
        if not change.result.set_running_or_notify_cancel():
            return
        try:
            change.result.set_result(self.writer.change(change.what))
        except BaseException as error:  # noqa: BLE001 - it is for who asked
            change.result.set_exception(error)

    def _tidy(self) -> None:
        """Delete what is too old, a part at a time, so that records never wait long."""
        now = self.clock()
        if now < self._tidy_at:
            return
        try:
            done = self.writer.tidy(self.limits)
        except Exception:  # a defect there must not end the thread
            log.exception("old sessions could not be deleted")
            done = Tidied()
        wait = GATHER_SECONDS if done.more else TIDY_SECONDS
        self._tidy_at = now + wait
        if self.limits != Limits():
            self.ingest.retention.ran(int(time.time() * 1e6), done.sessions, int(wait * 1e6))
        self._show()

    def _show(self) -> None:
        with contextlib.suppress(AttributeError):
            self.ingest.state = self.writer.state
            self.ingest.problem = self.writer.problem
            self.ingest.unwritten = self.writer.lost + self.writer.skipped
            self.ingest.lag_us = int(self.writer.lag * 1_000_000)
            self.ingest.ages = self.writer.ages
            self.ingest.commit_us = int(self.writer.took * 1_000_000)
