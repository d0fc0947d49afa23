"""What other plugins add to the dashboard, made and run in its process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import attrs

from perimeter.dashboard import Contribution, Extension, Job
from perimeter_plugin_live_trace.kept import KeptRecords
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.web.site import Changes, Site


log = logging.getLogger("perimeter.live_trace")


def load(extensions: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, Contribution]:
    """Return contributions by plugin; one that can't be made is logged and left out."""
    made = {}
    for plugin, (factory, options) in extensions.items():
        try:
            made[plugin] = Extension(factory, options).load()
        except Exception:
            log.exception("what the plugin %s adds to the dashboard can't be shown", plugin)
    return made


@attrs.define(eq=False)
class Jobs:
    """
    Runs the background jobs of all contributions, while it is entered.

    Attributes:
        site: Has the contributions.
        reader: The database.
        changes: Where changes go.
    """

    site: Site
    reader: Reader
    changes: Changes
    _tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        records = KeptRecords(self.reader, self.changes)
        for plugin, contribution in self.site.extensions.items():
            for job in contribution.jobs:
                name = f"{plugin}: {job.name}"
                self._tasks.append(loop.create_task(_repeat(job, records, name), name=name))

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _repeat(job: Job, records: KeptRecords, name: str) -> None:
    while True:
        try:
            await asyncio.to_thread(job.run, records)
        except Exception:  # a plugin's defect is its own
            log.exception("the job %s failed", name)
        await asyncio.sleep(job.seconds)
