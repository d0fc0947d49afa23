"""The data path's entry: an ASGI application that makes exchanges of requests."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from itertools import count
from urllib.parse import quote

from perimeter.dispatch import Hooks, notify
from perimeter.errors import ExchangeError
from perimeter.gateway.access import Access
from perimeter.gateway.afterwards import Afterwards
from perimeter.gateway.body import BodyBudget
from perimeter.gateway.client import Client, Receive, Scope, Send
from perimeter.gateway.flow import Flow
from perimeter.gateway.headers import to_upstream
from perimeter.gateway.recording import Recordable
from perimeter.gateway.retirement import Retirement
from perimeter.gateway.routing import Route, Router
from perimeter.gateway.upstream import Upstream
from perimeter.metrics import Metrics
from perimeter.model import Chunk, Exchange, Request, Response
from perimeter.settings import RecordingSettings, ServerSettings
from perimeter.tracking import Tracker
from perimeter.verdicts import Headers


SWEEP_SECONDS = 0.1
"""How often deadlines are looked at; a timeout is late by at most this much."""


class Gateway:
    """
    What all exchanges of one worker share.

    Attributes:
        hooks: The plugins' hooks, compiled.
        router: Places requests.
        access: Refuses those that may not pass.
        budget: Limits what request bodies hold in memory.
        metrics: Counts.
        tracker: Follows calls of models.
        afterwards: Does what has time until an exchange has ended.
        clock: Monotonic seconds.
        capture_limit: Bytes of a body that plugins get to see.
        response_headers: Whether responses get our own header fields.
        closed: Whether new requests are answered 503, because the proxy is stopping.
        retirement: Upstreams that are not used for new requests any more.
    """

    def __init__(
        self,
        settings: ServerSettings,
        router: Router,
        hooks: Hooks,
        metrics: Metrics,
        tracker: Tracker,
        *,
        recording: RecordingSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.hooks = hooks
        self.router = router
        self.metrics = metrics
        self.tracker = tracker
        self.clock = clock
        self.access = Access(settings)
        self.budget = BodyBudget(settings.max_body_size, settings.body_budget)
        self.capture_limit = settings.capture_limit
        self.response_headers = settings.response_headers
        self.closed = False
        self.afterwards = Afterwards()
        self._recordable = Recordable(recording or RecordingSettings())
        self._wall_clock = wall_clock
        self._identity = bool(hooks.guard_response or hooks.guard_stream)
        self._capture = settings.capture_limit if hooks.observes else 0
        self._active: set[Flow] = set()
        self.retirement = Retirement(lambda: (flow.upstream for flow in self._active))
        self._idle = asyncio.Event()
        self._idle.set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._ids = _ids(wall_clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        if scope["type"] != "http":
            await _refuse_websocket(scope, send)
            return
        path = _raw_path(scope)
        headers: Headers = tuple(scope["headers"])
        route = self.router.route(scope["method"], path, headers)
        if route is None:
            await _answer(send, 404, b'{"error":{"message":"there is nothing here"}}')
        elif self.closed:
            await _answer(send, 503, b'{"error":{"message":"the proxy is shutting down"}}')
        else:
            client = Client(scope, receive, send)
            exchange = self._open(scope, route, headers)
            flow = self.flow(scope, exchange, route.upstream, receive, client)
            self._enter(flow)
            try:
                await flow.run()
            finally:
                if self.retirement.waiting:
                    self.retirement.look()

    def flow(
        self, scope: Scope, exchange: Exchange, upstream: Upstream, receive: Receive, client: Client
    ) -> Flow:
        """Return what carries an exchange; a playback has its own."""
        return Flow(self, exchange, upstream, receive, client)

    def configure(self, settings: ServerSettings, router: Router) -> None:
        """Take over what can change while the proxy runs; calls under way keep their upstream."""
        self.router = router
        self.access = Access(settings)
        self.budget.each, self.budget.total = settings.max_body_size, settings.body_budget
        self.capture_limit = settings.capture_limit
        self.response_headers = settings.response_headers
        self._capture = settings.capture_limit if self.hooks.observes else 0

    @property
    def in_flight(self) -> int:
        """How many exchanges are under way."""
        return len(self._active)

    async def wait_idle(self) -> None:
        """Wait until no exchange is under way, and all that have ended are told of."""
        await self._idle.wait()
        self.afterwards.finish()

    def interrupt_all(self, error: ExchangeError) -> None:
        """End every exchange that is under way with `error`."""
        for flow in tuple(self._active):
            flow.interrupt(error)

    def leave(self, flow: Flow) -> None:
        """Forget an exchange that has ended, and count it."""
        self._active.discard(flow)
        if flow.reserved:
            self.budget.give_back(flow.reserved)
        if not self._active:
            self._idle.set()
        self.metrics.ended(flow.exchange)

    def passed_on(self, flow: Flow, response: Response, data: bytes) -> None:
        """Note bytes that have gone to the client, and tell the observers."""
        now, exchange, tracked = self.clock(), flow.exchange, flow.tracked
        if exchange.first_byte_at is None:
            exchange.first_byte_at = now
        read_at_end = tracked is not None and tracked.stream is None
        response.record(data, self.capture_limit if read_at_end else self._capture)
        if tracked is not None:
            tracked.passed(data)
        if self.hooks.on_chunk:
            notify(self.hooks.on_chunk, exchange, Chunk(data, now - exchange.started))

    def _open(self, scope: Scope, route: Route, headers: Headers) -> Exchange:
        upstream = route.upstream
        query = scope["query_string"].decode("latin-1")
        passed, sent_query = to_upstream(headers, identity=self._identity), query
        if upstream.credentials.overrides:
            passed = upstream.credentials.strip(passed)
            sent_query = upstream.credentials.strip_query(query)
        method = scope["method"]
        client = scope.get("client")
        return Exchange(
            id=next(self._ids),
            original=Request(method, route.path, query, headers),
            request=Request(method, route.path, sent_query, passed),
            upstream=upstream.name,
            dialect=route.dialect,
            started_at=self._wall_clock(),
            started=self.clock(),
            workflow_id=route.workflow_id,
            client=client[0] if client else "",
            recorded=self._recordable(headers, route.path, scope),
        )

    def _enter(self, flow: Flow) -> None:
        self._active.add(flow)
        self._idle.clear()
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Look at all deadlines at once, which costs less than a timer for each request."""
        now = self.clock()
        for flow in tuple(self._active):
            if flow.deadline < now:
                flow.time_out()
        self._sweeper = None
        if self._active:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)


class _ids:  # noqa: N801 - used like a function
    """Exchange ids: unique over processes, sortable by time."""

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._process = os.urandom(3).hex()
        self._numbers = count()

    def __next__(self) -> str:
        millis = int(self._wall_clock() * 1000)
        return f"ex-{millis:011x}{self._process}{next(self._numbers) & 0xFFFFFF:06x}"


def _raw_path(scope: Scope) -> str:
    """Return the path as it was sent; mounts rewrite `path`, and it is decoded."""
    raw: bytes | None = scope.get("raw_path")
    return raw.decode("latin-1") if raw else quote(scope["path"])


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    if status == 503:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _refuse_websocket(scope: Scope, send: Send) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": 501, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"", "more_body": False})
    else:
        await send({"type": "websocket.close", "code": 1008})
