"""The sessions that the supervisor has for its workers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from perimeter import process
from perimeter.sessions.remote_server import SessionServer
from perimeter.sessions.snapshot import SharedStore


SOCKET = "sessions.sock"
LONGEST = 100
"""Bytes of a socket's path; some systems take no more than 104."""


@asynccontextmanager
async def shared(store: SharedStore | None) -> AsyncIterator[str | None]:
    """Let workers share a store; give the path of its socket, None where there is no store."""
    if store is None:
        yield None
        return
    folder = _folder()
    server = SessionServer(store, folder / SOCKET)
    try:
        await server.start()
        process.spare_collector()
        yield str(server.path)
    finally:
        await server.close()
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """Make a folder that only this user can look into, with a path that a socket can have."""
    folder = Path(tempfile.mkdtemp(prefix="perimeter-"))
    if len(bytes(folder / SOCKET)) <= LONGEST:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="perimeter-", dir="/tmp"))
