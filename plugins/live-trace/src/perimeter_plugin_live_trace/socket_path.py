"""Where the workers of a proxy find its live-trace process."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from perimeter import PerimeterError


if TYPE_CHECKING:
    from perimeter import PluginContext


LONGEST = 100
"""Bytes of a socket's path; some systems take no more than 104."""


def of(context: PluginContext) -> Path:
    """
    Return the path of the socket.

    Supervisor and workers are different processes and can't tell each other; what they have in
    common is the address of their proxy, which no other proxy of the machine has. The folder is not
    the data folder, because a socket's path may have about a hundred bytes only.

    Raises:
        PerimeterError: The folder belongs to somebody else.
    """
    named = f"{context.data_dir} {context.address or os.getpid()}".encode()
    name = f"trace-{hashlib.sha256(named).hexdigest()[:16]}"
    path = folder(Path(tempfile.gettempdir())) / name
    return path if len(bytes(path)) < LONGEST else folder(Path("/tmp")) / name  # noqa: S108 - 0700


def folder(parent: Path) -> Path:
    """
    Return the folder for sockets, which only this user can look into.

    Raises:
        PerimeterError: Somebody else was there first.
    """
    path = parent / f"perimeter-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise PerimeterError(f"{path} is not a folder of this user's alone: delete it")
    return path
