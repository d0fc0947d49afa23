"""The same of sessions that a file keeps over restarts, and of those that several workers share."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import precondition, rule

from driver import Playing, Proxy, Talk, Time, sizes
from lives import Conversations, Life
from perimeter.sessions import remote
from perimeter.sessions.evidence import Ended
from perimeter.sessions.memory import Limits
from perimeter.sessions.remote import RemoteStore
from perimeter.sessions.remote_server import SessionServer
from perimeter.sessions.snapshot import SharedStore
from perimeter.sessions.sqlite import SQLiteStore
from perimeter.tracking import tracker


SECRET = bytes(32)
WORKERS = 3

T = TypeVar("T")

few = settings(
    max_examples=70, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be slow; only what is not answered at all counts."""
    monkeypatch.setattr(remote, "PATIENCE", 30.0)
    monkeypatch.setattr(tracker, "PATIENCE", 30.0)


class Elsewhere(Conversations):
    """Conversations whose sessions are in a file or another process, and need a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="perimeter-"))
        self.clock = Time()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self.runner.run(coroutine)

    def do(self, action: Callable[[], T]) -> T:
        async def inside() -> T:
            return action()

        return self.run(inside())

    def place(self, talk: Talk) -> Playing:
        talk.proxy = self.proxy
        return self.run(self.placed(talk))

    async def placed(self, talk: Talk) -> Playing:
        """Send what a conversation has come to."""
        playing = await talk.proxy.open_later(talk.client, talk.body(), talk.headers)
        talk.sessions.append(playing.session)
        return playing

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.run(self.leave())
            self.runner.close()
            shutil.rmtree(self.folder)

    async def leave(self) -> None:
        """Let go of everything."""


class Restarted(Elsewhere):
    """The proxy is stopped and started in between; its sessions are in a file."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies = []
        self.open()

    def open(self) -> None:
        """Start."""
        store = SQLiteStore(Limits(), self.clock.time, self.folder / "sessions.sqlite3")
        name = f"run-{len(self.proxies)}-"
        self.proxies.append(Proxy(store=store, clock=self.clock, name=name))

    def running(self) -> list[Life]:
        """Return the conversations that wait for an answer."""
        return [each for each in self.lives if each.running and not each.running.exchange.ended]

    def told_apart(self) -> bool:
        """Whether no two who wait have said the same and nothing else: nobody knows them apart."""
        first = [(each.talk.system, *each.turns) for each in self.running() if not each.turns[1:]]
        return len(set(first)) == len(first)

    @precondition(lambda self: self.lives and self.told_apart())
    @rule()
    def restart(self) -> None:
        """Stop, which ends the calls that run, and start again; their clients try again."""
        running = self.running()
        for life in running:
            assert life.running is not None
            self.do(life.running.lose)
        active, before = self.active, len(self.proxy.named("session.end"))
        self.run(self.proxy.tracker.stop())
        assert len(self.proxy.named("session.end")) - before == active
        for life in self.lives:
            life.over = True
        self.open()
        for life in running:
            self.try_again(life)

    def check_nothing_left(self) -> None:
        held = sizes(self.proxy.store)
        kept = {"SQLiteStore._dirty", "SQLiteStore._gone", "SQLiteStore._written"}
        assert {name for name, size in held.items() if size} <= kept

    async def leave(self) -> None:
        await self.proxy.store.close()


class Shared(Elsewhere):
    """Each call comes to another worker than the one before; a server has the sessions of all."""

    def __init__(self) -> None:
        super().__init__()
        self.alone = 0
        store = SharedStore(Limits(), self.clock.time, SECRET)
        self.server = SessionServer(store, self.folder / "sessions.sock")
        self.run(self.server.start())
        self.proxies = [self.run(self.worker(number)) for number in range(WORKERS)]
        self.turns = itertools.cycle(self.proxies)

    async def worker(self, number: int) -> Proxy:
        """Return a worker's proxy. The greeting blocks, so it is read in a thread."""
        arguments = (self.server.path, Limits(), self.clock.time, self.count)
        store = await asyncio.to_thread(RemoteStore, *arguments)
        return Proxy(store=store, clock=self.clock, name=f"worker-{number}-")

    def count(self) -> None:
        """Note that a worker placed a call by itself."""
        self.alone += 1

    @property
    def proxy(self) -> Proxy:
        return next(self.turns)

    @property
    def active(self) -> int:
        return self.server.store.active

    def later(self, seconds: float) -> Sequence[Ended]:
        ended = self.swept()  # all replies are there now
        self.clock.now += seconds
        return [*ended, *self.swept()]

    def swept(self) -> list[Ended]:
        """Return the sessions that ended since."""
        return [each for proxy in self.proxies for each in self.run(proxy.store.sweep())]

    def check_nothing_left(self) -> None:
        assert not any(sizes(self.server.store).values())
        assert not self.alone

    async def leave(self) -> None:
        for proxy in self.proxies:
            await proxy.store.close()
        await self.server.close()


TestRestarted = Restarted.TestCase
TestRestarted.settings = few
TestShared = Shared.TestCase
TestShared.settings = few
