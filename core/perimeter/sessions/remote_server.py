"""The sessions of several workers: the side that has them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import attrs
import msgspec

from perimeter.sessions.evidence import Ended, Evidence, Reply
from perimeter.sessions.remote_history import NotGiven
from perimeter.sessions.remote_messages import (
    LARGEST,
    VERSION,
    Answer,
    Ask,
    Collect,
    Failed,
    Frames,
    Hello,
    Learn,
    More,
    Over,
    Placed,
    Said,
    Say,
    Tell,
    WireError,
    decode_question,
    frame,
)
from perimeter.sessions.remote_plain import (
    PlainEnded,
    PlainReply,
    evidence_of,
    plain_ended,
    plain_resolution,
    reply_of,
)
from perimeter.sessions.remote_socket import listen
from perimeter.sessions.snapshot import SharedStore


log = logging.getLogger("perimeter.sessions")

AT_ONCE = 256
"""So many ended sessions are told in one message; the others follow with the next one."""
PATIENCE = 0.1
"""Seconds that a call is held for what another worker may have to tell about the turn before it."""
DEFECT = "a call could not be placed in a session"


@attrs.define(eq=False)
class Held:
    """
    A call that is not placed before other workers have told their replies.

    The turn that it follows may have been answered by another worker, whose client was faster with
    the next turn than the worker was with telling the reply.

    Attributes:
        connection: Whose it is.
        number: Of the question.
        evidence: What it tells.
        owing: The workers that were asked and have not said yet.
        timer: Ends the wait.
    """

    connection: Connection
    number: int
    evidence: Evidence
    owing: set[Connection]
    timer: asyncio.TimerHandle | None = None


class SessionServer:
    """
    Lets several workers share a store, through a socket that only this user can reach.

    Attributes:
        store: The sessions.
        path: The socket.
    """

    def __init__(self, store: SharedStore, path: Path) -> None:
        """
        Prepare; `start` listens.

        Args:
            store: The sessions; in memory, or with a file behind them.
            path: Where the socket is to be.
        """
        self.store = store
        self.path = path
        self.instance = os.urandom(8)
        self.connections: set[Connection] = set()
        self._ended: deque[Ended] = deque()
        self._running: dict[tuple[int, int], Connection] = {}
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: The path can't be used, or another server listens there.
        """
        listening = listen(self.path)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: Connection(self), sock=listening)

    async def close(self) -> Sequence[Ended]:
        """Stop to listen, and close the store; return the ends that no worker was told."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)
        for connection in tuple(self.connections):
            connection.close()
        return [*self._ended, *await self.store.close()]

    def take(self, replies: Iterable[PlainReply]) -> None:
        """Take what became of calls."""
        told = [reply_of(each) for each in replies]
        for reply in told:
            self._running.pop(reply.turn, None)
        self.store.write(told)

    def place(self, connection: Connection, number: int, evidence: Evidence) -> None:
        """Place a call, when all is known of the turns that it may follow."""
        try:
            owing = self._owing(evidence)
        except Exception:
            log.exception(DEFECT)
            connection.send(Failed(number))
            return
        owing.discard(connection)
        if not owing:
            connection.send(self._placed(connection, number, evidence))
            return
        held = Held(connection, number, evidence, owing)
        held.timer = asyncio.get_running_loop().call_later(PATIENCE, self._release, held)
        for each in tuple(owing):
            each.hold(held)

    def said(self, connection: Connection, held: Held) -> None:
        """Take that a worker has told all that it had to tell, or never will."""
        held.owing.discard(connection)
        if not held.owing:
            self._release(held)

    def lost(self, connection: Connection) -> None:
        """Take that a worker is gone: nobody will tell what becomes of its calls."""
        self.connections.discard(connection)
        turns = [turn for turn, whose in self._running.items() if whose is connection]
        for turn in turns:
            del self._running[turn]
        self.store.write([Reply(turn, "unknown") for turn in turns])

    def _owing(self, evidence: Evidence) -> set[Connection]:
        """Return the workers that may have replies that a call is to be known by."""
        turns = self.store.unanswered(evidence)
        if turns is None:
            return set(self.connections)
        return {self._running[turn] for turn in turns if turn in self._running}

    def _release(self, held: Held) -> None:
        if held.timer is None:
            return
        held.timer.cancel()
        held.timer = None
        if held.connection not in self.connections:
            return
        held.connection.send(self._placed(held.connection, held.number, held.evidence))

    def _placed(self, connection: Connection, number: int, evidence: Evidence) -> Answer:
        try:
            found = self.store.resolve(evidence, ())
        except NotGiven:
            return More(number)
        except Exception:
            log.exception(DEFECT)
            return Failed(number)
        self._running[found.turn] = connection
        ended = self.ended(found.ended) if found.ended or self._ended else []
        return Placed(number, plain_resolution(found), ended, self.store.active)

    def ended(self, more: Iterable[Ended]) -> list[PlainEnded]:
        """Return ended sessions that no worker was told, some of them if there are many."""
        self._ended.extend(more)
        number = min(len(self._ended), AT_ONCE)
        return [plain_ended(self._ended.popleft()) for _ in range(number)]

    def over(self, question: Collect) -> Over:
        """Return the answer to who asks for ended sessions; all end with the last worker."""
        last = question.leaving and all(each.leaving for each in self.connections)
        ended = self.ended([*self.store.sweep(), *(self.store.end_all() if last else ())])
        return Over(question.number, ended, self.store.active, bool(self._ended))


class Connection(asyncio.Protocol):
    """
    One worker's connection. What is sent in one round of the loop goes out in one piece.

    Attributes:
        leaving: Whether it has said that it leaves.
    """

    def __init__(self, server: SessionServer) -> None:
        self.leaving = False
        self._server = server
        self._frames = Frames()
        self._held: deque[Held] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a worker."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=LARGEST)
        server = self._server
        server.connections.add(self)
        self.send(Hello(VERSION, server.store.secret, server.instance, server.store.active))

    def connection_lost(self, exc: Exception | None) -> None:
        """Go on without this worker."""
        self._transport = None
        self._server.lost(self)
        while self._held:
            self._server.said(self, self._held.popleft())

    def pause_writing(self) -> None:
        """Read no more questions while a worker does not read the answers."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take messages."""
        try:
            for message in self._frames.feed(data):
                self._take(message)
        except (WireError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("a worker's connection to the sessions was closed: %s", error)
            self.close()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def hold(self, held: Held) -> None:
        """Hold a call until this worker has told all replies that it has."""
        self._held.append(held)
        self.send(Say())

    def send(self, answer: Answer) -> None:
        """Send a message."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(frame(answer))

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _take(self, message: bytes) -> None:
        match decode_question(message):
            case Ask() as ask:
                self._server.take(ask.replies)
                self._server.place(self, ask.number, evidence_of(ask.evidence))
            case Tell(replies):
                self._server.take(replies)
            case Said():
                if not self._held:
                    raise WireError("it was not asked")
                self._server.said(self, self._held.popleft())
            case Learn(number, words):
                self._server.store.learn(number, words)
            case Collect() as question:
                self.leaving = self.leaving or question.leaving
                self.send(self._server.over(question))
