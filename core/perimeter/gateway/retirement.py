"""Upstreams that a new configuration has replaced, while calls still use them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from perimeter.gateway.upstream import Upstream

log = logging.getLogger("perimeter.gateway")


@attrs.define(eq=False)
class Retirement:
    """
    Closes upstreams when their last call is over.

    Attributes:
        used: Gives the upstreams of the calls that are under way.
        waiting: Those that are not closed yet.
    """

    used: Callable[[], Iterable[Upstream]]
    waiting: list[Upstream] = attrs.field(factory=list)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set)

    def add(self, upstreams: Iterable[Upstream]) -> None:
        """Take upstreams that get no further calls."""
        self.waiting.extend(upstreams)
        self.look()

    def look(self) -> None:
        """Close those whose last call is over."""
        used = {id(each) for each in self.used()}
        for upstream in [each for each in self.waiting if id(each) not in used]:
            self.waiting.remove(upstream)
            task = asyncio.get_running_loop().create_task(_close(upstream))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Close all, whoever uses them."""
        await asyncio.gather(*(_close(each) for each in self.waiting), *self._tasks)
        self.waiting.clear()


async def _close(upstream: Upstream) -> None:
    try:
        await upstream.transport.close()
    except Exception:
        log.exception("connections to %s could not be closed", upstream.name)
