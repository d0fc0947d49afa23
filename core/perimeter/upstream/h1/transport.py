"""The connections to one upstream: opened when needed, kept for a while, lent to one call each."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perimeter.errors import UpstreamClosed, UpstreamError, UpstreamTimeout
from perimeter.upstream.h1.call import H1Call
from perimeter.upstream.h1.connection import Connection
from perimeter.upstream.h1.dial import Origin, connect
from perimeter.upstream.h1.wire import request_head
from perimeter.upstream.protocol import UpstreamRequest
from perimeter.upstream.tls import context_for


if TYPE_CHECKING:
    from perimeter.settings import UpstreamSettings

SOONEST = 0.05
"""Seconds at least between two looks for connections that were idle for too long."""

_PORTS = {"http": 80, "https": 443}


class H1Transport:
    """
    A pool of connections to one upstream.

    Attributes:
        clock: Tells monotonic time, seconds.
    """

    def __init__(
        self, settings: UpstreamSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Prepare the pool; nothing is opened yet.

        Args:
            settings: The upstream's table.
            clock: Tells monotonic time, seconds.

        Raises:
            OSError: A certificate's file can't be read.
        """
        url = urlsplit(settings.base_url)
        host = url.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        tls = context_for(settings) if url.scheme == "https" else None
        if tls is not None:
            tls.set_alpn_protocols(["http/1.1"])
        port = url.port or _PORTS[url.scheme]
        self.clock = clock
        self._origin = Origin(host, port, tls, settings.connect_timeout)
        named = f"[{host}]" if ":" in host else host
        self._host = (f"{named}:{port}" if port != _PORTS[url.scheme] else named).encode("ascii")
        self._settings = settings
        self._live: set[Connection] = set()
        self._idle: list[Connection] = []  # the one used last is at the end, and used next
        self._places = settings.max_connections  # for connections that may still be opened
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._calls: dict[asyncio.Task[None], H1Call] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._live)

    def start(self, request: UpstreamRequest) -> H1Call:
        """Begin to send a request."""
        call = H1Call(request)
        try:
            head = request_head(request, self._host)
        except UpstreamError as error:
            call.abort(error)
            return call
        if not request.fresh and isinstance(request.body, bytes):
            connection = self._take_idle()
            if connection is not None:
                call.begin(connection, head)
                return call
        task = call.drive(head, self._obtain)
        self._calls[task] = call
        task.add_done_callback(self._calls.pop)
        return call

    async def close(self) -> None:
        """Close every connection, and wait until nothing goes on."""
        self._closed = True
        tasks = list(self._calls)
        for call in list(self._calls.values()):
            call.abort(UpstreamClosed("closed by the proxy"))
        for connection in list(self._live):
            connection.fail(UpstreamClosed("closed by the proxy"))
        if self._sweeping is not None:
            self._sweeping.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await asyncio.sleep(0)  # for the event loop to close the sockets

    # What connections call

    def give_back(self, connection: Connection) -> None:
        """Take a connection that may be used again, for who waits longest for one."""
        connection.freed = now = self.clock()
        expiry = self._settings.keepalive_expiry
        if self._closed or now - connection.opened >= self._settings.connection_max_age:
            connection.discard()
            return
        waiting = self._next_waiting()
        if waiting is not None:
            waiting.set_result(connection)
        elif expiry <= 0:
            connection.discard()
        else:
            self._idle.append(connection)
            if self._sweeping is None:
                self._sweep_in(expiry)

    def forget(self, connection: Connection) -> None:
        """Learn that a connection is gone; its place is free."""
        if connection in self._live:
            self._live.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._free_place()

    # Connections that are open and unused

    def _take_idle(self) -> Connection | None:
        idle, now = self._idle, self.clock()
        while idle:
            connection = idle.pop()
            if not self._expired(connection, now):
                return connection
            connection.discard()
        return None

    def _expired(self, connection: Connection, now: float) -> bool:
        settings = self._settings
        return (
            now - connection.freed >= settings.keepalive_expiry
            or now - connection.opened >= settings.connection_max_age
        )

    def _sweep(self) -> None:
        self._sweeping = None
        now = self.clock()
        for connection in [each for each in self._idle if self._expired(each, now)]:
            connection.discard()
        if self._idle:
            self._sweep_in(self._idle[0].freed + self._settings.keepalive_expiry - now)

    def _sweep_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(max(seconds, SOONEST), self._sweep)

    # New ones, and the queue for them

    async def _obtain(self, fresh: bool) -> Connection:
        """Return an unused connection, or a new one once there is a place for it."""
        connection = None if fresh else self._take_idle()
        if connection is None and fresh and not self._places and self._idle:
            self._idle[0].discard()
        if connection is None and self._places:
            self._places -= 1
        elif connection is None:
            connection = await self._turn()
            if connection is not None and fresh:  # its place is as good
                self._live.discard(connection)
                connection.discard()
                connection = None
        return await self._open() if connection is None else connection

    async def _open(self) -> Connection:
        try:
            connection = await connect(self._origin, lambda: Connection(self))
        except BaseException:
            self._free_place()
            raise
        if connection.gone:
            self._free_place()
        else:
            self._live.add(connection)
        return connection

    async def _turn(self) -> Connection | None:
        """Wait in the queue for a connection, or for a place to open one (None)."""
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._settings.pool_timeout):
                return await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._pass_on(turn.result())
            turn.cancel()
            if isinstance(error, TimeoutError):
                message = "no connection was free"
                raise UpstreamTimeout(message, phase="pool") from error
            raise

    def _pass_on(self, given: Connection | None) -> None:
        """Take back what somebody got who is gone."""
        if given is None:
            self._free_place()
        elif not given.gone:
            self.give_back(given)

    def _free_place(self) -> None:
        waiting = self._next_waiting()
        if waiting is None:
            self._places += 1
        else:
            waiting.set_result(None)

    def _next_waiting(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None
