"""
Help for tests of Perimeter and its plugins.

`serve` runs any ASGI app on a real socket:

    from perimeter.simulator import Simulator
    from perimeter.testing import serve

    with serve(Simulator()) as base_url:
        httpx.get(base_url + "/v1/models")
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import uvicorn


_Application = Callable[..., Awaitable[Any]]


@contextmanager
def serve(
    app: _Application,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    lifespan: Literal["auto", "on", "off"] = "auto",
) -> Iterator[str]:
    """
    Run an ASGI app with uvicorn, in a thread and event loop of its own.

    The app is ready when the block is entered. At its end, requests that are still running get one
    second, then they are cancelled.

    Args:
        app: The app.
        host: Where to listen.
        port: Where to listen; 0 takes a free port.
        lifespan: Whether to send lifespan events, in uvicorn's words.

    Yields:
        The base URL, such as `http://127.0.0.1:54321`.

    Raises:
        RuntimeError: The app failed to start.
    """
    with _bound(host, port) as listener:
        server = _Server(
            uvicorn.Config(
                app,
                lifespan=lifespan,
                log_config=None,
                access_log=False,
                ws="none",
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run_until_stopped, args=(listener,), daemon=True)
        thread.start()
        try:
            server.wait_until_ready()
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is ready, and when it has failed to become so."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._settled = threading.Event()

    def run_until_stopped(self, listener: socket.socket) -> None:
        """Serve; the thread's main function."""
        # uvicorn ends the process where the app does not start; here that is the caller's affair.
        try:
            with suppress(SystemExit):
                self.run(sockets=[listener])
        finally:
            self._settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then say so."""
        await super().startup(sockets)
        self._settled.set()

    def wait_until_ready(self) -> None:
        """Block until the app runs."""
        self._settled.wait()
        if not self.started:
            message = "the app failed to start; its log says why"
            raise RuntimeError(message)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
