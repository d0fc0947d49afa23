"""Sessions outlive restarts and kills, and nothing that is wrong with the file touches calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import attrs
import pytest

from conversation_turns import Said
from driver import Proxy, Talk, Time, asks, client
from perimeter.errors import ConfigError
from perimeter.sessions import sqlite, sqlite_file
from perimeter.sessions.memory import Limits
from perimeter.sessions.records import Record, Turn
from perimeter.sessions.snapshot import KeptSession, KeptTurn
from perimeter.sessions.sqlite import SQLiteStore
from perimeter.sessions.stores import open_store
from perimeter.settings import SessionSettings


HELPERS = Path(__file__).parents[2] / "helpers"
SECRET_WORDS = "the merger is called Bluebird"
WITH_TOOL = Said("I look.", calls=(asks("search"),))


@attrs.define(eq=False)
class Restarts:
    """Opens the store of one file again and again, with one clock."""

    path: Path
    clock: Time = attrs.field(factory=Time)
    limits: Limits = attrs.field(factory=Limits)
    proxies: list[Proxy] = attrs.field(factory=list)

    def open(self) -> Proxy:
        proxy = Proxy(
            store=SQLiteStore(self.limits, self.clock.time, self.path),
            clock=self.clock,
            name=f"run-{len(self.proxies)}-",
        )
        self.proxies.append(proxy)
        return proxy

    def moved(self, talk: Talk) -> Talk:
        """Return a conversation that goes on with the newest store."""
        return attrs.evolve(talk, proxy=self.proxies[-1])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write more often and wait for less long than a proxy does; nothing else is different."""
    monkeypatch.setattr(sqlite, "PERIOD", 0.05)
    monkeypatch.setattr(sqlite, "PATIENCE", 0.2)
    monkeypatch.setattr(sqlite, "LONGEST", 0.4)


@pytest.fixture
async def restarts(tmp_path: Path) -> AsyncIterator[Restarts]:
    made = Restarts(tmp_path / "data" / "sessions.sqlite3")
    yield made
    for proxy in made.proxies:
        await proxy.store.close()


async def until(ready: Callable[[], object]) -> None:
    """Wait for a thread."""
    for _ in range(2000):
        if ready():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came")


