"""What a transport is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import attrs

from perimeter.errors import ExchangeError
from perimeter.verdicts import Headers


Body = bytes | AsyncIterator[bytes]


@attrs.define(eq=False)
class UpstreamRequest:
    """
    A request ready to be sent.

    Attributes:
        method: HTTP method.
        target: Path and query, sent exactly as they are.
        headers: All headers but `host`, `content-length` and `transfer-encoding`, which the
            transport writes.
        body: The body (b"" for none), or its chunks as they come.
        length: How long a body of chunks will be, where that is known.
        fresh: Whether it has to go over a connection that was not used before.
    """

    method: str
    target: str
    headers: Headers
    body: Body = b""
    length: int | None = None
    fresh: bool = False


@attrs.frozen
class UpstreamHead:
    """A response's head: status (200 to 599) and header fields, names lower-case, in order."""

    status: int
    headers: Headers


class UpstreamCall(Protocol):
    """One request on its way. Not for concurrent use, but `abort` may be called at any time."""

    async def head(self) -> UpstreamHead:
        """
        Wait for the response's head.

        Raises:
            UpstreamError: It can't be had.
            ExchangeError: What `abort` was called with.
        """

    async def read(self) -> bytes:
        """
        Wait for more of the body, and return it as it arrived.

        Returns:
            The next bytes, still content-encoded; b"" at the end of a complete body.

        Raises:
            UpstreamError: The body ended early.
            ExchangeError: What `abort` was called with.
        """

    def abort(self, error: ExchangeError) -> None:
        """Break the connection at once; what waits on this call raises `error`. Idempotent."""

    async def close(self) -> None:
        """Let go of the connection: back to the pool after a complete response, else closed."""


class Transport(Protocol):
    """A client for one upstream, with its connections."""

    def start(self, request: UpstreamRequest) -> UpstreamCall:
        """Begin to send a request. Never waits and never raises: errors come from `head`."""

    @property
    def connections(self) -> int:
        """How many connections are open."""

    async def close(self) -> None:
        """Close every connection."""
