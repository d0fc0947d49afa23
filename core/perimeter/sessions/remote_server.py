"""The sessions of several workers: the side that has them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from perimeter.sessions.evidence import Ended, Reply
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
from perimeter.sessions.snapshot import SharedStore


log = logging.getLogger("perimeter.sessions")

AT_ONCE = 256
"""So many ended sessions are told in one message; the others follow with the next one."""


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
        self._asked: list[tuple[Connection, Ask | Collect]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """
        Listen.

        Raises:
            OSError: The path can't be used, or another server listens there.
        """
        listening = _listen(self.path)
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

    def ask(self, connection: Connection, question: Ask | Collect) -> None:
        """
        Answer a question, when all is read that was sent before it, by whichever worker.

        The reply to a turn may be in one worker's socket, and the next turn came to another one.
        What is there already is read in the next round of the loop, and that ends with the one
        after it.
        """
        self._asked.append((connection, question))
        if len(self._asked) == 1:
            asyncio.get_running_loop().call_soon(self._next_round)

    def _next_round(self) -> None:
        asked, self._asked = self._asked, []
        asyncio.get_running_loop().call_soon(self._answer, asked)

    def _answer(self, asked: Iterable[tuple[Connection, Ask | Collect]]) -> None:
        for connection, question in asked:
            connection.answer(question)

    def ended(self, more: Iterable[Ended]) -> list[PlainEnded]:
        """Return ended sessions that no worker was told, some of them if there are many."""
        self._ended.extend(more)
        number = min(len(self._ended), AT_ONCE)
        return [plain_ended(self._ended.popleft()) for _ in range(number)]

    def over(self, *, leaving: bool) -> Over:
        """Return the answer to who asks for ended sessions; all end with the last worker."""
        last = leaving and all(each.leaving for each in self.connections)
        ended = self.ended([*self.store.sweep(), *(self.store.end_all() if last else ())])
        return Over(ended, self.store.active, bool(self._ended))


class Connection(asyncio.Protocol):
    """One worker's connection. What it asks is answered in order, after all that it has told."""

    def __init__(self, server: SessionServer) -> None:
        self.leaving = False
        self._server = server
        self._store = server.store
        self._frames = Frames()
        self._running: set[tuple[int, int]] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a worker."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=LARGEST)
        self._server.connections.add(self)
        secret, instance = self._store.secret, self._server.instance
        self._send(Hello(VERSION, secret, instance, self._store.active))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody will tell what becomes of this worker's calls."""
        self._server.connections.discard(self)
        self._transport = None
        self._store.write([Reply(turn, "unknown") for turn in self._running])
        self._running.clear()

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

    def _take(self, message: bytes) -> None:
        match decode_question(message):
            case Ask() | Collect() as question:
                self._server.ask(self, question)
            case Tell(replies):
                self._store.write(self._replies(replies))
            case Learn(number, words):
                self._store.learn(number, words)

    def answer(self, question: Ask | Collect) -> None:
        """Answer a question, if who asked is still there."""
        if self._transport is None:
            return
        if isinstance(question, Ask):
            self._send(self._place(question))
            return
        self.leaving = self.leaving or question.leaving
        self._send(self._server.over(leaving=question.leaving))

    def _place(self, question: Ask) -> Answer:
        try:
            self._store.write(self._replies(question.replies))
            found = self._store.resolve(evidence_of(question.evidence), ())
        except NotGiven:
            return More()
        except Exception:
            log.exception("a call could not be placed in a session")
            return Failed()
        self._running.add(found.turn)
        ended = self._server.ended(found.ended)
        return Placed(plain_resolution(found), ended, self._store.active)

    def _replies(self, plain: Iterable[PlainReply]) -> list[Reply]:
        replies = [reply_of(each) for each in plain]
        self._running.difference_update([reply.turn for reply in replies])
        return replies

    def _send(self, answer: Answer) -> None:
        if self._transport is not None:
            self._transport.write(frame(answer))


def _listen(path: Path) -> socket.socket:
    """Return a socket at a path, where only this user comes through."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # so it is never there with other rights
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(64)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _clear(path: Path) -> None:
    """Remove the socket of a server that is gone."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there, and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(f"another process listens at {path}")
