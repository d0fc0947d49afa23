"""Our own start-up of uvicorn, and its drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from perimeter.errors import ShuttingDown
from perimeter.http_protocol import HttpProtocol


if TYPE_CHECKING:
    from types import FrameType

    from perimeter.application import Application

log = logging.getLogger("perimeter.server")

FORCE_SECONDS = 1.0
"""What clients get after the shutdown deadline to take the last bytes."""
CLOSING_SECONDS = 0.01
"""How often it is looked whether the last connection is closed."""


class Server(uvicorn.Server):
    """Serves one application until it is told to stop, then drains."""

    def __init__(self, application: Application) -> None:
        settings = application.settings.server
        protocol = type("LimitedHttpProtocol", (HttpProtocol,), {"limits": settings})
        config = uvicorn.Config(
            cast("Any", application.asgi),
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=max(1, round(settings.keep_alive)),
        )
        super().__init__(config)
        self._application = application
        self._drainer: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals ourselves: the first one drains, the second one hurries."""
        loop = asyncio.get_running_loop()
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        except (NotImplementedError, ValueError, RuntimeError):
            # Windows, or not the main thread: uvicorn's own way.
            with super().capture_signals():
                yield
            return
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        """Begin to drain; called again, give up what is in flight at once."""
        if self._drainer is None:
            loop = asyncio.get_running_loop()
            self._drainer = loop.create_task(self._drain(), name="perimeter-drain")
        else:
            self._application.gateway.interrupt_all(ShuttingDown("the proxy is shutting down"))

    async def main_loop(self) -> None:
        """Wait until it is time to stop. uvicorn looks ten times a second whether it is."""
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._over.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal where the event loop can't."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """
        Stop accepting; what still comes over open connections is answered 503.

        As uvicorn does it, which takes two tenths of a second over it at least.
        """
        self._application.gateway.closed = True
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in tuple(state.connections):
            connection.shutdown()
        while (state.connections or state.tasks) and not self.force_exit:  # noqa: ASYNC110 - no event
            await asyncio.sleep(CLOSING_SECONDS)
        for server in self.servers:
            await server.wait_closed()

    async def _drain(self) -> None:
        settings = self._application.settings.server
        gateway = self._application.gateway
        self._application.draining = True
        log.info("draining: %d exchanges in flight", gateway.in_flight)
        await asyncio.sleep(settings.drain_delay)
        self.should_exit = True  # it stops accepting and waits for what is in flight
        self._over.set()
        if await _within(settings.shutdown_timeout, gateway.wait_idle()):
            return
        log.warning("cutting %d exchanges: the shutdown deadline passed", gateway.in_flight)
        gateway.interrupt_all(ShuttingDown("the proxy is shutting down"))
        await _within(FORCE_SECONDS, gateway.wait_idle())
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


async def _within(seconds: float, waiting: Any) -> bool:
    """Wait for something, and tell whether it came in time."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


def bind(host: str, port: int) -> socket.socket:
    """
    Open the listening socket.

    Raises:
        OSError: The address can't be had, for instance because it is in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if hasattr(socket, "SO_REUSEADDR"):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
