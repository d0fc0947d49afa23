"""An answer on its way out."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

import attrs
from litestar.types import ASGIApp, Send


_WORTH = 500
"""Bytes from which on an answer is compressed."""
_PIECE = 64 * 1024
"""About how many bytes of a stream are made and sent at a time."""


@attrs.frozen
class Reply:
    """
    An answer.

    Attributes:
        content: Its bytes, or what makes them; that is run in a thread.
        media_type: Its type.
        status: HTTP status.
        headers: Further headers; names may repeat.
    """

    content: bytes | Iterator[bytes]
    media_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def adding(self, *headers: tuple[str, str]) -> Reply:
        """Return it with further headers."""
        return attrs.evolve(self, headers=(*self.headers, *headers))

    def compressed(self, headers: Mapping[str, str]) -> Reply:
        """Return it as who asked can take it."""
        if not isinstance(self.content, bytes) or len(self.content) <= _WORTH:
            return self
        if "gzip" not in headers.get("accept-encoding", ""):
            return self.adding(("vary", "Accept-Encoding"))
        small = attrs.evolve(self, content=gzip.compress(self.content, 6, mtime=0))
        return small.adding(("content-encoding", "gzip"), ("vary", "Accept-Encoding"))

    def app(self, pool: Executor | None = None) -> ASGIApp:
        """Return it as an ASGI application, which is what Litestar wants."""

        async def answer(scope: Any, _: Any, send: Send) -> None:
            await self.send(send, head=scope["method"] == "HEAD", pool=pool)

        return answer

    async def send(self, send: Send, *, head: bool = False, pool: Executor | None = None) -> None:
        """Send it; for `HEAD` without its content."""
        await send(self.start())
        if isinstance(self.content, bytes):
            content = b"" if head else self.content
            await send({"type": "http.response.body", "body": content, "more_body": False})
            return
        if not head:
            await self._stream(send, self.content, pool)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, send: Send, pieces: Iterator[bytes], pool: Executor | None) -> None:
        loop = asyncio.get_running_loop()
        while piece := await loop.run_in_executor(pool, gather, pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    def start(self) -> Any:
        """Return its head."""
        headers = [("content-type", self.media_type), *self.headers]
        if isinstance(self.content, bytes):
            headers.append(("content-length", str(len(self.content))))
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return {"type": "http.response.start", "status": self.status, "headers": encoded}


def gather(pieces: Iterator[bytes], least: int = _PIECE) -> bytes:
    """Return the next pieces as one, at least so many bytes while there are any."""
    taken, size = [], 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= least:
            break
    return b"".join(taken)
