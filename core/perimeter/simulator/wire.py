"""The HTTP side: what a request is, what a reply is, and how server-sent events are written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import attrs
import msgspec


Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]

DONE = b"data: [DONE]\n\n"


@attrs.frozen
class Query:
    """
    A request.

    Attributes:
        headers: By lower-case name; of repeated ones the last.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@attrs.frozen
class StreamEvent:
    """A server-sent event, whole, and how many tokens of the answer it carries."""

    data: bytes
    tokens: int = 0


@attrs.frozen
class Reply:
    """
    A reply that nothing has gone wrong with yet.

    Attributes:
        payload: The JSON body, unless it is a stream.
        events: The stream's events, or None.
        tokens: What the whole answer costs to generate.
        failure: Makes the event with which such a stream reports an error, from a message and
            the number of events before it.
    """

    payload: Any = None
    status: int = 200
    events: Iterable[StreamEvent] | None = None
    tokens: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    failure: Callable[[str, int], bytes] | None = None


def data_event(payload: object) -> bytes:
    """Write an event of OpenAI's chat completions, which have no name."""
    return b"data: " + msgspec.json.encode(payload) + b"\n\n"


def named_event(payload: dict[str, Any]) -> bytes:
    """Write an event that is named after its type, as Anthropic and Responses do."""
    return f"event: {payload['type']}\n".encode() + data_event(payload)


async def read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a request's body; None when it is larger than `limit` bytes or the client left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
