"""What a worker has to tell about its calls, until it is told."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from perimeter.sessions.evidence import Reply
from perimeter.sessions.remote_messages import Tell, WireError, frame
from perimeter.sessions.remote_plain import PlainReply, plain_reply


log = logging.getLogger("perimeter.sessions")

LINGER = 0.005
"""Seconds that replies wait for a call to go with; who needs them before asks for them."""
BATCH = 256
"""So many do not wait any longer."""
UNSENT = 1024
"""So many wait for the other side to come back."""
SIDES = 256
"""The lowest byte of a turn's session number says whose it is: 0 is the worker's own store."""


class Replies:
    """Replies that go with the next call, or by themselves when they have waited long enough."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """
        Start empty.

        Args:
            tell: Called when they have waited long enough; may leave them where they are.
        """
        self._tell = tell
        self._waiting: deque[Reply] = deque(maxlen=UNSENT)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, reply: Reply) -> None:
        """Take a reply to a turn that the other side knows."""
        self._waiting.append(reply)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self._late)
        elif len(self._waiting) % BATCH == 0:
            self._tell()

    def take(self, side: int) -> list[PlainReply]:
        """Return all that wait, as they are sent, but for those to another server's turns."""
        taken = []
        for reply in self._waiting:
            number, its_side = divmod(reply.turn[0], SIDES)
            if its_side == side:
                taken.append(plain_reply(reply, (number, reply.turn[1])))
        self._waiting.clear()
        return taken

    def close(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def _late(self) -> None:
        self._timer = None
        if self._waiting:
            self._tell()


def telling(replies: Sequence[PlainReply]) -> bytes:
    """Return a message that tells replies; of those that are too large no tool is kept."""
    try:
        return frame(Tell(list(replies)))
    except WireError as error:  # tools are all that can be so large
        log.info("tool calls are not kept: %s", error)
    for reply in replies:
        reply.tools.clear()
    return frame(Tell(list(replies)))
