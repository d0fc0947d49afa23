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


@asynccontextmanager
async def shared(store: SharedStore | None) -> AsyncIterator[str | None]:
    """Let workers share a store; give the path of its socket, None where there is no store."""
    if store is None:
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="perimeter-"))  # only this user can look into it
    server = SessionServer(store, folder / "sessions.sock")
    try:
        await server.start()
        process.spare_collector()
        yield str(server.path)
    finally:
        await server.close()
        shutil.rmtree(folder, ignore_errors=True)
