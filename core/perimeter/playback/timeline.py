"""A clock that stands still while anything is being done, and then jumps to what comes next."""

from __future__ import annotations

import asyncio
import math
from heapq import heappop, heappush
from itertools import count

from perimeter.context import Clock
from perimeter.errors import PerimeterError


class PlaybackStuck(PerimeterError):
    """An exchange that is played back does not go on, though nothing recorded keeps it."""


class Timeline(Clock):
    """
    The time of a playback: discrete events, in the order of their moments.

    Moments are seconds since the playback's beginning, which is also what `monotonic` returns.
    Exchanges are `busy` while they do something, and else wait for a moment. Only when none of them
    is busy does the time move on, to the earliest of these moments.

    Attributes:
        busy: The exchanges that are doing something, as whatever stands for them; it has a name.
        now: The present moment.
    """

    def __init__(self, began_at: float, patience: float) -> None:
        """
        Begin.

        Args:
            began_at: Unix time that the playback begins at.
            patience: Real seconds after which an exchange that stays busy counts as stuck.
        """
        self.busy: set[object] = set()
        self.now = 0.0
        self._began_at = began_at
        self._patience = patience
        self._numbers = count()
        self._waiting: list[tuple[float, int, object, asyncio.Future[None]]] = []
        self._quiet: asyncio.Future[None] | None = None
        self._steps = 0

    def time(self) -> float:
        """Return Unix time, as it was then or as it is shifted to."""
        return self._began_at + self.now

    def monotonic(self) -> float:
        """Return seconds since the playback's beginning."""
        return self.now

    @property
    def next(self) -> float:
        """The earliest moment that is waited for, infinite where there is none."""
        return self._waiting[0][0] if self._waiting else math.inf

    def begin(self, exchange: object) -> None:
        """Note that an exchange is busy."""
        self._steps += 1
        self.busy.add(exchange)

    def end(self, exchange: object) -> None:
        """Note that an exchange is not busy any more: it waits, or is over."""
        self.busy.discard(exchange)
        if not self.busy and self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(None)

    async def until(self, moment: float, exchange: object) -> None:
        """Wait for a moment, as that exchange."""
        if moment <= self.now:
            return
        reached = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (moment, next(self._numbers), exchange, reached))
        self.end(exchange)
        try:
            await reached
        finally:
            self.begin(exchange)

    def wake(self) -> None:
        """Go to the earliest moment that is waited for, and let its exchange go on."""
        moment, _, exchange, reached = heappop(self._waiting)
        self.now = max(self.now, moment)
        if not reached.done():
            self.begin(exchange)
            reached.set_result(None)

    async def quiet(self) -> None:
        """
        Wait until no exchange is busy.

        Raises:
            PlaybackStuck: One of them stays busy.
        """
        if not self.busy:
            return
        loop = asyncio.get_running_loop()
        self._quiet = loop.create_future()
        try:
            await self._quiet
        finally:
            self._quiet = None

    async def watch(self) -> None:
        """Look again and again whether an exchange is stuck; runs until it is cancelled."""
        seen = -1
        while True:
            if self._quiet is not None and self._steps == seen and not self._quiet.done():
                names = ", ".join(sorted(map(str, self.busy)))
                message = (
                    f"the replay does not go on: {names} waits for something that is in no "
                    f"recording, such as a plugin's guard, for {self._patience:g} s already"
                )
                self._quiet.set_exception(PlaybackStuck(message))
            seen = self._steps
            await asyncio.sleep(self._patience)
