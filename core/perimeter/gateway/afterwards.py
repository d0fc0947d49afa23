"""What has time until the clients have what they asked for."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable


log = logging.getLogger("perimeter.gateway")

AT_ONCE = 16
"""Ends that are told in one round at least; of more, half, so that nobody waits for all of them."""

Work = Callable[[], None]


class Afterwards:
    """
    Does for all exchanges at once what is left to do when their last bytes have gone out.

    That is at the end of a round of the event loop. Nobody's answer waits for it, and code that has
    just run for another exchange runs in little more than half the time, since it and what it needs
    are still in the processor's caches.
    """

    def __init__(self) -> None:
        self._due: list[Work] = []
        self._left: deque[Work] = deque()
        self._called = False

    def next(self, work: Work) -> None:
        """
        Do something before the loop looks at the sockets again.

        So no client's next call is read before it is known what the last one was answered.
        """
        self._due.append(work)
        self._call()

    def later(self, work: Work) -> None:
        """Do something in this round or one of the next, after what was to be done before it."""
        self._left.append(work)
        self._call()

    def finish(self) -> None:
        """Do now all that is left to do."""
        while self._due or self._left:
            self._do(len(self._left))

    def _call(self) -> None:
        if not self._called:
            self._called = True
            asyncio.get_running_loop().call_soon(self._round)

    def _round(self) -> None:
        self._called = False
        self._do(min(len(self._left), max(AT_ONCE, len(self._left) // 2)))
        if self._left:
            self._call()

    def _do(self, told: int) -> None:
        due, self._due = self._due, []
        for work in (*due, *(self._left.popleft() for _ in range(told))):
            try:
                work()
            except Exception:
                log.exception("the end of an exchange could not be told")
