"""Everything in its place: database, writer, socket for workers, web server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlencode

import attrs
import uvicorn

from perimeter_plugin_live_trace.carrying import unpacked
from perimeter_plugin_live_trace.options import Options, Ready
from perimeter_plugin_live_trace.process.extensions import Jobs, load
from perimeter_plugin_live_trace.process.ingest import IngestServer
from perimeter_plugin_live_trace.process.loop import spare_collector
from perimeter_plugin_live_trace.process.places import (
    TOKEN_FILE,
    alone,
    database_file,
    listen,
    secret_for,
    token_for,
)
from perimeter_plugin_live_trace.process.writing import WritingThread
from perimeter_plugin_live_trace.store import Database, Known, Limits, Writer
from perimeter_plugin_live_trace.web.app import create_app
from perimeter_plugin_live_trace.web.site import Site


END_SECONDS = 3.0
_UNITS = ("bytes", "KiB", "MiB", "GiB")

log = logging.getLogger("perimeter.live_trace")


@attrs.define(eq=False)
class Process:
    """
    The process at work.

    Attributes:
        options: What its starter told it.
        ready: Told once that it serves.
        stopping: Set to end it.
    """

    options: Options
    ready: Callable[[Ready], None]
    stopping: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def run(self) -> None:
        """
        Serve until told to stop.

        Raises:
            StoreError: The database can't be used.
            OSError: The address can't be had.
        """
        config = self.options.settings()
        async with contextlib.AsyncExitStack() as stack:
            path = stack.enter_context(database_file(config, Path(self.options.data_dir)))
            if self.options.ingest:
                await stack.enter_async_context(alone(path))
            database = Database.open(path, create=bool(self.options.ingest))
            listener, moved = listen(self.options.host, config.server_port)
            with listener:
                await self._serve(database, listener, moved)

    async def _serve(self, database: Database, listener: socket.socket, moved: str) -> None:
        site = self._site(listener)
        known = Known.of(unpacked(self.options.dialects), self.options.prices())
        writer = Writer(database, dialects=known.dialects)
        writing = WritingThread(writer, self._limits(), site.ingest)
        writing.start()
        reader = database.reader(known)
        try:
            async with self._ingest(writing, site), Jobs(site, reader, writing):
                app = create_app(site, reader, writing)
                notes = [moved, self._note_of_token(site), self._note_of_data(database)]
                await self._web(app, site, listener, [note for note in notes if note])
        finally:
            writing.stop(END_SECONDS)

    def _site(self, listener: socket.socket) -> Site:
        config, folder = self.options.settings(), Path(self.options.data_dir)
        token = token_for(config, self.options.host, folder)
        # Who only looks at a database gets no file beside it, unless there is a login to be kept.
        kept = bool(self.options.ingest or token)
        return Site(
            config=config,
            host=self.options.host,
            port=listener.getsockname()[1],
            token=token,
            proxy_url=self.options.proxy,
            extensions=load(self.options.extensions),
            secret=secret_for(folder) if kept else secrets.token_bytes(32),
        )

    def _limits(self) -> Limits:
        """Return what is kept: a database that is only looked at is not tidied."""
        config = self.options.settings()
        if not self.options.ingest:
            return Limits()
        return Limits(config.max_age, config.max_sessions, config.max_size)

    @contextlib.asynccontextmanager
    async def _ingest(self, writing: WritingThread, site: Site) -> AsyncIterator[None]:
        if not self.options.ingest:
            yield
            return
        server = IngestServer(Path(self.options.ingest), writing, site)
        await server.start()
        try:
            yield
        finally:
            await server.stop()

    async def _web(
        self, app: object, site: Site, listener: socket.socket, notes: list[str]
    ) -> None:
        settings = uvicorn.Config(
            app,  # type: ignore[arg-type]  # an ASGI application
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(settings)
        loop = asyncio.get_running_loop()
        serving = loop.create_task(server.serve(sockets=[listener]), name="web")
        stopping = loop.create_task(self.stopping.wait(), name="stop")
        spare_collector()
        self.ready(Ready(url=site.url, open=_with_token(site), notes=notes))
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        site.closing = True
        server.should_exit = True
        await serving
        stopping.cancel()

    def _note_of_token(self, site: Site) -> str:
        if not site.token or self.options.settings().token:
            return ""
        return f"the dashboard asks for the token in {Path(self.options.data_dir) / TOKEN_FILE}"

    def _note_of_data(self, database: Database) -> str:
        if self.options.settings().storage_mode == "memory":
            return 'traces are kept until the end only (storage_mode = "memory")'
        size = _bytes(database.reader().size())
        kept = ", ".join(_kept(self._limits())) or "for ever"
        return (
            f"traces, prompts included, are kept in {database.path} ({size}; {kept}); "
            'storage_mode = "memory" keeps nothing'
        )


def _with_token(site: Site) -> str:
    return f"{site.url}/?{urlencode({'token': site.token.reveal()})}" if site.token else site.url


def _kept(limits: Limits) -> list[str]:
    """Return what is kept, for people."""
    found = []
    if limits.max_age:
        found.append(f"{limits.max_age / 86400:g} days")
    if limits.max_sessions:
        found.append(f"{limits.max_sessions:,} sessions")
    if limits.max_size:
        found.append(f"at most {_bytes(limits.max_size)}")
    return found


def _bytes(size: int) -> str:
    value = float(size)
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:.1f} {unit}"
