"""One connection to the live-trace process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from perimeter_plugin_live_trace.records import ACK


class Link(asyncio.Protocol):
    """
    Writes frames as far as the other side reads them, and hears which ones are safe.

    Attributes:
        gone: Done when the connection has ended.
    """

    def __init__(self, hello: bytes, safe: Callable[[int], None]) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._hello = hello
        self._on_safe = safe
        self._waiting: deque[bytes] = deque()
        self._paused = False
        self._acknowledged = 1  # the greeting is a frame, too, and not the sender's
        self._heard = b""

    @classmethod
    async def to(cls, path: Path, hello: bytes, safe: Callable[[int], None]) -> Link:
        """
        Connect.

        Args:
            path: The socket.
            hello: The first frame.
            safe: Told how many more frames are safe.

        Raises:
            OSError: Nobody listens.
        """
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: cls(hello, safe), str(path))
        return link

    def send(self, frames: Iterable[bytes]) -> None:
        """Send frames, now or as soon as there is room."""
        self._waiting.extend(frames)
        self._write()

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def _write(self) -> None:
        while self._waiting and not self._paused:
            self._transport.write(self._waiting.popleft())

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        """Take what the other side says about frames."""
        heard = self._heard + data
        whole = len(heard) - len(heard) % ACK
        self._heard = heard[whole:]
        if whole:
            total = int.from_bytes(heard[whole - ACK : whole], "big")
            more, self._acknowledged = total - self._acknowledged, max(total, self._acknowledged)
            if more > 0:
                self._on_safe(more)

    def pause_writing(self) -> None:
        """Keep what is to be sent."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send what was kept."""
        self._paused = False
        self._write()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell that it is over."""
        self._waiting.clear()
        if not self.gone.done():
            self.gone.set_result(None)
