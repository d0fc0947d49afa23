"""
The process that a proxy is run by.

With one worker, supervisor and worker are the same process: what there is one of per proxy
(`supervise`) is set up first and let go of last, around the worker's own life.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from perimeter import application as applications
from perimeter import logs
from perimeter.errors import PerimeterError
from perimeter.gateway.access import is_loopback
from perimeter.server import Server, bind


if TYPE_CHECKING:
    import socket

    from perimeter.application import Application
    from perimeter.settings import Settings

log = logging.getLogger("perimeter.supervisor")


class ListenError(PerimeterError):
    """The proxy can't listen where it is told to."""


def run(settings: Settings, *, announce: Callable[[str], None]) -> int:
    """
    Run a proxy until it is told to stop.

    Args:
        settings: The effective configuration.
        announce: Shows a line to the person who started it.

    Returns:
        The exit code.

    Raises:
        ConfigError: A plugin's table is wrong, or a plugin is missing.
        PluginError: A plugin can't be loaded or started.
        ListenError: The address can't be had.
    """
    logs.configure(settings.logging, settings.secrets())
    application = applications.build(settings)
    listener = listen(settings)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_stoppable(serve(application, listener, announce=announce)))
    except asyncio.CancelledError:
        log.info("stopped before it had started")
    except KeyboardInterrupt:  # only while nobody else handles the signal: starting or ending
        log.info("interrupted")
    finally:
        listener.close()
    return 0


async def _stoppable(serving: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM end the start-up, too; once it serves, the server takes the signal itself."""
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows, or a thread
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
    await serving


async def serve(
    application: Application,
    listener: socket.socket,
    *,
    announce: Callable[[str], None] = lambda _: None,
    started: Callable[[Server], None] = lambda _: None,
) -> None:
    """
    Serve an application from start-up to the end of its drain.

    Args:
        application: What to serve.
        listener: Where it listens.
        announce: Shows a line to the person who started it.
        started: Given the server once it accepts; its `stop` begins the drain.
    """
    close = await application.registry.supervise()
    try:
        await application.startup()
        try:
            spare_collector()
            share_interpreter()
            server = Server(application)
            host, port = listener.getsockname()[:2]
            log.info("listening on %s port %d", host, port)
            for warning in warnings(application):
                log.warning("%s", warning)
            # Whoever started the proxy may have stopped reading; that is no reason to end it.
            with contextlib.suppress(OSError):
                for line in summary(application, listener.getsockname()[:2]):
                    announce(line)
            started(server)
            await server.serve(sockets=[listener])
        finally:
            await application.shutdown()
    finally:
        await close()


def spare_collector() -> None:
    """
    Let the garbage collector look less often at what stays.

    Nearly all that a call leaves behind goes without the collector's help, and what was loaded at
    the start is never garbage. With CPython's own thresholds a third of the cost of reading calls
    was spent in here.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def share_interpreter() -> None:
    """Let the event loop have the interpreter again after half a millisecond, not after five."""
    sys.setswitchinterval(0.0005)


def listen(settings: Settings) -> socket.socket:
    """
    Open the listening socket.

    Raises:
        ListenError: The address can't be had; the message says why.
    """
    host, port = settings.server.host, settings.server.port
    try:
        return bind(host, port)
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


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
