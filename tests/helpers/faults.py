"""Requests, faults and guards for the tests of the data path."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, ClassVar

import attrs

from perimeter import Stop, hookimpl
from perimeter.options import option


EVENT = b'data: {"n":1}\n\n'
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def request(*, stream: bool = True) -> bytes:
    """Return a raw chat request."""
    body = b'{"model":"m","messages":[],"stream":true}' if stream else b'{"model":"m"}'
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: p\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n" % len(body) + body
    )


def close_soon(raw: bytes, *, reset: bool) -> Callable[..., Any]:
    """Return a handler that writes these bytes and then closes or resets."""

    async def handler(_: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        await writer.drain()
        if reset:
            # What was written must be on its way before the reset overtakes it.
            await asyncio.sleep(0.02)
            writer.transport.abort()
        else:
            writer.close()

    return handler


def leaks() -> tuple[int, int]:
    """Return how many tasks run and how many descriptors are open."""
    return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))


@attrs.frozen
class NoConfig:
    """Nothing to configure."""

    unused: bool = option(False, help="Unused.")


@attrs.define(eq=False)
class Guard:
    """The base of test plugins; `of` makes one that decides as it is told."""

    Config: ClassVar[type] = NoConfig
    config: Any
    context: Any

    @staticmethod
    def crash(*_: Any) -> Any:
        """Fail."""
        raise RuntimeError("a guard crashed")

    @staticmethod
    def stop_at(number: int) -> Callable[[bytes], list[bytes]]:
        """Stop a stream at its event of this number."""

        def feed(event: bytes) -> list[bytes]:
            if event == b"data: %d\n\n" % number:
                raise Stop("that is enough")
            return [event]

        return feed

    @staticmethod
    def of(
        *,
        request: Callable[[], Any] | None = None,
        response: Callable[[], Any] | None = None,
        stream: Callable[[bytes], Any] | None = None,
        closed: bool = False,
    ) -> type:
        """Return a plugin class with these guards."""
        body: dict[str, Any] = {"fail_closed": closed, "streams_may_pass": True}
        if request is not None:
            body["guard_request"] = hookimpl(_guard(request))
        if response is not None:
            body["guard_response"] = hookimpl(_guard(response))
        if stream is not None:
            body["guard_stream"] = hookimpl(_stream_guard(stream))
        return attrs.define(eq=False)(type("Guarding", (Guard,), body))


def _guard(verdict: Callable[[], Any]) -> Callable[..., Any]:
    async def guard(self: Any, exchange: Any) -> Any:
        await asyncio.sleep(0)
        return verdict()

    return guard


def _stream_guard(feed: Callable[[bytes], Any]) -> Callable[..., Any]:
    class Feeder:
        def __init__(self) -> None:
            self.closed: list[str] = []

        def feed(self, event: bytes) -> Any:
            return feed(event)

        def close(self, reason: str) -> list[bytes]:
            self.closed.append(reason)
            return []

    def guard(self: Any, exchange: Any) -> Any:
        return Feeder()

    return guard
