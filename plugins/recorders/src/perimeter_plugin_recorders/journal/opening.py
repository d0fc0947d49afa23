"""A journal's file while it is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs

from perimeter_plugin_recorders.journal.locks import NO_LINKS, hold
from perimeter_plugin_recorders.journal.names import Names, compressed


PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700

_CREATE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | NO_LINKS

Write = Callable[[int, memoryview], int]
"""Writes bytes to a descriptor and says how many, as `os.write` does."""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, for nobody else to look into."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        with suppress(FileExistsError):
            each.mkdir(mode=PRIVATE_FOLDER)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


@attrs.define(eq=False)
class OpenFile:
    """
    A file that only we write, and only at its end.

    Attributes:
        path: Where it is.
        descriptor: Of the open file.
        opened_at: When it was begun (Unix time).
        write: Writes to a descriptor.
        size: Bytes in it.
        lines: Lines in it, without its header.
        synced: Whether all of it is known to be on the disk.
    """

    path: Path
    descriptor: int
    opened_at: float
    write: Write
    size: int = 0
    lines: int = 0
    synced: bool = True

    @classmethod
    def create(cls, folder: Path, names: Names, now: float, write: Write) -> OpenFile:
        """
        Begin a new file; none that is there already is ever touched.

        Raises:
            OSError: It can't be made.
        """
        number = 1
        while True:
            path = folder / names.name(now, number)
            number += 1
            if compressed(path).exists():
                continue
            try:
                descriptor = os.open(path, _CREATE, PRIVATE_FILE)
            except FileExistsError:
                continue
            hold(descriptor)
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor, now, write)
            os.close(descriptor)  # somebody took it for a file left behind, before we held it

    @property
    def is_gone(self) -> bool:
        """Whether somebody has deleted it."""
        return os.fstat(self.descriptor).st_nlink == 0

    def append(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """
        Write lines, each whole or not at all.

        Returns:
            How many are in the file, and why not all of them are.
        """
        data = b"\n".join([*lines, b""])
        failure, sent = self._send(data)
        self.synced = False
        if failure is None:
            self.size += len(data)
            self.lines += len(lines)
            return len(lines), None
        whole = data.rfind(b"\n", 0, sent) + 1
        # Where the half line can't be cut off, it is the file's last and has no end.
        with suppress(OSError):
            os.ftruncate(self.descriptor, self.size + whole)
        self.size += whole
        count = data.count(b"\n", 0, whole)
        self.lines += count
        return count, failure

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        if not self.synced:
            os.fsync(self.descriptor)
            self.synced = True

    def close(self) -> None:
        """Let go of it. What has nothing in it but a header is deleted."""
        try:
            if not self.lines:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)

    def _send(self, data: bytes) -> tuple[OSError | None, int]:
        view, sent = memoryview(data), 0
        try:
            while sent < len(data):
                sent += self.write(self.descriptor, view[sent:])
        except OSError as error:
            return error, sent
        return None, sent
