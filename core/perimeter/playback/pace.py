"""Real time beside recorded time, where somebody wants to watch."""

from __future__ import annotations

import asyncio


class Pace:
    """Waits in real time for what is not to come too soon."""

    def __init__(self, speed: float | None) -> None:
        """
        Prepare.

        Args:
            speed: How many times faster than recorded; None never waits.
        """
        self._speed = speed
        self._stopped = asyncio.Event()
        self._anchor: float | None = None

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._stopped.set()

    async def wait(self, moment: float) -> None:
        """Wait until it is time for a moment of the playback."""
        if self._speed is None:
            return
        now = asyncio.get_running_loop().time()
        if self._anchor is None:
            self._anchor = now - moment / self._speed
        await self._sleep(self._anchor + moment / self._speed - now)

    async def rest(self, seconds: float, moment: float) -> None:
        """
        Wait so many real seconds, whatever the recording says.

        Args:
            seconds: How long.
            moment: The moment of the playback that this leads to.
        """
        await self._sleep(seconds)
        if self._speed is not None:
            self._anchor = asyncio.get_running_loop().time() - moment / self._speed

    async def _sleep(self, seconds: float) -> None:
        if seconds <= 0 or self._stopped.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            pass
