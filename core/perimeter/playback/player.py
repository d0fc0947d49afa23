"""Plays recorded exchanges: the whole application, with another gateway, clock and store."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import cast

import attrs

from perimeter import application as applications
from perimeter.application import Application
from perimeter.model import Exchange
from perimeter.playback.backlog import Backlog
from perimeter.playback.caller import Caller
from perimeter.playback.flow import PlayedGateway
from perimeter.playback.pace import Pace
from perimeter.playback.recorded import Recorded
from perimeter.playback.sessions import PlayedSessions
from perimeter.playback.settings import left_out, playable
from perimeter.playback.tape import Nowhere
from perimeter.playback.timeline import Timeline
from perimeter.sessions.evidence import SessionStore
from perimeter.sessions.memory import MemoryStore
from perimeter.sessions.stores import limits_of
from perimeter.settings import Settings
from perimeter.tracking.tracker import SWEEP_SECONDS


Ended = Callable[[Recorded, Exchange], None]
"""Told of each exchange when it is over."""


@attrs.define(eq=False)
class Player:
    """
    Plays recordings through the plugins of a configuration. One playback for each player.

    Attributes:
        settings: The effective configuration; its upstreams are not used.
        plugins: Further plugin classes by name, beside the installed ones.
        guards: Whether guards decide anew; else what they had decided happens again.
        resolve: Whether sessions are found anew; else they are those that were found.
        shift: Whether the playback begins now, instead of when it happened.
        speed: How many times faster than it happened; None for as fast as possible.
        delay: Real seconds between exchanges, which then are played one after the other.
        patience: Real seconds after which an exchange that does not go on counts as stuck.
        left_out: Names of the enabled plugins that do not want to see playbacks.
    """

    settings: Settings
    plugins: Mapping[str, type] = attrs.field(factory=dict, kw_only=True)
    guards: bool = attrs.field(default=False, kw_only=True)
    resolve: bool = attrs.field(default=False, kw_only=True)
    shift: bool = attrs.field(default=False, kw_only=True)
    speed: float | None = attrs.field(default=None, kw_only=True)
    delay: float | None = attrs.field(default=None, kw_only=True)
    patience: float = attrs.field(default=60.0, kw_only=True)
    left_out: list[str] = attrs.field(init=False)
    _pace: Pace = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _coming: Recorded | None = attrs.field(default=None, init=False)
    _rest: Iterator[Recorded] = attrs.field(factory=lambda: iter(()), init=False)
    _tasks: dict[asyncio.Task[None], Caller] = attrs.field(factory=dict, init=False)
    _defects: list[BaseException] = attrs.field(factory=list, init=False)
    _next_sweep: float = attrs.field(default=SWEEP_SECONDS, init=False)

    def __attrs_post_init__(self) -> None:
        self.left_out = left_out(self.settings, self.plugins)
        self._pace = Pace(self.speed)

    async def play(self, recordings: Iterable[Recorded], on_end: Ended | None = None) -> None:
        """
        Play recordings to their end, then end all sessions and stop the plugins.

        Args:
            recordings: Ordered by when they began. One more than those that run is held.
            on_end: Told of each exchange when it is over.

        Raises:
            ConfigError: A plugin is missing, or its table is wrong.
            PluginError: A plugin can't be loaded or started.
            PlaybackStuck: Something that is in no recording is waited for without end.
        """
        rest = iter(recordings)
        first = next(rest, None)
        if first is None:
            return
        self._rest = chain([first], rest)
        timeline = Timeline(time.time() if self.shift else first.started_at, self.patience)
        application = self._build(timeline)
        close = await application.registry.supervise()
        try:
            await application.registry.startup()
            try:
                await self._run(application, timeline, first.started_at, on_end)
            finally:
                await application.shutdown()
        finally:
            await close()
        for defect in self._defects:
            raise defect

    def stop(self) -> None:
        """Begin no more exchanges, and play those that run to their end at once."""
        self._stopped = True
        self._coming = None
        self._pace.stop()

    def _next(self) -> Recorded | None:
        return None if self._stopped else next(self._rest, None)

    def _build(self, timeline: Timeline) -> Application:
        limits = limits_of(self.settings.session)
        kind = MemoryStore if self.resolve else PlayedSessions
        return applications.build(
            playable(self.settings, self.left_out),
            plugins=self.plugins,
            transport=lambda _: Nowhere(),
            clock=timeline,
            store=cast("SessionStore", kind(limits, timeline.time)),
            gateway=PlayedGateway,
            guards=self.guards,
        )

    async def _run(
        self, application: Application, timeline: Timeline, began_at: float, on_end: Ended | None
    ) -> None:
        """Go from moment to moment until nothing is left."""
        loop = asyncio.get_running_loop()
        watch = loop.create_task(timeline.watch(), name="perimeter-playback-watch")
        backlog = Backlog(application.registry, self.patience)
        self._coming = self._next()
        try:
            while True:
                await timeline.quiet()
                await backlog.wait()
                start = self._start_of_next(began_at, timeline)
                moment = min(start, timeline.next)
                if moment == math.inf:
                    return
                await self._go_to(moment, application, timeline)
                if timeline.next <= moment:
                    timeline.wake()
                elif self._coming is not None:
                    await self._begin(application, timeline, on_end)
        finally:
            watch.cancel()
            await self._cancel()

    def _start_of_next(self, began_at: float, timeline: Timeline) -> float:
        """Return the moment of the next exchange's beginning, infinite while it must wait."""
        if self._coming is None or (self.delay is not None and self._tasks):
            return math.inf
        return max(timeline.now, self._coming.started_at - began_at)

    async def _go_to(self, moment: float, application: Application, timeline: Timeline) -> None:
        """Let time pass, and look on the way for sessions that are over, as a proxy does."""
        while self._next_sweep <= moment and application.tracker.store.active:
            await self._pace.wait(self._next_sweep)
            timeline.now = max(timeline.now, self._next_sweep)
            self._next_sweep = timeline.now + SWEEP_SECONDS
            application.tracker.sweep()
        if self.delay is None or self._tasks:
            await self._pace.wait(moment)
        timeline.now = max(timeline.now, moment)

    async def _begin(
        self, application: Application, timeline: Timeline, on_end: Ended | None
    ) -> None:
        recorded, self._coming = self._coming, self._next()
        if recorded is None:
            return
        if self.delay is not None:
            await self._pace.rest(self.delay if timeline.now else 0.0, timeline.now)
            if self._stopped:
                return
        caller = Caller(recorded, timeline)
        timeline.begin(caller)
        loop = asyncio.get_running_loop()
        task: asyncio.Task[None] = loop.create_task(
            application.gateway(caller.scope(), caller.receive, caller.send)
        )
        self._tasks[task] = caller
        task.add_done_callback(partial(self._over, application.tracker.store, on_end))

    def _over(self, store: SessionStore, on_end: Ended | None, task: asyncio.Task[None]) -> None:
        caller = self._tasks.pop(task)
        recorded, exchange = caller.recorded, caller.exchange
        if isinstance(store, PlayedSessions):
            store.over(recorded.id)
        caller.timeline.end(caller)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._defects.append(error)
        elif on_end is not None and exchange is not None:
            on_end(recorded, exchange)

    async def _cancel(self) -> None:
        """Give up what still runs, where the playback itself failed."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
