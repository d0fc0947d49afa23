"""A worker's connection to the process that has the sessions."""

from __future__ import annotations

import asyncio
import socket
from asyncio import Future
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import attrs
import msgspec

from perimeter.sessions.evidence import Evidence, Resolution
from perimeter.sessions.remote_messages import (
    LARGEST,
    VERSION,
    Answer,
    Frames,
    Hello,
    Over,
    WireError,
    decode_answer,
)


FIRST_PAUSE = 0.05
"""Seconds before a lost connection is tried again; twice as many each time."""
LONGEST_PAUSE = 5.0
GREETING = 1.0
"""Seconds that a server has to greet."""


@attrs.define(eq=False)
class Call:
    """
    A call that waits for its place.

    Attributes:
        evidence: What it tells.
        future: Who waits.
        deadline: The loop's time at which the other side is given up.
        whole: Whether its whole history was sent.
    """

    evidence: Evidence
    future: Future[Resolution]
    deadline: float
    whole: bool = False


@attrs.define(eq=False)
class Collection:
    """Who waits for ended sessions, and until when; None says that nobody will answer."""

    future: Future[Over | None]
    deadline: float


class Link(asyncio.Protocol):
    """
    One connection. What is sent in one round of the loop goes out in one piece.

    Attributes:
        loop: The loop that it belongs to.
        over: Done when it is lost or was dropped; says why.
        is_greeted: Whether the server has said who it is.
    """

    def __init__(self, take: Callable[[Link, Answer], None]) -> None:
        """
        Prepare.

        Args:
            take: Gets each answer; raises `WireError` if it makes no sense.
        """
        self.loop = asyncio.get_running_loop()
        self.over: Future[str] = self.loop.create_future()
        self.is_greeted = False
        self._take = take
        self._frames = Frames()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def send(self, data: bytes) -> None:
        """Send a message."""
        if not self._unsent:
            self.loop.call_soon(self._flush)
        self._unsent.append(data)

    def drop(self, why: str) -> None:
        """Hang up."""
        if not self.over.done():
            self.over.set_result(why)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send what has waited."""
        self._transport = cast("asyncio.Transport", transport)
        if self.over.done():
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=LARGEST)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that it is over."""
        self.drop("the connection was lost")

    def pause_writing(self) -> None:
        """Give up on a server that reads nothing."""
        self.drop("it does not read")

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        try:
            for message in self._frames.feed(data):
                if self.over.done():
                    return
                self._take(self, decode_answer(message))
        except (WireError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            self.drop(f"it sent garbage: {error}")

    def _flush(self) -> None:
        if self._transport is not None and self._unsent and not self.over.done():
            unsent, self._unsent = self._unsent, []
            self._transport.write(b"".join(unsent))


class Keeper:
    """
    Keeps a connection: makes it when it is first needed, and again when it is lost.

    Attributes:
        link: The connection, None while there is none that can be used.
    """

    def __init__(
        self, path: Path, take: Callable[[Link, Answer], None], lost: Callable[[str], None]
    ) -> None:
        """
        Prepare.

        Args:
            path: The server's socket.
            take: Gets each answer, as `Link` has it.
            lost: Told when the connection that was in use is lost, and why.
        """
        self.link: Link | None = None
        self._path = path
        self._take = take
        self._lost = lost
        self._task: asyncio.Task[None] | None = None

    def usable(self) -> Link | None:
        """Return the connection; a first one that is being made is good enough to wait for."""
        if self._task is None:
            self.link = self._new()
            self._task = asyncio.get_running_loop().create_task(self._keep(self.link))
        return self.link

    def greeted(self, link: Link) -> None:
        """Use a connection from now on."""
        link.is_greeted = True
        self.link = link

    async def close(self) -> None:
        """Hang up, and make no other connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _new(self) -> Link:
        link = Link(self._take)
        link.over.add_done_callback(partial(self._over, link))
        return link

    def _over(self, link: Link, over: Future[str]) -> None:
        if self.link is link:
            self.link = None
            self._lost(over.result())

    async def _keep(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            try:
                await loop.create_unix_connection(partial(_itself, link), str(self._path))
                await asyncio.wait([link.over], timeout=GREETING)
                if link.is_greeted:
                    pause = FIRST_PAUSE
                    await asyncio.wait([link.over])
            except OSError as error:
                link.drop(str(error))
            finally:
                link.drop("it does not greet, or is not needed any more")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            link = self._new()


def _itself(link: Link) -> Link:
    return link


def greeting(path: Path) -> Hello:
    """
    Return how a server greets.

    Raises:
        OSError: It is not there, or does not answer, or is something else.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(GREETING)
        trial.connect(str(path))
        frames = Frames()
        while data := trial.recv(4096):
            try:
                for message in frames.feed(data):
                    return checked(decode_answer(message))
            except (WireError, msgspec.MsgspecError) as error:
                raise ConnectionError(f"no server of sessions is at {path}: {error}") from error
    raise ConnectionError(f"the server of sessions at {path} said nothing")


def checked(answer: Answer) -> Hello:
    """
    Return an answer that is a greeting.

    Raises:
        WireError: It is none, or one of another version.
    """
    if not isinstance(answer, Hello) or answer.version != VERSION:
        raise WireError("it does not greet as a server of this version does")
    return answer
