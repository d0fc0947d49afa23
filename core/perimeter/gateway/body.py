"""The request's body: read whole within limits, or passed up as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from perimeter.errors import ClientDisconnected, RequestRejected
from perimeter.gateway.client import Receive


class BodyBudget:
    """What all requests together may hold in memory, and what each of them may."""

    def __init__(self, each: int, total: int) -> None:
        """
        Start with nothing held.

        Args:
            each: Bytes that one body may have.
            total: Bytes that all buffered bodies may have at a time.
        """
        self.each = each
        self.total = total
        self.used = 0

    def check(self, size: int) -> None:
        """
        Refuse a body that is too large for one request.

        Raises:
            RequestRejected: With 413.
        """
        if size > self.each:
            message = f"the request body is larger than {self.each} bytes"
            raise RequestRejected(413, "request_too_large", message)

    def take(self, size: int) -> None:
        """
        Reserve memory.

        Raises:
            RequestRejected: With 503 where there is none left.
        """
        if self.used + size > self.total:
            message = "the proxy holds as many request bodies as it may; try again"
            raise RequestRejected(503, "body_budget_exhausted", message)
        self.used += size

    def give_back(self, size: int) -> None:
        """Return memory."""
        self.used -= size


async def read_whole(receive: Receive, budget: BodyBudget, taken: Callable[[int], None]) -> bytes:
    """
    Read a request's body.

    Args:
        receive: The ASGI channel.
        budget: The limits.
        taken: Told of every reservation, so that it is given back in the end.

    Raises:
        RequestRejected: Too large (413), or no memory left (503).
        ClientDisconnected: The client left while it was sending.
    """
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client left while it was sending its request")
        data = message.get("body", b"")
        size += len(data)
        budget.check(size)
        budget.take(len(data))
        taken(len(data))
        more = message.get("more_body", False)
        if not more and not parts:
            return bytes(data)
        parts.append(data)
    return b"".join(parts)


async def stream_up(
    receive: Receive, on_data: Callable[[bytes], None], on_end: Callable[[], None]
) -> AsyncIterator[bytes]:
    """
    Pass a request's body on as it comes.

    Args:
        receive: The ASGI channel.
        on_data: Told of each piece.
        on_end: Told when the body is complete, after which `receive` is no longer used.

    Raises:
        ClientDisconnected: The client left while it was sending.
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client left while it was sending its request")
        data = message.get("body", b"")
        if data:
            on_data(data)
            yield data
        if not message.get("more_body", False):
            on_end()
            return
