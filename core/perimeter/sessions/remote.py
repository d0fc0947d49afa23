"""
The sessions of several workers: the side of a worker.

Calls never depend on the other side. While it is gone, or hangs, calls are placed by a store of the
worker's own; a session may then be seen as two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
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
    Said,
    Say,
    WireError,
    frame,
)
from perimeter.sessions.remote_plain import ended_of, plain_evidence, resolution_of
from perimeter.sessions.remote_replies import SIDES, Replies, telling


log = logging.getLogger("perimeter.sessions")

PATIENCE = 1.0
"""
Seconds after which a server that does not answer is given up.

Calls go on without their session after less (see `Tracker`): one that is known late is better than
one that is taken for two.
"""
GRACE = 0.05
"""Seconds more: an answer may be there, and this loop was too busy to read it."""
_SAID = frame(Said())


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
        self._waiting: dict[int, Call | Collection] = {}
        self._numbers = count(1)
        self._replies = Replies(self._tell)
        self._untold: list[Ended] = []
        self._complained = self._leaving = False

    @property
    def active(self) -> int:
        """How many sessions have not ended, as far as it is known here."""
        return self._active + self._local.active

    def resolve(self, evidence: Evidence, writes: Sequence[Reply]) -> Awaitable[Resolution]:
        """Take what became of earlier calls, then place this one; it never fails to answer."""
        self.write(writes)
        link = self._keeper.usable()
        loop = asyncio.get_running_loop() if link is None else link.loop
        call = Call(evidence, loop.create_future(), loop.time() + PATIENCE)
        if link is None:
            self._place_here(call)
        else:
            self._ask(link, call)
        return call.future

    def write(self, replies: Sequence[Reply]) -> None:
        """Take what became of calls; it is sent with the next call, or soon."""
        for reply in replies:
            number, side = divmod(reply.turn[0], SIDES)
            if side:
                self._replies.add(reply)
            else:
                self._local.write([attrs.evolve(reply, turn=(number, reply.turn[1]))])

    async def sweep(self) -> Sequence[Ended]:
        """Return the sessions that ended since; each is told to one worker only."""
        return await self._collect(leaving=False)

    async def close(self) -> Sequence[Ended]:
        """Leave; the last worker is told of all sessions that end with it."""
        self._leaving = True
        ended = await self._collect(leaving=True)
        await self._keeper.close()
        self._replies.close()
        if self._timer is not None:
            self._timer.cancel()
        return [*ended, *await self._local.close()]

    # -- questions

    def _ask(self, link: Link, call: Call) -> None:
        replies, number = self._replies.take(self._side), next(self._numbers)
        history = wire(call.evidence.history, whole=call.whole)
        try:
            data = frame(Ask(number, replies, plain_evidence(call.evidence, history)))
        except WireError as error:
            if replies:  # they may be what is too large
                link.send(telling(replies))
                self._ask(link, call)
                return
            log.info("a call is placed by this worker alone: %s", error)
            self._place_here(call)
            return
        self._await(link, number, call, data)

    def _await(self, link: Link, number: int, asking: Call | Collection, data: bytes) -> None:
        self._waiting[number] = asking
        link.send(data)
        if self._timer is None:
            self._timer = link.loop.call_later(PATIENCE, self._look, None)

    def _look(self, suspect: Call | Collection | None) -> None:
        """Look for questions that have waited too long: they are not answered any more."""
        self._timer = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        oldest = next(iter(self._waiting.values()))
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
            self._tell()
            loop, number = link.loop, next(self._numbers)
            asking = Collection(loop.create_future(), loop.time() + PATIENCE)
            self._await(link, number, asking, frame(Collect(number, leaving)))
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
        if isinstance(answer, Say):
            # Calls that were placed just now go on first: they may have replies to be told.
            link.loop.call_soon(self._say, link)
            return
        asking = self._waiting.pop(answer.number, None)
        match asking, answer:
            case Call() as call, Placed():
                self._placed(link, call, answer)
            case Call(whole=False) as call, More():
                call.whole = True
                self._ask(link, call)
            case Call() as call, Failed():
                self._place_here(call)
            case Collection(), Over():
                self._collected(asking, answer)
            case _:
                if asking is not None:
                    self._waiting[answer.number] = asking
                raise WireError("an answer to no question")

    def _placed(self, link: Link, call: Call, answer: Placed) -> None:
        self._active = answer.active
        number, place = answer.resolution.turn
        turn = (number * SIDES + self._side, place)
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
        call.future.set_result(attrs.evolve(found, turn=(number * SIDES, place)))
        self._on_local()

    # -- the connection

    def _tell(self) -> None:
        link = self._keeper.link
        if link is not None and (replies := self._replies.take(self._side)):
            link.send(telling(replies))

    def _say(self, link: Link) -> None:
        if self._keeper.link is link:
            self._tell()
            link.send(_SAID)

    def _greeted(self, link: Link, hello: Hello) -> None:
        self._keeper.greeted(link)
        self._active = hello.active
        if hello.instance != self._instance:
            self._instance = hello.instance
            self._side = self._side % (SIDES - 1) + 1
        if hello.secret != self.secret:
            log.warning("the server of sessions has another secret: new workers share none of ours")
        if self._complained:
            self._complained = False
            log.info("sessions are shared with the other workers again")
        self._tell()

    def _lost(self, why: str) -> None:
        if not (self._complained or self._leaving):
            self._complained = True
            text = "the server of sessions is lost (%s): this worker places its calls alone"
            log.warning(text, why)
        waiting, self._waiting = self._waiting, {}
        for asking in waiting.values():
            if isinstance(asking, Call):
                self._place_here(asking)
            elif not asking.future.done():
                asking.future.set_result(None)
