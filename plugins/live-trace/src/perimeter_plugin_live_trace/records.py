"""
What the proxy tells the live-trace process, and how it is written on the socket.

A frame is four bytes of length (big endian) and a MessagePack array of records. Records are arrays,
too, whose first item says which kind they are; what is added later is appended. The proxy does as
little as possible to make them: bodies go as they came, and the other process reads them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec


Headers = tuple[tuple[bytes, bytes], ...]

VERSION = 1
"""Of this format."""
MOST_BYTES = 256 * 1024 * 1024
"""A frame that says it is longer is garbage."""


class Hello(msgspec.Struct, array_like=True, tag="hello"):
    """
    The first record of a connection.

    Attributes:
        version: Of this format.
        pid: The worker's.
        proxy: The proxy's own address for replays, such as `http://127.0.0.1:4000`, or "".
        lost: How many records this worker has had to drop so far.
    """

    version: int
    pid: int
    proxy: str = ""
    lost: int = 0

    @classmethod
    def of(cls, proxy: str, lost: int) -> Hello:
        """Return this process's greeting."""
        return cls(VERSION, os.getpid(), proxy, lost)


class Asked(msgspec.Struct, array_like=True, tag="asked"):
    """
    A request, as it went upstream (or as it was refused).

    Attributes:
        exchange: The exchange's id; `call.id` in events.
        at: Unix time, seconds.
        dialect: The dialect's name.
        operation: The dialect's operation, such as `chat`.
        upstream: The upstream's name.
        workflow: The workflow's id, or "".
        method: HTTP method.
        target: Path and query.
        headers: The client's.
        body: The body, perhaps cut; content-encoding as it came.
        size: Bytes of the whole body.
    """

    exchange: str
    at: float
    dialect: str
    operation: str
    upstream: str
    workflow: str
    method: str
    target: str
    headers: Headers
    body: bytes
    size: int


class Answered(msgspec.Struct, array_like=True, tag="answered"):
    """
    How an exchange ended.

    Attributes:
        exchange: The exchange's id.
        at: Unix time, seconds.
        outcome: See `perimeter.Outcome`.
        status: HTTP status that the client got; 0 for none.
        headers: Of the response.
        body: Of the response, content-encoding as it came, perhaps cut.
        size: Bytes of the whole body.
        duration: Seconds from the request's head to the end.
        overhead: Seconds of those that the proxy added.
        error: Why it did not complete, or "".
        attempts: How often the request was sent.
        verdicts: What guards decided: plugin and kind.
    """

    exchange: str
    at: float
    outcome: str
    status: int
    headers: Headers
    body: bytes
    size: int
    duration: float
    overhead: float = 0.0
    error: str = ""
    attempts: int = 1
    verdicts: list[tuple[str, str]] = []


class Happened(msgspec.Struct, array_like=True, tag="event"):
    """
    An event, without the messages of calls: those are in the bodies.

    Attributes:
        name: Such as `llm.call.start`.
        at: Unix time, seconds.
        trace: 32 hex digits, or "".
        span: 16 hex digits, or "".
        level: `INFO`, `WARNING` or `ERROR`.
        session: The session's id, or None.
        agent: The agent's id, or None.
        attributes: All other attributes, as JSON values.
    """

    name: str
    at: float
    trace: str
    span: str
    level: str
    session: str | None
    agent: str | None
    attributes: dict[str, Any]


class Progress(msgspec.Struct, array_like=True, tag="progress"):
    """How much of an answer has come, while it comes: bytes delivered so far."""

    exchange: str
    size: int


class State(msgspec.Struct, array_like=True, tag="state"):
    """
    How the proxy does, every few seconds.

    Attributes:
        pid: The worker's.
        lost: Records that this worker has had to drop so far.
        waiting: Bytes that wait to be sent.
        plugins: Per plugin: name, distribution, version, state, hooks, and `costs`: by hook the
            calls so far, the seconds that those took, and how many failed.
    """

    pid: int
    lost: int
    waiting: int
    plugins: list[dict[str, Any]] = []


Record = Hello | Asked | Answered | Happened | Progress | State

_encoder = msgspec.msgpack.Encoder(enc_hook=str)
_decoder = msgspec.msgpack.Decoder(list[Record])

ACK = 8
"""Bytes of what the other side answers: how many frames of the connection are safe by now."""


def frame(records: Sequence[Record]) -> bytes:
    """
    Return records as a frame.

    Raises:
        Exception: One of them holds something that can't be written.
    """
    body = _encoder.encode(records)
    return len(body).to_bytes(4, "big") + body


def unframe(body: bytes) -> list[Record]:
    """
    Return the records of a frame, its length taken off.

    Raises:
        msgspec.MsgspecError: It is garbage.
    """
    return _decoder.decode(body)
