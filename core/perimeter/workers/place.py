"""The place of one worker, as the supervisor sees it: the process, and what is heard of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs

from perimeter.errors import PerimeterError
from perimeter.metrics.snapshot import Snapshot
from perimeter.workers.channel import Channel, Ready, Refused, Start


@attrs.define(eq=False)
class Place:
    """
    Where a worker runs, and another one after it has ended.

    Attributes:
        number: From 1 on.
        figures: Gives what all workers have counted, for this one to show.
        last: What was heard last of what this one has counted.
        ready: Whether it accepts connections.
        ending: Whether it was told to end.
        process: The worker; None before the first one.
        channel: The way to it; None as long as there is none.
    """

    number: int
    figures: Callable[[], Awaitable[Snapshot]]
    last: Snapshot = attrs.field(factory=Snapshot)
    ready: bool = False
    ending: bool = False
    process: Process | None = None
    channel: Channel | None = None

    async def start(self, message: Callable[[], Start]) -> None:
        """
        Start a worker, and wait until it accepts connections.

        Args:
            message: Gives what it is told first.

        Raises:
            PerimeterError: It can't start, or ends before it has.
        """
        self.ending = False
        self.channel = await self._spawn()
        self.channel.figures = self.figures
        self.channel.send(message())  # as it is now: it may have been reloaded meanwhile
        answer = await self.channel.receive()
        self.ready = isinstance(answer, Ready)
        if self.ready:
            return
        if isinstance(answer, Refused):
            raise answer.error()
        raise PerimeterError(f"worker {self.number} {await self.gone()} before it had started")

    async def ended(self) -> str:
        """Wait until the worker ends, answering it meanwhile; return how it ended."""
        if self.channel is not None:
            while await self.channel.receive() is not None:
                pass
        how = await self.gone()
        self.ready = False
        return how

    async def gone(self) -> str:
        """Wait until the process is gone, and say how it ended."""
        if self.process is None:
            return "was never there"
        code = await self.process.wait()
        if self.channel is not None:
            await self.channel.close()
            self.channel = None
        return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"

    async def refresh(self, seconds: float) -> None:
        """Ask for the worker's figures, and keep them if they come in so many seconds."""
        channel = self.channel
        if channel is None or not self.ready:
            return
        told = await channel.ask(seconds)
        if told is not None and self.channel is channel:  # else it was counted as gone already
            self.last = told

    def end(self) -> None:
        """Let the worker drain and end; saying it once more is for `hurry`."""
        if self.process is not None and not self.ending:
            self.ending = True
            self._signal(signal.SIGTERM)

    def hurry(self) -> None:
        """Let it give up what is in flight."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def _spawn(self) -> Channel:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptor = theirs.fileno()
            # A session of its own: Ctrl-C in a terminal is for the supervisor alone.
            self.process = await asyncio.create_subprocess_exec(
                *_command(descriptor),
                stdin=DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        return await Channel.over(ours)


def _command(descriptor: int) -> list[str]:
    """Return the command line of a worker, which imports from where this process does."""
    here = str(Path.cwd()) in sys.path or "" in sys.path
    flags = [] if here else ["-P"]
    return [sys.executable, *flags, "-m", "perimeter.workers.worker", str(descriptor)]
