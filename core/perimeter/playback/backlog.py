"""What plugins still have to do: a playback at full speed must not run away from them."""

from __future__ import annotations

import asyncio
import time

from perimeter.registry import Registry


ENOUGH = 500
"""So many items may wait in any queue, since plugins may count their bytes too."""

_LOOK_SECONDS = 0.002


class Backlog:
    """Waits while a plugin's queue fills up, since what does not fit into one is dropped."""

    def __init__(self, registry: Registry, patience: float) -> None:
        """
        Prepare.

        Args:
            registry: The plugins.
            patience: Real seconds to wait for a queue that does not get shorter.
        """
        self._registry = registry
        self._patience = patience

    async def wait(self) -> None:
        """Wait until there is room in every queue; not for ever where nothing is taken out."""
        waiting = self._longest()
        if not waiting:
            return
        until = time.monotonic() + self._patience
        while waiting and time.monotonic() < until:
            await asyncio.sleep(_LOOK_SECONDS)
            left = self._longest()
            if left < waiting:
                until = time.monotonic() + self._patience
            waiting = left

    def _longest(self) -> int:
        """Return how much the fullest queue holds, 0 where all have room."""
        return max(
            (
                worker.depth
                for plugin in self._registry.plugins.values()
                for worker in plugin.jobs.workers
                if worker.depth > min(worker.queue // 2, max(ENOUGH, 2 * worker.batch))
            ),
            default=0,
        )
