"""What supervisor and worker tell each other: pickled messages over a pair of sockets."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import attrs

from perimeter.errors import ConfigError, PerimeterError, Problem
from perimeter.metrics.snapshot import Snapshot
from perimeter.settings import Settings


_LENGTH = struct.Struct("!I")


@attrs.frozen
class Start:
    """
    The first message to a worker.

    Attributes:
        number: Which worker it is, from 1 on.
        settings: The effective configuration.
        family: Of the socket to open.
        address: Where to listen.
        sessions: The socket of the sessions; None if the worker opens their store itself.
    """

    number: int
    settings: Settings
    family: int
    address: Any
    sessions: str | None


@attrs.frozen
class Ready:
    """A worker accepts connections."""


@attrs.frozen
class Refused:
    """A worker can't start: the problems of its configuration, or one message."""

    message: str
    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, error: PerimeterError) -> Refused:
        """Make plain data of an error; exceptions with arguments of their own don't pickle."""
        return cls(str(error), error.problems if isinstance(error, ConfigError) else ())

    def error(self) -> PerimeterError:
        """Return an error that reads the same."""
        return ConfigError(self.problems) if self.problems else PerimeterError(self.message)


@attrs.frozen
class Reload:
    """A worker is to go on with this configuration."""

    settings: Settings


@attrs.frozen
class Ask:
    """The other side's figures are asked for."""

    number: int


@attrs.frozen
class Told:
    """The answer to a question."""

    number: int
    snapshot: Snapshot


Message = Start | Ready | Refused | Reload


class Channel:
    """
    One end of the pair of sockets.

    Each side may ask for the other one's figures at any time; `receive` answers meanwhile.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.figures: Callable[[], Awaitable[Snapshot]] = _nothing
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[Snapshot]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Use one end of a pair of sockets."""
        end.setblocking(False)
        return cls(*await asyncio.open_connection(sock=end))

    def send(self, message: Message | Ask | Told) -> None:
        """Send a message; nobody is told if the other side is gone, `receive` is."""
        data = pickle.dumps(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Message | None:
        """Return the next message; None if the other side is gone."""
        while (message := await self._next()) is not None:
            if isinstance(message, Ask):
                self._answer(message)
            elif isinstance(message, Told):
                self._told(message)
            else:
                return message
        self._give_up()
        return None

    async def ask(self, seconds: float) -> Snapshot | None:
        """Return the other side's figures; None if they don't come in so many seconds."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self.send(Ask(number))
        try:
            async with asyncio.timeout(seconds):
                snapshot: Snapshot = await future
        except (TimeoutError, ConnectionError):
            return None
        else:
            return snapshot
        finally:
            del self._asked[number]

    async def close(self) -> None:
        """Hang up, when all is sent."""
        self._give_up()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _next(self) -> Message | Ask | Told | None:
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None
        message: Message | Ask | Told = pickle.loads(data)  # noqa: S301 - from our own process
        return message

    def _answer(self, question: Ask) -> None:
        task = asyncio.get_running_loop().create_task(self._tell(question.number))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _tell(self, number: int) -> None:
        self.send(Told(number, await self.figures()))

    def _told(self, answer: Told) -> None:
        future = self._asked.get(answer.number)
        if future is not None and not future.done():
            future.set_result(answer.snapshot)

    def _give_up(self) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ConnectionResetError("the other process is gone"))


async def _nothing() -> Snapshot:
    return Snapshot()
