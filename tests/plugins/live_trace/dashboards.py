"""A dashboard on a real port, in a thread of the test's process."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import factory
import uvicorn

from perimeter import Secret
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.store import Database, Reader, Writer
from perimeter_plugin_live_trace.web.app import Dashboard, create_app
from perimeter_plugin_live_trace.web.page import Route, Site


@attrs.define
class Written:
    """Changes of users, one at a time, with a writer of the test's."""

    writer: Writer
    _lock: threading.Lock = attrs.field(factory=threading.Lock)

    def change(self, what: Callable[..., Any]) -> Any:
        """Run one change."""
        with self._lock:
            return self.writer.change(what)

    def take(self, records: Sequence[Any]) -> None:
        """Keep records, as the process does that the proxy talks to."""
        with self._lock:
            self.writer.take(records)


@attrs.define
class Served:
    """
    A dashboard that runs.

    Attributes:
        url: Where it is.
        site: What it knows of itself.
        reader: Its database.
        changes: Writes to it.
    """

    url: str
    site: Site
    reader: Reader
    changes: Written
    _server: uvicorn.Server
    _thread: threading.Thread

    def stop(self) -> None:
        """Stop it, and wait for that."""
        self.site.closing = True
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive(), "the dashboard does not stop"
        self.changes.writer.close()
        self.reader.close()


def happen(served: Served, session: str, turns: int = 1, seed: int = 7) -> None:
    """Let something happen in a session, now."""
    traffic = factory.Traffic(random.Random(seed), time.time())
    for records in traffic.conversation(
        factory.AGENTS[0], traffic.now, turns, session=session, ends=False
    ):
        served.changes.take(records)


def application(
    path: Path,
    *,
    routes: Sequence[Route] | None = None,
    token: str = "",
    clock: Callable[[], float] = time.monotonic,
    **facts: Any,
) -> tuple[Dashboard, Site, Reader, Written]:
    """Return a dashboard's application for a database, which is made when it is not there."""
    options = {name: facts.pop(name) for name in ("allowed_hosts",) if name in facts}
    database = Database.open(path)
    reader = database.reader()
    changes = Written(Writer(database))
    site = Site(config=Config(**options), token=Secret(token), **facts)
    app = create_app(site, reader, changes, routes=routes, clock=clock)
    return app, site, reader, changes


def serve(path: Path, *, port: int = 0, **options: Any) -> Served:
    """Serve a database on a port of 127.0.0.1."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    port = listener.getsockname()[1]
    app, site, reader, changes = application(path, port=port, **options)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=3, lifespan="on"
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    thread = threading.Thread(
        target=_run, args=(server, listener, started), name="dashboard", daemon=True
    )
    thread.start()
    assert started.wait(20), "the dashboard does not start"
    return Served(f"http://127.0.0.1:{port}", site, reader, changes, server, thread)


def _run(server: uvicorn.Server, listener: socket.socket, started: threading.Event) -> None:
    async def run() -> None:
        serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        started.set()
        await serving

    try:
        asyncio.run(run())
    finally:
        listener.close()
