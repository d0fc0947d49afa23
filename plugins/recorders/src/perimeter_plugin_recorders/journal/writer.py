"""
Append-only files of lines that survive whatever happens to the process and to the disk.

Nothing is held back in memory: what `write` took is with the operating system, so a killed process
loses nothing of it, and tears at most the line that it was writing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence

import attrs

from perimeter_plugin_recorders.journal.clock import Clock, SystemClock
from perimeter_plugin_recorders.journal.names import Names
from perimeter_plugin_recorders.journal.opening import OpenFile, Write, make_folder
from perimeter_plugin_recorders.journal.options import JournalOptions
from perimeter_plugin_recorders.journal.tidying import tidy
from perimeter_plugin_recorders.journal.trouble import State, Trouble


TIDY_SECONDS = 60.0
"""How often the folder is looked at."""

LONGEST_OPEN = 86_400.0
"""Seconds that a file stays open at most, or what is in it would never be old enough to go."""


@attrs.define(eq=False)
class Journal:
    """
    A journal that is being written, by one thread.

    Attributes:
        options: How it is kept.
        header: Returns the first line of a file; None for files without one.
        clock: Tells the time.
        log: Where trouble is reported.
        os_write: Writes bytes to a descriptor, as `os.write` does.
        trouble: What becomes of it while nothing can be written.
        written: Lines in files so far.
    """

    options: JournalOptions
    header: Callable[[], bytes] | None = attrs.field(default=None, kw_only=True)
    clock: Clock = attrs.field(factory=SystemClock, kw_only=True)
    log: logging.Logger = attrs.field(factory=lambda: logging.getLogger(__name__), kw_only=True)
    os_write: Write = attrs.field(default=os.write, kw_only=True)
    trouble: Trouble = attrs.field(init=False)
    written: int = attrs.field(default=0, init=False)
    _names: Names = attrs.field(init=False)
    _file: OpenFile | None = attrs.field(default=None, init=False)
    _prepared: bool = attrs.field(default=False, init=False)
    _tidy_at: float = attrs.field(default=float("-inf"), init=False)
    _synced_at: float = attrs.field(default=float("-inf"), init=False)
    _tidier: threading.Thread | None = attrs.field(default=None, init=False)
    _tidy_problem: str = attrs.field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self._names = Names(self.options.prefix, self.options.worker)
        self.trouble = Trouble(self.options.folder, self.clock, self.log)

    @property
    def state(self) -> State:
        """`stopped` while nothing can be written."""
        return self.trouble.state

    @property
    def lost(self) -> int:
        """Lines that could not be written."""
        return self.trouble.lost

    def write(self, lines: Iterable[bytes]) -> int:
        """
        Add lines, given without their ends. Never raises.

        Returns:
            How many are in a file now; the others are lost. None while nothing can be written,
            which is tried again every few seconds.
        """
        waiting = list(lines)
        done = 0
        if waiting and self.trouble.ready:
            try:
                done = self._write(waiting)
            except OSError as error:
                self._stop(error)
            else:
                if done == len(waiting):
                    self.trouble.worked()
        self.written += done
        self.trouble.lost += len(waiting) - done
        return done

    def tick(self) -> None:
        """Do what is due: prepare the folder, sync, close an old file, tidy up."""
        if self.trouble.ready:
            try:
                self.prepare()
                self._close_if_old()
                if self._file is not None and self.options.fsync:
                    self._sync_if_due(self._file)
            except OSError as error:
                self._stop(error)
        if self._prepared and self.clock.monotonic() >= self._tidy_at:
            self._tidy()

    def close(self) -> None:
        """Finish the file, and tidy up once more. What is written afterwards begins a new one."""
        try:
            self._close_file()
        except OSError as error:
            self._stop(error)
        if self._tidier is not None:
            self._tidier.join()
        if self._prepared:
            self._tidy_now()

    def _write(self, lines: Sequence[bytes]) -> int:
        """Write lines, until all are written or no more can be."""
        done = 0
        while done < len(lines):
            file = self._file_for(lines[done])
            count, failure = file.append(self._fitting(file, lines, done))
            done += count
            if failure is not None:
                self._stop(failure)
                break
            if self.options.fsync:
                self._sync_if_due(file)
        return done

    def _file_for(self, line: bytes) -> OpenFile:
        """Return the file that the line belongs into."""
        file = self._file
        if file is not None and file.is_gone:
            self.log.warning("%s was deleted while it was written; a new one is begun", file.path)
            self._close_file()
        elif file is not None and file.lines and not self._has_room(file, 1, len(line) + 1):
            self._close_file()
            self._tidy_at = float("-inf")
        self.prepare()
        if self._file is None:
            self._file = self._begin()
        return self._file

    def _begin(self) -> OpenFile:
        folder = self.options.folder
        file = OpenFile.create(folder, self._names, self.clock.time(), self.os_write)
        if self.header is not None:
            _, failure = file.append([self.header()])
            file.lines = 0
            if failure is not None:
                file.close()
                raise failure
        if self.options.fsync:
            _sync_folder(folder)
        return file

    def _has_room(self, file: OpenFile, lines: int, size: int) -> bool:
        most_lines, most_bytes = self.options.max_file_lines, self.options.max_file_size
        if most_lines and file.lines + lines > most_lines:
            return False
        return not (most_bytes and file.size + size > most_bytes)

    def _fitting(self, file: OpenFile, lines: Sequence[bytes], start: int) -> Sequence[bytes]:
        """Return the lines that the file takes: one at least, however long it is."""
        stop, size = start + 1, len(lines[start]) + 1
        while stop < len(lines):
            size += len(lines[stop]) + 1
            if not self._has_room(file, stop + 1 - start, size):
                break
            stop += 1
        return lines[start:stop]

    def prepare(self) -> None:
        """Make the folder, once: one that vanishes later may be a disk that was taken out."""
        if not self._prepared:
            make_folder(self.options.folder)
            self._prepared = True

    def _close_if_old(self) -> None:
        longest = min(LONGEST_OPEN, self.options.max_age or LONGEST_OPEN)
        if self._file is not None and self.clock.time() - self._file.opened_at >= longest:
            self._close_file()
            self._tidy_at = float("-inf")

    def _sync_if_due(self, file: OpenFile) -> None:
        now = self.clock.monotonic()
        each = self.options.flush == "every-record"
        if each or now - self._synced_at >= self.options.flush_interval:
            file.sync()
            self._synced_at = now

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                if self.options.fsync:
                    file.sync()
            finally:
                file.close()

    # -- trouble

    def _stop(self, error: OSError) -> None:
        """Give up for a few seconds; what comes next goes into another file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError:
                self.log.debug("%s could not be closed", file.path, exc_info=True)
        self.trouble.failed(error)

    # -- tidying up

    def _tidy(self) -> None:
        """Tidy up in a thread, because compressing takes long; the next time if one still runs."""
        if self._tidier is not None and self._tidier.is_alive():
            return
        self._tidy_at = self.clock.monotonic() + TIDY_SECONDS
        self._tidier = threading.Thread(target=self._tidy_now, name="perimeter-tidy", daemon=True)
        self._tidier.start()

    def _tidy_now(self) -> None:
        problem = ""
        try:
            tidy(self.options, self.clock.time())
        except OSError as error:
            problem = f"{error.filename or self.options.folder}: {error.strerror or error}"
        if problem and problem != self._tidy_problem:
            self.log.warning("can't tidy up: %s", problem)
        self._tidy_problem = problem


def _sync_folder(folder: os.PathLike[str]) -> None:
    """Make sure that a new file is found again after the power was lost."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
