"""
The sessions of several workers: the side of a worker.

Calls never depend on the other side. What it has not answered in time is placed by a store of the
worker's own, as are all calls while it is gone; a session may then be seen as two.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import attrs

from perimeter.sessions.evidence import Ended, Evidence, Reply, Resolution
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.sessions.remote_history import usually_known, wire
from perimeter.sessions.remote_link import Call, Collection, Keeper, Link, checked, greeting
from perimeter.sessions.remote_messages import (
    Answer,
    Ask,
    Collect,
    Failed,
    Hello,
    Learn,
    More,
    Over,
    Placed,
    Tell,
    WireError,
    frame,
)
from perimeter.sessions.remote_plain import (
    PlainReply,
    ended_of,
    plain_evidence,
    plain_reply,
    resolution_of,
)


log = logging.getLogger("perimeter.sessions")

PATIENCE = 0.04
"""Seconds that an answer may take."""
GRACE = 0.005
"""Seconds more: an answer may be there, and this loop was too busy to read it."""
UNSENT = 1024
"""So many replies wait for the other side to come back."""
_SIDES = 256
"""The lowest byte of a turn's session number says whose it is: 0 is the worker's own store."""


class RemoteStore:
    """
    Sessions that another process of this machine has.

    Attributes:
        secret: What keys are made with, the same in all workers.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits,
        clock: Callable[[], float],
        on_local: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Ask for the secret; the connection is made when it is first needed.

        Args:
            path: The server's socket.
            limits: Of the worker's own store.
            clock: Tells Unix time, seconds.
            on_local: Called for each call that the worker's own store has to place.

        Raises:
            OSError: The server is not there, or does not answer.
        """
        hello = greeting(path)
        self.secret = hello.secret
        self._on_local = on_local
        self._local = MemoryStore(limits, clock, self.secret)
        self._active = hello.active
        self._instance = hello.instance
        self._side = 1
        self._keeper = Keeper(path, self._take, self._lost)
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[Call | Collection] = deque()
        self._unsent: deque[Reply] = deque(maxlen=UNSENT)
        self._untold: list[Ended] = []
        self._complained = self._leaving = False

    @property
    def active(self) -> int:
        """How many sessions have not ended, as far as it is known here."""
        return self._active + self._local.active

    def resolve(self, evidence: Evidence, writes: Sequence[Reply]) -> Awaitable[Resolution]:
        """Take what became of earlier calls, then place this one; answers within 50 ms."""
        loop = asyncio.get_running_loop()
        call = Call(evidence, loop.create_future(), loop.time() + PATIENCE)
        link = self._keeper.usable()
        if link is None:
            self.write(writes)
            self._place_here(call)
        else:
            self._ask(link, call, self._remote(writes))
        return call.future

    def write(self, replies: Sequence[Reply]) -> None:
        """Take what became of calls; it is sent at once, in order with the calls."""
        link = self._keeper.usable()
        remote = self._remote(replies)
        if not remote:
            return
        if link is None:
            self._unsent.extend(reply for reply in replies if reply.turn[0] % _SIDES)
            return
        try:
            link.send(frame(Tell(remote)))
        except WireError as error:  # tools are all that can be so large
            log.info("tool calls are not kept: %s", error)
            for reply in remote:
                reply.tools.clear()
            link.send(frame(Tell(remote)))

    async def sweep(self) -> Sequence[Ended]:
        """Return the sessions that ended since; each is told to one worker only."""
        return await self._collect(leaving=False)

    async def close(self) -> Sequence[Ended]:
        """Leave; the last worker is told of all sessions that end with it."""
        self._leaving = True
        ended = await self._collect(leaving=True)
        await self._keeper.close()
        if self._timer is not None:
            self._timer.cancel()
        return [*ended, *await self._local.close()]

    # -- questions

    def _ask(self, link: Link, call: Call, replies: list[PlainReply]) -> None:
        history = wire(call.evidence.history, whole=call.whole)
        try:
            data = frame(Ask(replies, plain_evidence(call.evidence, history)))
        except WireError as error:
            log.info("a call is placed by this worker alone: %s", error)
            self._place_here(call)
            return
        self._await(link, call, data)

    def _await(self, link: Link, asking: Call | Collection, data: bytes) -> None:
        self._waiting.append(asking)
        link.send(data)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE, self._look, None)

    def _look(self, suspect: Call | Collection | None) -> None:
        """Look for questions that have waited too long: they are not answered any more."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        oldest = min(self._waiting, key=lambda each: each.deadline)
        if oldest.deadline > loop.time():
            self._timer = loop.call_at(oldest.deadline, self._look, None)
        elif oldest is not suspect:
            self._timer = loop.call_later(GRACE, self._look, oldest)
        elif self._keeper.link is not None:
            self._keeper.link.drop("it does not answer")

    async def _collect(self, *, leaving: bool) -> Sequence[Ended]:
        ended, self._untold = self._untold, []
        ended += self._local.sweep()
        more = True
        while more and (link := self._keeper.usable()) is not None:
            loop = asyncio.get_running_loop()
            asking = Collection(loop.create_future(), loop.time() + PATIENCE)
            self._await(link, asking, frame(Collect(leaving)))
            over = await asking.future
            if over is not None:
                ended += [ended_of(each) for each in over.ended]
            more = over is not None and over.more
        return ended

    # -- answers

    def _take(self, link: Link, answer: Answer) -> None:
        if isinstance(answer, Hello) or self._keeper.link is not link:
            self._greeted(link, checked(answer))
            return
        if not self._waiting:
            raise WireError("an answer that nobody asked for")
        asking = self._waiting.popleft()
        match asking, answer:
            case Call() as call, Placed():
                self._placed(link, call, answer)
            case Call(whole=False) as call, More():
                call.whole = True
                self._ask(link, call, [])
            case Call() as call, Failed():
                self._place_here(call)
            case Collection(), Over():
                self._collected(asking, answer)
            case _:
                self._waiting.appendleft(asking)
                raise WireError("an answer to another question")

    def _placed(self, link: Link, call: Call, answer: Placed) -> None:
        self._active = answer.active
        number, place = answer.resolution.turn
        turn = (number * _SIDES + self._side, place)
        found = resolution_of(answer.resolution, turn, answer.ended)
        history = call.evidence.history
        if found.known != usually_known(history) and (words := history.new_words(found.known)):
            link.send(frame(Learn(number, words)))
        if call.future.done():  # who asked has gone
            self._untold += found.ended
            self.write([Reply(turn, "unknown")])
        else:
            call.future.set_result(found)

    def _collected(self, asking: Collection, over: Over) -> None:
        self._active = over.active
        if asking.future.done():
            self._untold += [ended_of(each) for each in over.ended]
        else:
            asking.future.set_result(over)

    # -- the worker's own store

    def _place_here(self, call: Call) -> None:
        if call.future.done():
            return
        try:
            found = self._local.resolve(call.evidence, ())
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            call.future.set_exception(error)
            return
        number, place = found.turn
        call.future.set_result(attrs.evolve(found, turn=(number * _SIDES, place)))
        self._on_local()

    def _remote(self, replies: Iterable[Reply]) -> list[PlainReply]:
        """Return the replies that are to be sent; those of the own store are taken here."""
        remote = []
        for reply in replies:
            number, side = divmod(reply.turn[0], _SIDES)
            turn = (number, reply.turn[1])
            if side == self._side:
                remote.append(plain_reply(reply, turn))
            elif not side:
                self._local.write([attrs.evolve(reply, turn=turn)])
        return remote

    # -- the connection

    def _greeted(self, link: Link, hello: Hello) -> None:
        self._keeper.greeted(link)
        self._active = hello.active
        if hello.instance != self._instance:
            self._instance = hello.instance
            self._side = self._side % (_SIDES - 1) + 1
            self._unsent.clear()
        if hello.secret != self.secret:
            log.warning("the server of sessions has another secret: new workers share none of ours")
        if self._complained:
            self._complained = False
            log.info("sessions are shared with the other workers again")
        unsent = tuple(self._unsent)
        self._unsent.clear()
        self.write(unsent)

    def _lost(self, why: str) -> None:
        if not (self._complained or self._leaving):
            self._complained = True
            text = "the server of sessions is lost (%s): this worker places its calls alone"
            log.warning(text, why)
        waiting, self._waiting = self._waiting, deque()
        for asking in waiting:
            if isinstance(asking, Call):
                self._place_here(asking)
            elif not asking.future.done():
                asking.future.set_result(None)
