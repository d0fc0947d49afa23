"""What a guard may decide, and what a stream guard is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs


Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in wire order; names lower-case, values as they were sent."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """Return the first value of the header `name` (lower-case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


@attrs.frozen
class Block:
    """
    Refuse the exchange. The client gets an error in its dialect's own shape.

    Attributes:
        reason: Shown to the client as the error's message.
        status: HTTP status of the answer.
        code: Machine-readable name of the reason, part of the answer.
    """

    reason: str
    status: int = 403
    code: str = "blocked"


@attrs.frozen
class Respond:
    """Answer the client directly; nothing goes upstream. Only from `guard_request`."""

    body: bytes
    status: int = 200
    headers: Headers = ((b"content-type", b"application/json"),)


@attrs.frozen
class Rewrite:
    """
    Change the message and go on. What is None stays as it is.

    Attributes:
        body: The new body. `content-length` follows it by itself.
        headers: All headers of the message, in order, not only the changed ones.
        upstream: Name of the upstream to send to instead; only from `guard_request`.
    """

    body: bytes | None = None
    headers: Headers | None = None
    upstream: str | None = None


class Stop(Exception):
    """
    Raised by a stream guard to end the stream here.

    The client gets the dialect's error event, the upstream is closed, and the outcome is `blocked`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


Verdict = Block | Respond | Rewrite | Stop


class StreamGuard(Protocol):
    """
    Decides over one stream, event by event. Made by `guard_stream` for each stream.

    An event is the raw bytes of one event of the dialect's framing, delimiter included (an SSE
    block with its blank line, an NDJSON line, one AWS frame, one element of a JSON array).
    The output of one guard feeds the next one.
    """

    def feed(self, event: bytes) -> Sequence[bytes]:
        """
        Take the next event.

        Returns:
            What goes on instead: nothing (hold back or drop), the event itself, or several.

        Raises:
            Stop: End the stream here.
        """

    def close(self, reason: str) -> Sequence[bytes]:
        """
        The stream is over; always called once.

        Args:
            reason: `"end"` after a complete stream (what is returned is still sent), else why it
                was cut short: `"stop"`, `"upstream_error"`, `"client_disconnected"`, `"shutdown"`.

        Returns:
            Events that had been held back; they are sent only where `reason` is `"end"`.
        """
