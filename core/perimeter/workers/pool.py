"""The supervisor of several workers: starts them, starts them again, and stops them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from perimeter import logs
from perimeter.errors import PerimeterError
from perimeter.metrics.snapshot import Snapshot, remains, snapshot, together
from perimeter.workers.channel import Reload, Start
from perimeter.workers.place import Place


if TYPE_CHECKING:
    import socket

    from perimeter.application import Application
    from perimeter.settings import Settings

log = logging.getLogger("perimeter.workers")

ANSWER_SECONDS = 0.5
"""What a worker has to tell its figures; after that its last ones count."""
LOOK_SECONDS = 10.0
"""How often the figures are asked for anyway: what a worker counted since is lost if it crashes."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a worker is started again; doubled each time that it does not stay."""
STAYS_SECONDS = 10.0
MARGIN_SECONDS = 10.0
"""What a worker has beyond its own deadlines, before it is killed."""


@attrs.define(eq=False)
class Pool:
    """
    The workers of one proxy.

    Attributes:
        application: The supervisor's own; it serves nobody. Its configuration is the workers'.
        reserved: The socket that keeps the address.
        sessions: The path of the shared sessions' socket; None where there is none.
    """

    application: Application
    reserved: socket.socket
    sessions: str | None
    places: list[Place] = attrs.field(init=False)
    gone: Snapshot = attrs.field(factory=Snapshot)
    _stopping: asyncio.Event = attrs.field(factory=asyncio.Event)
    _keepers: list[asyncio.Task[None]] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        count = self.application.settings.server.workers
        self.places = [Place(number + 1, self.totals) for number in range(count)]

    async def run(self, started: Callable[[], None]) -> None:
        """
        Run the workers until `stop` is called.

        Args:
            started: Called when all workers accept connections.

        Raises:
            PerimeterError: A worker can't start.
        """
        try:
            await self._start_all()
            started()
            await self._keep_all()
        except PerimeterError:
            if not self._stopping.is_set():  # else they ended because they were told to
                raise
        finally:
            await self._end()

    def stop(self) -> None:
        """Let the workers drain and end; called again, they hurry."""
        for place in self.places:
            if self._stopping.is_set():
                place.hurry()
            else:
                place.end()
        self._stopping.set()

    def reload(self, settings: Settings) -> None:
        """Have all workers go on with another configuration."""
        for place in self.places:
            if place.channel is not None:
                place.channel.send(Reload(settings))

    async def totals(self) -> Snapshot:
        """Return what all workers, and this process, have counted."""
        await asyncio.gather(*(place.refresh(ANSWER_SECONDS) for place in self.places))
        own = snapshot(self.application.metrics)
        active = own.numbers.active if self.sessions is not None else None
        living = [own, *(place.last for place in self.places)]
        return together(living, self.gone, time.monotonic, active)

    async def _keep_all(self) -> None:
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(place)) for place in self.places]
        looking = loop.create_task(self._look())
        try:
            await self._stopping.wait()
        finally:
            looking.cancel()

    async def _start_all(self) -> None:
        loop = asyncio.get_running_loop()
        starting = [loop.create_task(each.start(self._message_to(each))) for each in self.places]
        try:
            await asyncio.gather(*starting)
        except BaseException:  # Ctrl-C cancels it
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
            raise

    def _message_to(self, place: Place) -> Callable[[], Start]:
        family, address = self.reserved.family, self.reserved.getsockname()
        return lambda: Start(
            place.number, self.application.settings, family, address, self.sessions
        )

    async def _keep(self, place: Place) -> None:
        """Start a worker again whenever it ends."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            since = time.monotonic()
            how = await place.ended()
            self._bury(place)
            if self._stopping.is_set():
                return
            if time.monotonic() - since > STAYS_SECONDS:
                pause = FIRST_PAUSE
            log.error("worker %d %s: it is started again in %g s", place.number, how, pause)
            await _unless(self._stopping, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._again(place)

    async def _again(self, place: Place) -> None:
        if self._stopping.is_set():
            return
        try:
            await place.start(self._message_to(place))
        except (PerimeterError, OSError) as error:
            if self._stopping.is_set():
                return
            log.error("worker %d can't start: %s", place.number, error)  # noqa: TRY400 - enough
        else:
            log.info("worker %d is there again", place.number)
            if self._stopping.is_set():  # it may not have heard of it
                place.end()

    def _bury(self, place: Place) -> None:
        self.gone = remains(self.gone, place.last, time.monotonic)
        place.last = Snapshot()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            logs.rotate()
            await asyncio.gather(*(place.refresh(ANSWER_SECONDS) for place in self.places))

    async def _end(self) -> None:
        """Wait until every worker is gone, and kill those that are late."""
        self._stopping.set()
        for place in self.places:
            place.end()
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Task[Any]] = [*self._keepers]
        waiting = waiting or [loop.create_task(each.gone()) for each in self.places]
        _, late = await asyncio.wait(waiting, timeout=self._patience)
        for place in self.places if late else ():
            log.error("worker %d does not end: it is killed", place.number)
            place.kill()
        if late:
            await asyncio.wait(late)

    @property
    def _patience(self) -> float:
        server = self.application.settings.server
        return server.drain_delay + 2 * server.shutdown_timeout + MARGIN_SECONDS


async def _unless(stopping: asyncio.Event, seconds: float) -> None:
    """Wait for so many seconds, unless it is time to stop before."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