def rows(path: Path) -> list[tuple[int, int]]:
    """Return numbers and ends of the sessions in a file."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute("SELECT number, ended FROM sessions").fetchall()
        except sqlite3.OperationalError:
            return []


def test_fields_are_all_kept() -> None:
    """No field of a session or a turn is forgotten, but those that are empty after a restart."""
    names = {field.name for field in attrs.fields(Turn)}
    assert {*KeptTurn.__struct_fields__, "session"} == {*names, "indexed"}
    names = {field.name for field in attrs.fields(Record)}
    assert {*KeptSession.__struct_fields__, "running", "touched_at"} == names


async def test_restart(restarts: Restarts) -> None:
    """After a restart a conversation goes on, with the results of the tools it asked for."""
    talk = Talk(restarts.open(), client(), system="Be brief.")
    other = Talk(restarts.proxies[0], client())
    talk.ask("Hello")
    talk.ask("Find it.", WITH_TOOL)
    other.ask("Hello")
    ended = await restarts.proxies[0].store.close()
    assert {each.reason for each in ended} == {"shutdown"}

    restarts.open()
    again, other_again = restarts.moved(talk), restarts.moved(other)
    found = again.give("Here.", reply="Found.")
    assert found.method == "fingerprint"
    assert found.found.resumed
    assert found.event("tool.result").attributes["tool.name"] == "search"
    assert "tool.execution_time_ms" in found.event("tool.result").attributes
    other_again.ask("And now?")
    assert again.session == talk.session != other_again.session == other.session


async def test_file_is_private_and_has_no_words(restarts: Restarts) -> None:
    """Only this user can read the file, and what was said is not in it."""
    talk = Talk(restarts.open(), client(), system=f"Never tell: {SECRET_WORDS}")
    talk.ask(SECRET_WORDS, f"I tell nobody that {SECRET_WORDS}.")
    talk.ask("Good.")
    await until(lambda: rows(restarts.path))
    folder = restarts.path.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert len(files) == 3  # with the log of what was written, and its index
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    await restarts.proxies[0].store.close()
    data = b"".join([each.read_bytes() for each in folder.iterdir()])
    assert b"Bluebird" not in data
    assert talk.session.encode() in data


async def test_ends_that_were_missed(restarts: Restarts) -> None:
    """Sessions whose time came while nothing ran end once, at the first look."""
    first = restarts.open()
    talk = Talk(first, client())
    talk.ask("Hello")
    await until(lambda: rows(restarts.path))
    lost = Restarts(restarts.path.with_name("copy.sqlite3"), restarts.clock)
    for each in restarts.path.parent.iterdir():  # what a kill would have left
        shutil.copy(each, each.with_name(each.name.replace("sessions", "copy")))

    restarts.clock.now += 2000
    ended = lost.open().store.sweep()
    assert [(each.session_id, each.reason) for each in ended] == [(talk.session, "idle")]
    assert lost.proxies[0].store.sweep() == ()
    assert lost.moved(talk).ask("More.").found.resumed
    await lost.proxies[0].store.close()

    restarts.clock.now += 4000
    assert lost.open().store.sweep() == ()
    assert rows(lost.path) == [(1, 1)]
    assert lost.moved(talk).ask("More.").found.is_new
    await lost.proxies[1].store.close()
    assert [ended for _, ended in rows(lost.path)] == [1], "the old one was to be deleted"


async def test_forgotten_sessions_leave_the_file(tmp_path: Path) -> None:
    """What is forgotten is deleted, and no more sessions than allowed are taken up again."""
    restarts = Restarts(tmp_path / "sessions.sqlite3", limits=Limits(max_sessions=5))
    proxy = restarts.open()
    for number in range(12):
        Talk(proxy, client()).ask(f"Question {number}")
        restarts.clock.now += 1
        if number == 6:
            await until(lambda: len(rows(restarts.path)) == 5)
    await proxy.store.close()
    assert [number for number, _ in rows(restarts.path)] == [8, 9, 10, 11, 12]
    smaller = Restarts(restarts.path, restarts.clock, Limits(max_sessions=3))
    store = smaller.open().store
    assert list(store._records) == [10, 11, 12]
    Talk(smaller.proxies[0], client()).ask("One more")
    assert list(store._records) == [11, 12, 13], "numbers are never used twice"
    await store.close()
    assert [number for number, _ in rows(restarts.path)] == [11, 12, 13]


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from conversation_turns import Said
from driver import Proxy, Talk, Time, client
from perimeter.sessions.memory import Limits
from perimeter.sessions.sqlite import SQLiteStore
proxy = Proxy(store=SQLiteStore(Limits(), Time().time, Path(sys.argv[1])))
talk = Talk(proxy, client())
for number in range(10_000):
    talk.ask(f"Question {number}", f"This is the answer to question no. {number}.")
    if number % 40 == 39:
        talk.turns.clear()
    print(talk.sessions[-1], flush=True)
    time.sleep(0.002)
"""


