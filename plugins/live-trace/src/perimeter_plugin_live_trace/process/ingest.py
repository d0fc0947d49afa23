"""The socket that workers hand their records to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import msgspec

from perimeter_plugin_live_trace.process.merging import merged
from perimeter_plugin_live_trace.process.writing import Batch, WritingThread
from perimeter_plugin_live_trace.records import (
    ACK,
    MOST_BYTES,
    VERSION,
    Hello,
    Record,
    State,
    unframe,
)
from perimeter_plugin_live_trace.web.site import Ingest, Site


MOST_WAITING = 4 * 1024 * 1024
"""
Bytes of frames that wait to be written; beyond that, sockets are not read.

Read, they take several times as much, and their sender keeps them until they are written anyway.
"""

log = logging.getLogger("perimeter.live_trace")


@attrs.define(eq=False)
class IngestServer:
    """
    Takes frames of workers.

    Attributes:
        path: The socket.
        writing: Writes their records.
        site: Learns the proxy's address.
    """

    path: Path
    writing: WritingThread
    site: Site
    _waiting: int = 0
    _room: asyncio.Event = attrs.field(factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _lost: dict[int, int] = attrs.field(factory=dict)
    _states: dict[asyncio.StreamWriter, State] = attrs.field(factory=dict)
    _inode: int = 0
    _open: set[asyncio.Task[None]] = attrs.field(factory=set)

    async def start(self) -> None:
        """Listen; only this user can connect."""
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()  # of a process that was killed
        listener = socket.socket(socket.AF_UNIX)
        mask = os.umask(0o177)
        try:
            listener.bind(str(self.path))
        finally:
            os.umask(mask)
        self._inode = self.path.stat().st_ino
        self._room.set()
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        self.site.ingest.expected = True

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_ino == self._inode:  # else it is that of who came after us
                self.path.unlink()

    @property
    def _ingest(self) -> Ingest:
        return self.site.ingest

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
        self._ingest.connected += 1
        try:
            await self._read(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the worker is gone
        except (ValueError, msgspec.MsgspecError) as error:
            log.warning("a worker sent something that can't be read: %s", error)
        finally:
            self._ingest.connected -= 1
            self._states.pop(writer, None)
            if task is not None:
                self._open.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        safe = 0

        def acknowledge(size: int) -> None:
            nonlocal safe
            safe += 1
            self._waiting -= size
            self._room.set()
            if not writer.is_closing():
                writer.write(safe.to_bytes(ACK, "big"))

        while True:
            size = int.from_bytes(await reader.readexactly(4), "big")
            if size > MOST_BYTES:
                raise ValueError(f"a frame of {size} bytes")
            records = unframe(await reader.readexactly(size))
            self._note(records, writer)
            self._waiting += size
            written = _later(loop, acknowledge, size)
            self.writing.put(Batch(records, written))
            while self._waiting > MOST_WAITING:
                self._room.clear()
                await self._room.wait()

    def _note(self, records: list[Record], writer: asyncio.StreamWriter) -> None:
        """Take in what is said about the worker itself."""
        self._ingest.last_us = int(time.time() * 1_000_000)
        for record in records:
            if isinstance(record, Hello):
                if record.version != VERSION:
                    raise ValueError(f"format {record.version}, where {VERSION} is understood")
                self.site.proxy_url = record.proxy or self.site.proxy_url
                self._lost[record.pid] = record.lost
            elif isinstance(record, State):
                self._states[writer] = record
                self._ingest.plugins = merged(self._states.values())
                self._lost[record.pid] = record.lost
        self._ingest.lost = sum(self._lost.values())
        self._ingest.waiting = sum(state.waiting for state in self._states.values())


def _later(
    loop: asyncio.AbstractEventLoop, acknowledge: Callable[[int], None], size: int
) -> Callable[[], None]:
    """Return what to call in the writer's thread."""

    def written() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(acknowledge, size)

    return written
