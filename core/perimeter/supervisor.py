"""
The process that a proxy is run by.

With one worker, supervisor and worker are the same process: what there is one of per proxy
(`supervise`) is set up first and let go of last, around the worker's own life. With several, the
same is done around the lives of all, which are processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from perimeter import application as applications
from perimeter import logs, process
from perimeter.context import Clock, data_root
from perimeter.errors import PerimeterError
from perimeter.gateway.access import is_loopback
from perimeter.reloading import Load, on_hangup
from perimeter.server import Server, bind
from perimeter.sessions.memory import MemoryStore
from perimeter.sessions.stores import limits_of, open_shared
from perimeter.workers.address import reserve
from perimeter.workers.pool import Pool
from perimeter.workers.sharing import shared


if TYPE_CHECKING:
    import socket

    from perimeter.application import Application
    from perimeter.sessions.evidence import SessionStore
    from perimeter.sessions.snapshot import SharedStore
    from perimeter.settings import Settings

log = logging.getLogger("perimeter.supervisor")


class ListenError(PerimeterError):
    """The proxy can't listen where it is told to."""


def run(settings: Settings, *, announce: Callable[[str], None], reload: Load | None = None) -> int:
    """
    Run a proxy until it is told to stop.

    Args:
        settings: The effective configuration.
        announce: Shows a line to the person who started it.
        reload: Loads the configuration again, on SIGHUP.

    Returns:
        The exit code.

    Raises:
        ConfigError: A plugin's table is wrong, or a plugin is missing.
        PluginError: A plugin can't be loaded or started.
        ListenError: The address can't be had.
    """
    logs.configure(settings.logging, settings.secrets())
    several = settings.server.workers > 1
    store = _shared_store(settings) if several else None
    application = applications.build(settings, store=store or _no_store(settings, several))
    listener = listen(settings)
    serving = (
        supervise(application, listener, announce=announce, reload=reload, store=store)
        if several
        else serve(application, listener, announce=announce, reload=reload)
    )
    try:
        with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
            runner.run(process.stoppable(serving))
    except asyncio.CancelledError:
        log.info("stopped before it had started")
    except KeyboardInterrupt:  # only while nobody else handles the signal: starting or ending
        log.info("interrupted")
    finally:
        listener.close()
    return 0


async def serve(
    application: Application,
    listener: socket.socket,
    *,
    announce: Callable[[str], None] = lambda _: None,
    started: Callable[[Server], None] = lambda _: None,
    reload: Load | None = None,
) -> None:
    """
    Serve an application from start-up to the end of its drain.

    Args:
        application: What to serve.
        listener: Where it listens.
        announce: Shows a line to the person who started it.
        started: Given the server once it accepts; its `stop` begins the drain.
        reload: Loads the configuration again, on SIGHUP.
    """
    application.registry.located(*listener.getsockname()[:2])
    close = await application.registry.supervise()
    try:
        await application.startup()
        try:
            process.spare_collector()
            process.share_interpreter()
            server = Server(application)
            on_hangup(application, reload, server.stop)
            _tell(application, listener, announce)
            started(server)
            await server.serve(sockets=[listener])
        finally:
            await application.shutdown()
    finally:
        await close()


async def supervise(
    application: Application,
    reserved: socket.socket,
    *,
    announce: Callable[[str], None],
    reload: Load | None,
    store: SharedStore | None,
) -> None:
    """
    Have several workers serve, from their start-up to the end of their drain.

    Args:
        application: This process's own: it has what there is one of per proxy, and serves nobody.
        reserved: Keeps the address where the workers listen.
        announce: Shows a line to the person who started it.
        reload: Loads the configuration again, on SIGHUP.
        store: The sessions that workers share; None where a plugin's store is shared by itself.
    """
    application.registry.located(*reserved.getsockname()[:2])
    close = await application.registry.supervise()
    try:
        async with shared(store) as path:
            pool = Pool(application, reserved, path)
            for number in (signal.SIGINT, signal.SIGTERM):
                process.on_signal(number, pool.stop)
            on_hangup(application, reload, pool.stop, pool.reload)
            await pool.run(lambda: _tell(application, reserved, announce))
    finally:
        await application.registry.release()
        await close()
        await application.close_upstreams()


def _shared_store(settings: Settings) -> SharedStore | None:
    return open_shared(settings.session, Clock().time, data_root(os.environ))


def _no_store(settings: Settings, several: bool) -> SessionStore | None:
    """Return what a supervisor has in place of a plugin's store, which its workers open."""
    return MemoryStore(limits_of(settings.session), Clock().time) if several else None


def _tell(
    application: Application, listener: socket.socket, announce: Callable[[str], None]
) -> None:
    """Say that the proxy serves, and where."""
    address = listener.getsockname()[:2]
    log.info("listening on %s port %d", *address)
    for warning in warnings(application):
        log.warning("%s", warning)
    # Whoever started the proxy may have stopped reading; that is no reason to end it.
    with contextlib.suppress(OSError):
        for line in summary(application, address):
            announce(line)


def listen(settings: Settings) -> socket.socket:
    """
    Open the listening socket.

    Raises:
        ListenError: The address can't be had; the message says why.
    """
    host, port = settings.server.host, settings.server.port
    try:
        return (bind if settings.server.workers == 1 else reserve)(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"can't listen on {host} port {port}: {reason}"
        raise ListenError(message) from error


def summary(application: Application, address: tuple[str, int]) -> list[str]:
    """Return the lines that tell what was started: where it listens, forwards and writes."""
    settings = application.settings
    host, port = address
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    lines = [f"Perimeter listens on {url}"]
    default = settings.default_upstream or next(iter(settings.upstreams), "")
    for name, upstream in settings.upstreams.items():
        mark = " (default)" if name == default else ""
        lines.append(f"  forwards to {name}{mark}: {upstream.type} at {upstream.base_url}")
    running = application.registry.describe()
    names = [entry["name"] for entry in running if entry["state"] == "loaded"]
    lines.append(f"  plugins: {', '.join(names) if names else 'none'}")
    lines.extend(f"  {place}" for place in application.places())
    lines.extend(f"  warning: {warning}" for warning in warnings(application))
    return lines


def warnings(application: Application) -> list[str]:
    """Return what the person who started the proxy should know about its safety."""
    server = application.settings.server
    if is_loopback(server.host):
        return []
    found = []
    injecting = [name for name, each in application.upstreams.items() if each.credentials.injects]
    if injecting and not server.tokens:
        names = ", ".join(injecting)
        found.append(
            f"anyone who reaches {server.host} can use the key of {names}: set [server] tokens"
        )
    if not server.admin_token:
        found.append("/config and plugin pages are closed: set [server] admin_token to open them")
    return found