async def test_killed(restarts: Restarts) -> None:
    """After `kill -9` at any moment the file is whole, and all but the last batch is there."""
    command = [sys.executable, "-c", KILLED, str(restarts.path), str(HELPERS)]
    for wait in (1, 3):
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert child.stdout is not None
        first = (await child.stdout.readline()).decode().strip()
        assert first, "it did not start"
        await until(lambda least=wait: len(rows(restarts.path)) >= least)
        child.kill()
        seen = [first, *(await child.stdout.read()).decode().split()]
        await child.wait()
        kept = [record.id for record in restarts.open().store._records.values()]
        assert kept[0] == first
        assert kept == list(dict.fromkeys(seen))[: len(kept)]
        with contextlib.closing(sqlite3.connect(restarts.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        await restarts.proxies[-1].store.close()
        restarts.path.unlink()


def test_newer_schema(tmp_path: Path) -> None:
    """A file of a newer version is refused, with its name and both versions."""
    path = tmp_path / "sessions.sqlite3"
    asyncio.run(SQLiteStore(Limits(), time.time, path).close())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE perimeter_sessions_version SET version = 7")
        connection.commit()
    with pytest.raises(ConfigError, match=r"sessions\.sqlite3: .*has version 7.* up to 1"):
        SQLiteStore(Limits(), time.time, path)


async def test_older_schema(restarts: Restarts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an older version is brought up to date, with its sessions."""
    talk = Talk(restarts.open(), client())
    talk.ask("Hello")
    await restarts.proxies[0].store.close()
    steps = (*sqlite_file.MIGRATIONS, ("ALTER TABLE sessions ADD COLUMN note TEXT",))
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", steps)
    opened = sqlite_file.SessionFile(restarts.path)
    opened.open(1.0)
    assert opened.claim(b"") == restarts.proxies[0].store.secret
    assert len(opened.load(10, 0.0)[0]) == 1
    opened.release()
    with contextlib.closing(sqlite3.connect(restarts.path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(sessions)")]
        assert "note" in columns
        version = connection.execute("SELECT version FROM perimeter_sessions_version")
        assert version.fetchall() == [(2,)]


async def test_unreadable_rows(restarts: Restarts) -> None:
    """A row that can't be read is left out and deleted; the others are taken up."""
    proxy = restarts.open()
    talks = [Talk(proxy, client()) for _ in range(3)]
    for number, talk in enumerate(talks):
        talk.ask(f"Question {number}")
    await proxy.store.close()
    with contextlib.closing(sqlite3.connect(restarts.path)) as connection:
        connection.execute("UPDATE sessions SET state = x'c1' WHERE number = 2")
        connection.commit()
    restarts.open()
    assert restarts.moved(talks[0]).ask("More").found.resumed
    assert restarts.moved(talks[1]).ask("More").found.is_new
    await restarts.proxies[-1].store.close()
    assert [number for number, _ in rows(restarts.path)] == [1, 3, 4]


def damage_nothing(path: Path) -> Callable[[], None]:
    """A folder that can't be made, since a file has its name."""
    path.parent.write_text("a file")
    return path.parent.unlink


def damage_with_garbage(path: Path) -> Callable[[], None]:
    """Something else has the file's name."""
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 1000)
    return path.unlink


def damage_with_others(path: Path) -> Callable[[], None]:
    """A database of something else has the file's name."""
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    return path.unlink


def damage_with_lock(path: Path) -> Callable[[], None]:
    """Another program holds the file's lock."""
    path.parent.mkdir()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    return holder.close


@pytest.mark.parametrize(
    "damage", [damage_nothing, damage_with_garbage, damage_with_others, damage_with_lock]
)
async def test_unusable_at_the_start(
    restarts: Restarts,
    damage: Callable[[Path], Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Calls go on and one line is logged; when the file can be used, all sessions are kept."""
    caplog.set_level(logging.INFO, "perimeter.sessions")
    repair = damage(restarts.path)
    proxy = restarts.open()
    talk = Talk(proxy, client())
    talk.ask("Hello")
    writer = proxy.store._writer
    await until(lambda: proxy.store._failing and writer.is_alive())
    talk.ask("Are you there?")
    assert talk.session
    repair()
    await until(lambda: rows(restarts.path))
    await until(lambda: not proxy.store._failing)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2, messages
    assert "can't be kept" in messages[0]
    assert "again" in messages[1]
    await proxy.store.close()
    restarts.open()
    assert restarts.moved(talk).ask("More").session == talk.session


async def test_locked_and_removed_meanwhile(
    restarts: Restarts, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock delays what is written; a file that is removed is made again with everything."""
    proxy = restarts.open()
    talk = Talk(proxy, client())
    talk.ask("Hello")
    await until(lambda: rows(restarts.path))
    with contextlib.closing(sqlite3.connect(restarts.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        talk.ask("Are you there?")
        await until(lambda: proxy.store._failing)
        assert "locked" in caplog.text
    await until(lambda: not proxy.store._failing)
    for each in list(restarts.path.parent.iterdir()):
        each.unlink()
    Talk(proxy, client()).ask("Another one")
    await until(lambda: len(rows(restarts.path)) == 2)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be a user who may write nowhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


async def test_read_only(caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing may be written, calls go on in memory."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)  # noqa: PTH101
        with without_rights():
            restarts = Restarts(Path(folder) / "sessions.sqlite3")
            talk = Talk(restarts.open(), client())
            talk.ask("Hello")
            await until(lambda: restarts.proxies[0].store._failing)
            talk.ask("Are you there?")
            assert talk.session
            ended = await restarts.proxies[0].store.close()
            assert len(ended) == 1
        os.chmod(folder, 0o755)  # noqa: PTH101
        assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1


async def test_disk_full(restarts: Restarts, caplog: pytest.LogCaptureFixture) -> None:
    """When the disk is full, calls go on; when there is room again, everything is written."""
    proxy = restarts.open()
    talk = Talk(proxy, client())
    talk.ask("Hello")
    await until(lambda: rows(restarts.path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, hard))
    try:
        for number in range(50):
            Talk(proxy, client()).ask(f"Question {number}")
        await until(lambda: proxy.store._failing)
        talk.ask("Are you there?")
        assert len(proxy.store._written) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await until(lambda: len(rows(restarts.path)) == 51)
    await until(lambda: not proxy.store._failing)
    assert len([each for each in caplog.records if each.levelno >= logging.WARNING]) == 1


async def test_slow_disk_costs_no_memory(restarts: Restarts) -> None:
    """While the disk hangs, what waits for it is bounded by the number of sessions."""
    restarts.limits = Limits(max_sessions=20)
    proxy = restarts.open()
    with contextlib.closing(sqlite3.connect(restarts.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(200):
            Talk(proxy, client()).ask(f"Question {number}")
            await asyncio.sleep(0.005)  # batches fail in between
        store = proxy.store
        await until(lambda: store._failing)
        assert len(store._dirty | store._gone) <= 20
        assert len(store._written) <= 20
    await store.close()
    assert len(rows(restarts.path)) == 20


async def test_two_processes(restarts: Restarts, caplog: pytest.LogCaptureFixture) -> None:
    """Of two that have the same file the later one keeps it; the other goes on without it."""
    first = restarts.open()
    talk = Talk(first, client())
    talk.ask("Hello")
    await until(lambda: rows(restarts.path))
    second = restarts.open()
    assert second.store.secret == first.store.secret
    assert restarts.moved(talk).ask("To the second").session == talk.session
    Talk(first, client()).ask("Another one")
    await until(lambda: first.store._failing)
    assert "another process" in caplog.text
    assert talk.ask("To the first").session == talk.session
    assert [each.reason for each in await second.store.close()] == ["shutdown"]
    await until(lambda: not first.store._failing)
    assert len(rows(restarts.path)) == 2


async def test_named_by_the_configuration(tmp_path: Path) -> None:
    """`store = "sqlite"` keeps sessions in the data folder, or where `store_path` says."""
    places = {"": tmp_path / "data" / "sessions.sqlite3", "here.db": tmp_path / "here.db"}
    for name, path in places.items():
        where = str(tmp_path / name) if name else ""
        settings = SessionSettings(store="sqlite", store_path=where)
        store = open_store(settings, {}, time.time, tmp_path / "data")
        assert isinstance(store, SQLiteStore)
        assert await store.close() == ()
        assert path.exists()
    with pytest.raises(ConfigError, match="there is memory, sqlite"):
        open_store(SessionSettings(store="redis"), {}, time.time, tmp_path)
