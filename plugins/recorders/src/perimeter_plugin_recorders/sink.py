"""From the event loop to the files: the bounded queue, thread and numbers of a recorder."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

import perimeter
from perimeter_plugin_recorders import lines
from perimeter_plugin_recorders.config import FileOptions
from perimeter_plugin_recorders.journal import Journal, JournalOptions
from perimeter_plugin_recorders.journal.trouble import Trouble


if TYPE_CHECKING:
    from perimeter import PluginContext, Worker

S = TypeVar("S")
Produce = Callable[[S], Iterable[Any]]
"""Makes the lines of something that was observed, in the recorder's thread."""

MOST_HELD = 64 * 1024 * 1024
"""Bytes of bodies and messages that may wait to be written."""

MOST_WAITING = 20_000
"""What may wait to be written; there is half as much room again for what must not be missing."""

BATCH = 256
TICK_SECONDS = 2.0
QUIET_SECONDS = 20.0
AT_ONCE = 0.0
"""Seconds that a record waits with `flush = "every-record"`."""


class Store(Protocol):
    """Where lines are kept: a journal, or what else a recorder writes."""

    @property
    def trouble(self) -> Trouble:
        """What becomes of it while nothing can be written."""

    def write(self, lines: Iterable[Any]) -> int:
        """Keep lines; return how many are kept."""

    def tick(self) -> None:
        """Do what is due."""

    def close(self) -> None:
        """Finish."""


@attrs.define(eq=False)
class Sink:
    """
    Takes what a recorder observes on the loop, and has a thread write it.

    Attributes:
        context: The plugin's.
        config: The plugin's options.
        store: Where lines go.
        most_held: Bytes that may wait to be written.
        lost: How many records were not taken because too much waited.
    """

    context: PluginContext
    config: FileOptions
    store: Store
    most_held: int = MOST_HELD
    lost: int = 0
    _worker: Worker[Any] = attrs.field(init=False)
    _ticking: asyncio.Task[None] | None = None
    _taken: int = 0
    _done: int = 0
    _stopping: bool = False
    _quiet_until: float = 0.0
    _count_written: Callable[[float], None] = attrs.field(init=False)
    _count_lost: Callable[[float], None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        metrics = self.context.metrics
        self._count_written = metrics.counter("records_written", "Records in files.").inc
        self._count_lost = metrics.counter(
            "records_lost", "Records that are in no file: too much waited, or the disk was full."
        ).inc
        gauge = metrics.gauge("recording", "1 while records can be written, else 0.")
        gauge.set(1)
        self.store.trouble.on_state = lambda state: gauge.set(state == "open")

    def start(self) -> None:
        """Begin; needs the running loop."""
        each = self.config.flush == "every-record"
        self._worker = self.context.worker(
            self._handle,
            queue=MOST_WAITING + MOST_WAITING // 2,
            batch=BATCH,
            linger=AT_ONCE if each else self.config.flush_interval,
            on_full="drop_newest",
        )
        self._worker.put((0, _nothing, None))  # so that a folder that can't be made is told now
        self._ticking = self.context.spawn(self._tick())

    async def stop(self) -> None:
        """Write what waits, and finish the file after that."""
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        self._stopping = True
        self._worker.put((0, _nothing, None))

    def has_room(self, weight: int) -> bool:
        """Whether so many bytes more may wait."""
        return self._taken - self._done + weight <= self.most_held

    def put(self, weight: int, produce: Produce[S], subject: S) -> bool:
        """
        Take something to be written; never waits.

        Args:
            weight: Bytes that it keeps in memory.
            produce: Makes its lines, in the thread.
            subject: What from.

        Returns:
            Whether it was taken; otherwise that is counted.
        """
        fits = self._taken - self._done + weight <= self.most_held
        if not (fits and self._worker.depth < MOST_WAITING):
            self.miss()
            return False
        return self.put_needed(weight, produce, subject)

    def put_needed(self, weight: int, produce: Produce[S], subject: S) -> bool:
        """Take something small without which other records make no sense."""
        if self._worker.put((weight, produce, subject)):
            self._taken += weight
            return True
        self.miss()
        return False

    # -- in the thread

    def _handle(self, batch: Sequence[tuple[int, Produce[Any], Any]]) -> None:
        """
        Write a batch.

        Raises:
            Exception: What one of the records caused; the others are written nevertheless.
        """
        made: list[Any] = []
        failure: Exception | None = None
        weights = 0
        for weight, produce, subject in batch:
            weights += weight
            try:
                made.extend(produce(subject))
            except Exception as error:  # noqa: BLE001 - raised below, for the worker to log
                failure = error
                self._count_lost(1)
        self._write(made)
        self._done += weights
        self.store.tick()
        if self._stopping and not self._worker.depth:
            self.store.close()
        if failure is not None:
            raise failure

    def _write(self, made: Sequence[Any]) -> None:
        written = self.store.write(made)
        if written:
            self._count_written(written)
        if written < len(made):
            self._count_lost(len(made) - written)

    # -- on the loop

    async def _tick(self) -> None:
        """Let the thread look after the files while there is no traffic."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if not self._worker.depth:
                self._worker.put((0, _nothing, None))

    def miss(self) -> None:
        """Count something that there was no room for, and say so now and then."""
        self.lost += 1
        self._count_lost(1)
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            message = "the disk is too slow: records are lost (%d so far)"
            self.context.log.warning(message, self.lost)


def open_journal(context: PluginContext, config: FileOptions, prefix: str, format: str) -> Journal:
    """
    Return the journal that a recorder is configured to write.

    Args:
        context: The recorder's.
        config: The recorder's options.
        prefix: What names of its files begin with.
        format: What the first line of each file says that is in it.
    """
    worker = str(os.getpid())
    options = JournalOptions(
        folder=Path(config.folder).expanduser().absolute() if config.folder else context.data_dir,
        prefix=prefix,
        worker=worker,
        max_file_size=config.max_file_size,
        max_file_lines=config.max_file_lines,
        max_total_size=config.max_total_size,
        max_age=config.max_age,
        gzip=config.gzip,
        flush=config.flush,
        flush_interval=config.flush_interval,
        fsync=config.fsync,
    )

    def header() -> bytes:
        line = lines.FileLine(
            format=format,
            version=lines.VERSION,
            perimeter=perimeter.__version__,
            created_at=round(context.clock.time(), 6),
            worker=worker,
            redacted=context.redact,
        )
        return lines.encode(line)

    return Journal(options, header=header, clock=context.clock, log=context.log)


def _nothing(_: object) -> Iterable[bytes]:
    return ()
