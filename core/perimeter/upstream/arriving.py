"""A response as it arrives, between what reads it from the upstream and what hands it on."""

from __future__ import annotations

import asyncio
from collections import deque

from perimeter.errors import ExchangeError
from perimeter.upstream.protocol import UpstreamHead


READ_AHEAD = 256 * 1024
"""Bytes of body that may wait for the client before the upstream is no longer read."""


class Arriving:
    """
    The half of a call that both transports have in common.

    A transport tells it what has come, and overrides `_go_on` to read on after a pause.
    """

    def __init__(self) -> None:
        self._head: UpstreamHead | None = None
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._error: ExchangeError | None = None
        self._done = False
        self._reader: asyncio.Future[None] | None = None

    async def head(self) -> UpstreamHead:
        """Wait for the response's head."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """Wait for more of the body; b"" at its end."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._done:
                return b""
            await self._wait()
        data = self._chunks.popleft()
        self._held -= len(data)
        if self._held < READ_AHEAD:
            self._go_on()
        return data

    def answered(self, head: UpstreamHead) -> None:
        """Take the response's head."""
        self._head = head
        wake(self._reader)

    def received(self, data: bytes) -> None:
        """Take the next bytes of its body."""
        self._chunks.append(data)
        self._held += len(data)
        wake(self._reader)

    def _finish(self, error: ExchangeError | None) -> None:
        """Take the end of the body, or what has come instead."""
        if not self._done:
            self._done = True
            self._error = error
        wake(self._reader)

    def _go_on(self) -> None:
        """Read on, if that was interrupted."""

    async def _wait(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        await self._reader


def wake(future: asyncio.Future[None] | None) -> None:
    """Let go on who waits for a future, if anybody does."""
    if future is not None and not future.done():
        future.set_result(None)
