"""
A worker's process: `python -m perimeter.workers.worker <descriptor>`.

The supervisor starts it, with one end of a pair of sockets; over that it gets its configuration.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import shutil
import signal
import socket
import sys
from pathlib import Path

import attrs

from perimeter import application as applications
from perimeter import logs, process
from perimeter.application import Application
from perimeter.context import Clock
from perimeter.errors import PerimeterError
from perimeter.metrics.snapshot import Snapshot, snapshot
from perimeter.server import Server
from perimeter.sessions.remote import RemoteStore
from perimeter.sessions.stores import limits_of
from perimeter.workers.address import join
from perimeter.workers.channel import Channel, Ready, Refused, Reload, Start


log = logging.getLogger("perimeter.workers")

log_to = functools.partial(logs.configure, follows=True)

TOTALS_SECONDS = 1.0
"""What the supervisor has to tell the figures of all; it waits for half a second itself."""


@attrs.define(eq=False)
class Serving:
    """
    A worker at work.

    Attributes:
        channel: The way to the supervisor.
        application: What is served.
        server: What serves it, once it does.
        abandoned: Whether the supervisor is gone.
    """

    channel: Channel
    application: Application
    server: Server | None = None
    abandoned: bool = False

    async def run(self, listener: socket.socket) -> None:
        """Serve from start-up to the end of the drain."""
        application = self.application
        listening = asyncio.get_running_loop().create_task(self._listen())
        await application.startup()
        try:
            process.spare_collector()
            process.share_interpreter()
            self.server = Server(application)
            self.channel.send(Ready())
            if self.abandoned:
                self.server.stop()
            await self.server.serve(sockets=[listener])
        finally:
            process.on_signal(signal.SIGTERM, lambda: None)  # it ends; plugins are to finish
            await application.shutdown()
            listening.cancel()

    async def _listen(self) -> None:
        """Do what the supervisor says, for as long as it is there."""
        while (message := await self.channel.receive()) is not None:
            if isinstance(message, Reload):
                self._reload(message)
        self.abandoned = True
        log.error("the supervisor is gone: this worker ends")
        if self.server is not None:
            self.server.stop()

    def _reload(self, message: Reload) -> None:
        try:
            self.application.reload(message.settings, log_to)
        except (PerimeterError, OSError) as error:
            log.error("this worker could not reload: %s", error)  # noqa: TRY400 - it says enough


def main() -> int:
    """Run a worker; the exit code is 0 unless it could not start."""
    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    for name in ("SIGHUP", "SIGINT"):  # what these mean is the supervisor's affair
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        with asyncio.Runner(loop_factory=process.loop_factory()) as runner:
            return runner.run(_work(end))
    except asyncio.CancelledError:
        return 0


async def _work(end: socket.socket) -> int:
    channel = await Channel.over(end)
    start = await channel.receive()
    if not isinstance(start, Start):
        return 0
    try:
        await process.stoppable(_serve(channel, start))
    except PerimeterError as error:
        channel.send(Refused.of(error))
        return 2
    finally:
        await channel.close()
    return 0


async def _serve(channel: Channel, start: Start) -> None:
    log_to(start.settings.logging, start.settings.secrets())
    application = _application(start)
    metrics = application.metrics
    metrics.whole = lambda: channel.ask(TOTALS_SECONDS)

    async def figures() -> Snapshot:
        return snapshot(metrics)

    channel.figures = figures
    listener = _listener(start)
    application.registry.located(*listener.getsockname()[:2])
    serving = Serving(channel, application)
    await serving.run(listener)
    if serving.abandoned and start.sessions is not None:
        shutil.rmtree(Path(start.sessions).parent, ignore_errors=True)  # nobody else will


def _application(start: Start) -> Application:
    settings, clock = start.settings, Clock()
    if start.sessions is None:
        return applications.build(settings, clock=clock)
    try:
        store = RemoteStore(Path(start.sessions), limits_of(settings.session), clock.time)
    except OSError as error:
        raise PerimeterError(f"the sessions can't be reached: {error}") from error
    return applications.build(settings, clock=clock, store=store)


def _listener(start: Start) -> socket.socket:
    try:
        return join(start.family, start.address)
    except OSError as error:
        message = f"can't listen on {start.address[0]} port {start.address[1]}: {error.strerror}"
        raise PerimeterError(message) from error


if __name__ == "__main__":
    sys.exit(main())
