"""
Who writes a file at the moment.

A writer holds a lock on its file as long as that is open. So others, in whichever process, can tell
a file that is being written from one that is finished or was left behind by a killed process, whose
locks the system lets go of. Where there are no locks, every file counts as being written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""Never write through a symbolic link that somebody has laid, nor pass a file on to a child."""

if sys.platform == "win32":
    # There nobody can delete a file that is open, so that locks would add nothing.

    def hold(_descriptor: int) -> None:
        """Mark a file as being written."""

    def _try_to_hold(_descriptor: int) -> bool:
        return True

else:
    import fcntl

    def hold(descriptor: int) -> None:
        """Mark a file as being written, until it is closed; may wait for one who tidies up."""
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _try_to_hold(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def finished(path: Path) -> Iterator[int | None]:
    """
    Open a file for reading if nobody writes it, and keep others from touching it meanwhile.

    Yields:
        A descriptor, or None where it is being written or is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | NO_LINKS)
    except FileNotFoundError:
        yield None
        return
    try:
        held = _try_to_hold(descriptor) and os.fstat(descriptor).st_nlink > 0
        yield descriptor if held else None
    finally:
        os.close(descriptor)
