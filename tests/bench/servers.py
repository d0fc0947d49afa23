"""
The processes that the benchmark measures.

Run as `python servers.py floor|passing|off|unread|proxy|failing [PORT]`: with a port, the proxy
forwards to what listens there, over its real transport; without one it answers from memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import attrs
import uvicorn
from litestar import Litestar, post
from litestar.connection import Request
from litestar.response import Response, Stream
from provider import ANSWER, EVENT, EVENT_SECONDS, EVENTS

from perimeter import application as applications
from perimeter import hookimpl, supervisor
from perimeter.errors import ExchangeError
from perimeter.options import option
from perimeter.server import bind
from perimeter.settings import ServerSettings, SessionSettings, Settings, UpstreamSettings
from perimeter.upstream import UpstreamCall, UpstreamHead, UpstreamRequest
from perimeter.upstream.choice import transport_for


JSON_HEAD = UpstreamHead(
    200,
    (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(ANSWER)),
        (b"x-request-id", b"req_benchmark"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"server", b"memory"),
    ),
)
SSE_HEAD = UpstreamHead(200, ((b"content-type", b"text/event-stream"),))


def pause_of(body: object) -> float:
    """Return the seconds between events: none where the request is of a burst."""
    return 0.0 if isinstance(body, bytes) and b"/burst" in body else EVENT_SECONDS


class MemoryCall:
    """A call that is answered from memory."""

    def __init__(self, request: UpstreamRequest) -> None:
        self._streams = b'"stream":true' in request.body
        self._pause = pause_of(request.body)
        self._left = EVENTS if self._streams else 1
        self._error: ExchangeError | None = None

    async def head(self) -> UpstreamHead:
        """Answer at once."""
        return SSE_HEAD if self._streams else JSON_HEAD

    async def read(self) -> bytes:
        """Return the answer, or the next event when it is due."""
        if self._error is not None:
            raise self._error
        if not self._left:
            return b""
        self._left -= 1
        if not self._streams:
            return ANSWER
        await asyncio.sleep(self._pause)
        return EVENT

    def abort(self, error: ExchangeError) -> None:
        """Answer nothing more."""
        self._error = error

    async def close(self) -> None:
        """Nothing is open."""


class MemoryTransport:
    """A transport that answers from memory, so that only the proxy's own share is measured."""

    connections = 0

    def __init__(self, _: UpstreamSettings) -> None:
        pass

    def start(self, request: UpstreamRequest) -> UpstreamCall:
        """Answer a request."""
        return MemoryCall(request)

    async def close(self) -> None:
        """Nothing is open."""


@attrs.define(eq=False)
class EveryObserver:
    """A plugin that implements every observer and does nothing."""

    @attrs.frozen
    class Config:
        """Nothing to configure."""

        unused: bool = option(False, help="Unused.")

    config: Any
    context: Any

    @hookimpl
    def on_request(self, exchange: Any) -> None:
        """Do nothing."""

    @hookimpl
    def on_response_start(self, exchange: Any) -> None:
        """Do nothing."""

    @hookimpl
    def on_chunk(self, exchange: Any, chunk: Any) -> None:
        """Do nothing."""

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        """Do nothing."""

    @hookimpl
    def on_error(self, exchange: Any, error: Exception) -> None:
        """Do nothing."""

    @hookimpl
    def on_verdict(self, exchange: Any, plugin: str, verdict: Any) -> None:
        """Do nothing."""

    @hookimpl
    def on_session_event(self, session: Any, event: Any) -> None:
        """Do nothing."""


@attrs.define(eq=False)
class FailingSink(EveryObserver):
    """A plugin that does nothing right: an observer that raises, and a sink that does."""

    _worker: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Have a worker of its own."""
        self._worker = self.context.worker(_fail)

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        """Hand the exchange to the sink, and fail."""
        self._worker.put(exchange)
        raise RuntimeError("an observer that fails")


def _fail(batch: Any) -> None:
    raise OSError("a sink that fails")


def floor_app() -> Litestar:
    """Return a bare Litestar app that answers by itself what the memory transport answers."""

    @post("/v1/chat/completions")
    async def chat(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
        body = await request.body()
        if b'"stream":true' in body:
            return Stream(_events(pause_of(body)), media_type="text/event-stream", status_code=200)
        return Response(ANSWER, media_type="application/json", status_code=200)

    return Litestar([chat], openapi_config=None, logging_config=None)


async def _events(pause: float) -> AsyncIterator[bytes]:
    for _ in range(EVENTS):
        await asyncio.sleep(pause)
        yield EVENT


async def serve_floor(listener: Any) -> None:
    """Serve the bare app with the same server settings as the proxy."""
    config = uvicorn.Config(
        floor_app(),
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
    )
    await uvicorn.Server(config).serve(sockets=[listener])


async def serve_proxy(listener: Any, kind: str, port: str | None) -> None:
    """
    Serve the proxy.

    Args:
        listener: The socket.
        kind: `passing` has neither sessions nor plugins, `off` no plugins; the others have one that
            implements every observer; that of `failing` fails, and `unread` reads no call, which
            can't be switched off outside of this benchmark.
        port: What it forwards to, or None to answer from memory.
    """
    plugin = FailingSink if kind == "failing" else EveryObserver
    plugins = {} if kind in {"passing", "off"} else {"every": plugin}
    url = f"http://127.0.0.1:{port}" if port else "http://memory"
    settings = Settings(
        server=ServerSettings(port=0),
        # A soak is to show what is left when as many sessions as there may be are known.
        session=SessionSettings(
            enabled=kind != "passing", max_sessions=1000 if kind == "failing" else 10_000
        ),
        upstreams={"default": UpstreamSettings(type="openai", base_url=url)},
        plugins={name: {} for name in plugins},
    )
    transport = transport_for if port else MemoryTransport
    application = applications.build(settings, plugins=plugins, transport=transport)
    if kind == "unread":
        application.tracker.follow = lambda _: None
    await supervisor.serve(application, listener)


def main(kind: str, port: str | None = None) -> None:
    """Serve one of the candidates, and print its port."""
    import uvloop

    listener = bind("127.0.0.1", 0)
    print(listener.getsockname()[1], flush=True)
    serving = serve_floor(listener) if kind == "floor" else serve_proxy(listener, kind, port)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)


if __name__ == "__main__":
    main(*sys.argv[1:])
