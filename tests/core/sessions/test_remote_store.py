"""Workers share their sessions through a socket, and go on alone while nobody answers there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversation_replay import Perimeter, replay
from conversation_turns import Results, Said, User
from conversations import Play, generate
from driver import Playing, Proxy, Talk, Time, asks, client
from perimeter.calls import LLMRequest, Message, Text, ToolCall, ToolResult
from perimeter.sessions import remote, remote_replies, remote_server
from perimeter.sessions.evidence import AskedTool, Ended, Evidence, Reply, Resolution
from perimeter.sessions.fingerprints import History, Trail
from perimeter.sessions.memory import Limits
from perimeter.sessions.remote import RemoteStore
from perimeter.sessions.remote_history import NotGiven, PlainHistory, wire
from perimeter.sessions.remote_messages import LARGEST, Frames, Tell, WireError, frame
from perimeter.sessions.remote_messages import Said as SaidAll
from perimeter.sessions.remote_plain import (
    PlainEnded,
    PlainEvidence,
    PlainReply,
    PlainResolution,
    evidence_of,
    plain_ended,
    plain_evidence,
    plain_reply,
    plain_resolution,
    reply_of,
    resolution_of,
)
from perimeter.sessions.remote_server import SessionServer
from perimeter.sessions.snapshot import SharedStore
from perimeter.sessions.sqlite import SQLiteStore
from perimeter.tracking import tracker


HELPERS = Path(__file__).parents[2] / "helpers"
SECRET = bytes(32)
SEED = 1729


@attrs.define(eq=False)
class House:
    """A server, and the workers that share its sessions."""

    path: Path
    clock: Time = attrs.field(factory=Time)
    servers: list[SessionServer] = attrs.field(factory=list)
    stores: list[RemoteStore] = attrs.field(factory=list)
    alone: int = 0

    async def serve(self, store: SharedStore | None = None) -> SessionServer:
        store = store or SharedStore(Limits(), self.clock.time, SECRET)
        server = SessionServer(store, self.path)
        await server.start()
        self.servers.append(server)
        return server

    async def worker(self) -> Proxy:
        """Return a worker's proxy. The greeting blocks, so it is read in a thread."""
        store = await asyncio.to_thread(
            RemoteStore, self.path, Limits(), self.clock.time, self._count
        )
        self.stores.append(store)
        return Proxy(store=store, clock=self.clock, name=f"worker-{len(self.stores)}-")

    def _count(self) -> None:
        self.alone += 1


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "run" / "sessions.sock")
    yield made
    for each in (*made.stores, *made.servers):
        await each.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may be slow; only what is not answered at all counts."""
    monkeypatch.setattr(remote, "PATIENCE", 30.0)
    monkeypatch.setattr(tracker, "PATIENCE", 30.0)


async def step(talk: Talk, proxy: Proxy, *turns: Any, reply: Said | str) -> Playing:
    """Say something through a worker, and get an answer, which goes into the history."""
    talk.turns.extend(turns)
    playing = await proxy.open_later(talk.client, talk.body(), talk.headers)
    said = Said(reply) if isinstance(reply, str) else reply
    playing.answer(said)
    talk.turns.append(said)
    talk.sessions.append(playing.session)
    return playing


async def until(ready: Callable[[], object]) -> None:
    """Wait for the other side."""
    for _ in range(2000):
        if ready():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it never came")


# -- what is sent


def test_fields_are_all_sent() -> None:
    """No field of what a store is told or answers is forgotten."""
    for plain, real in (
        (PlainEvidence, Evidence),
        (PlainReply, Reply),
        (PlainEnded, Ended),
    ):
        assert plain.__struct_fields__ == tuple(each.name for each in attrs.fields(real))
    names = [each.name for each in attrs.fields(Resolution)]
    assert [*PlainResolution.__struct_fields__, "ended"] == names


texts = st.text(st.characters(), max_size=20)  # with lone surrogates
keys = st.integers(0, 2**64 - 1)
key_tuples = st.lists(keys, max_size=4).map(tuple)
trails = st.builds(Trail, keys, keys)
times = st.floats(0, 2e9)
tools = st.lists(
    st.tuples(texts, st.builds(AskedTool, texts, times, st.just("ab" * 8), st.just("cd" * 8))),
    max_size=3,
).map(tuple)
turns = st.tuples(st.integers(0, 2**40), st.integers(0, 2**20))
replies = st.builds(
    Reply,
    turns,
    st.sampled_from(["answered", "unknown", "failed", "refused"]),
    keys,
    trails,
    keys,
    st.tuples(keys, keys, keys),
    st.booleans(),
    key_tuples,
    keys,
    key_tuples,
    tools,
    st.integers(0, 2**30),
)
ends = st.builds(
    Ended,
    texts,
    texts,
    st.none() | texts,
    st.sampled_from(["idle", "expired", "evicted", "shutdown"]),
    times,
    times,
    st.integers(0, 2**30),
)
resolutions = st.builds(
    Resolution,
    texts,
    st.sampled_from(["header", "link", "fingerprint", "prefix", "fuzzy", "reset", "new"]),
    turns,
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1),
    st.integers(0, 2**20),
    texts,
    st.booleans(),
    st.lists(texts, max_size=3).map(tuple),
    tools,
    st.lists(ends, max_size=2).map(tuple),
)
parts = st.one_of(
    st.builds(Text, texts),
    st.builds(ToolCall, texts, texts, texts),
    st.builds(ToolResult, texts, texts),
)
messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant", "assistant", "system", "tool"]),
    st.lists(parts, max_size=3).map(tuple),
)
histories = st.lists(messages, max_size=40).map(
    lambda found: History(LLMRequest(messages=tuple(found)), SEED)
)
evidences = st.builds(
    Evidence,
    texts,
    histories,
    keys,
    texts,
    key_tuples,
    keys,
    keys,
    keys,
    texts,
    st.none() | texts,
    st.booleans(),
    st.booleans(),
)


def fields(thing: attrs.AttrsInstance) -> dict[str, Any]:
    """Return all that a thing has, whether or not things of its kind can be compared."""
    return attrs.asdict(thing)


def sent(plain: Any) -> Any:
    """Return what comes of something that is sent."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(plain), type=type(plain))


@given(replies, resolutions)
def test_there_and_back(reply: Reply, found: Resolution) -> None:
    """What is sent is what comes, whatever is in it."""
    assert fields(reply_of(sent(plain_reply(reply, reply.turn)))) == fields(reply)
    over = [sent(plain_ended(each)) for each in found.ended]
    back = resolution_of(sent(plain_resolution(found)), found.turn, over)
    assert fields(back) == fields(found)


@given(evidences)
def test_evidence_there_and_back(evidence: Evidence) -> None:
    """Evidence that is sent with its whole history says what the original does."""
    history = evidence.history
    back = evidence_of(sent(plain_evidence(evidence, wire(history, whole=True))))
    assert fields(attrs.evolve(back, history=history)) == fields(evidence)
    assert_same(back.history, history, range(len(history.chain)))


@given(histories)
def test_brief_history(history: History) -> None:
    """What is sent of a history at first is right, and the rest is asked for, never made up."""
    there = sent(wire(history, whole=False))
    brief: Any = PlainHistory(there)
    first = len(history.chain) - len(there.chain)
    assert brief.chain == history.chain[first:]
    for place in range(len(there.chain)):
        with contextlib.suppress(NotGiven):
            assert brief.is_answer(place) == history.is_answer(first + place)
            assert brief.trail(place) == history.trail(first + place)
            if brief.is_answer(place):
                assert brief.answer_before(place) == history.answer_before(first + place)
    if there.chain:
        assert brief.trail(-1) == history.trail(-1), "it is read when it is too late to ask"
    for name in ("count", "ends_with_model", "result_ids"):
        assert getattr(brief, name) == getattr(history, name)
    if first:
        with pytest.raises(NotGiven):
            brief.is_answer(0)
        with pytest.raises(NotGiven):
            brief.digests  # noqa: B018
        with pytest.raises(NotGiven):
            brief.old_words  # noqa: B018


def assert_same(there: History, here: History, places: range) -> None:
    """Compare all that stores read of a history."""
    for name in ("chain", "ends", "count", "ends_with_model", "digests", "old_words", "result_ids"):
        assert getattr(there, name) == getattr(here, name), name
    for place in places:
        assert there.is_answer(place) == here.is_answer(place)
        assert there.trail(place) == here.trail(place)
        if here.is_answer(place):
            assert there.answer_before(place) == here.answer_before(place)
    known = here.ends[-2] if len(here.ends) > 1 else 0
    assert there.new_words(known) == here.new_words(known)


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_frames(contents: list[bytes], size: int) -> None:
    """Messages are found again however the stream is cut."""
    stream = b"".join([len(each).to_bytes(4) + each for each in contents])
    frames = Frames()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [each for piece in pieces for each in frames.feed(piece)] == contents


def test_large_messages() -> None:
    """A message that is too large is neither written nor read."""
    reply = Reply((1, 1), "answered", tools=(("x" * LARGEST, AskedTool("f", 0.0, "", "")),))
    with pytest.raises(WireError, match="too large"):
        frame(Tell([plain_reply(reply, reply.turn)]))
    with pytest.raises(WireError, match="too large"):
        list(Frames().feed((LARGEST + 1).to_bytes(4)))


# -- the same sessions


class Workers(Perimeter):
    """Resolves through a server's socket; the calls go to several workers in turn."""

    def __init__(self, path: Path, workers: int) -> None:
        super().__init__()
        store = SharedStore(Limits(), self._tracker.time, SECRET)
        self.server = SessionServer(store, path)
        self._runner.run(self.server.start())
        self.alone = 0
        self.trackers = [self._tracker, *(Perimeter()._tracker for _ in range(workers - 1))]
        for each in self.trackers:
            each.store = self._runner.run(
                asyncio.to_thread(RemoteStore, path, Limits(), each.time, self._count)
            )
        self._next = itertools.cycle(self.trackers)

    def _count(self) -> None:
        self.alone += 1

    def ask(self, play: Play) -> str:
        self._tracker = next(self._next)
        return super().ask(play)

    def answer(self, play: Play) -> None:
        async def inside() -> None:
            super(Workers, self).answer(play)

        self._runner.run(inside())

    def close(self) -> None:
        for each in self.trackers:
            self._runner.run(each.store.close())
        self._runner.run(self.server.close())
        super().close()


def numbered(found: list[str]) -> list[int]:
    """Return sessions by the order in which they first come."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(each, len(numbers)) for each in found]


@pytest.mark.parametrize("parallel", [None, 5])
@pytest.mark.parametrize("workers", [1, 3])
def test_same_sessions_as_in_memory(
    tmp_path: Path, patient: None, workers: int, parallel: int | None
) -> None:
    """Conversations are put together as by a store in memory, for the same reasons."""
    plays = generate(60, width=12, seed=workers).plays
    with contextlib.closing(Perimeter()) as direct:
        expected = numbered(replay(plays, direct, parallel=parallel))
    with contextlib.closing(Workers(tmp_path / "sessions.sock", workers)) as shared:
        found = numbered(replay(plays, shared, parallel=parallel))
        assert shared.alone == 0
    assert found == expected
    assert not shared.defects
    for ours, theirs in zip(shared.resolutions, direct.resolutions, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
            continue
        assert (ours.method, ours.score, ours.known) == (theirs.method, theirs.score, theirs.known)
        assert (ours.is_new, ours.again) == (theirs.is_new, theirs.again)
        assert (ours.retold, ours.retry_of) == (theirs.retold, theirs.retry_of)
        assert [name for name, _ in ours.tools] == [name for name, _ in theirs.tools]


async def test_two_workers(house: House, patient: None) -> None:
    """A conversation whose turns go to two workers in turn is one, tools and all."""
    server = await house.serve()
    workers = [await house.worker(), await house.worker()]
    talks = [Talk(workers[0], client(), system="Be brief.") for _ in range(3)]
    for talk in talks:
        await step(talk, workers[0], User("Find it."), reply=Said(calls=(asks("search"),)))
    for talk in talks:
        [call] = talk.turns[-1].calls
        playing = await step(talk, workers[1], Results(((call, "Here."),)), reply="Found.")
        assert playing.method == "fingerprint"
        assert playing.event("tool.result").attributes["tool.name"] == "search"
    for turn, talk in itertools.product(range(30), talks):
        await step(talk, workers[turn % 2], User(f"And {turn}?"), reply=f"No. {turn}.")
    assert len({talk.session for talk in talks}) == 3
    assert house.alone == 0
    assert [each.active for each in house.stores] == [3, 3]
    assert server.store.active == 3


# -- turns that are faster than what is told about the one before


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, patient: None) -> None:
    """Workers tell their replies only when they are asked for them."""
    monkeypatch.setattr(remote_replies, "LINGER", 3600.0)
    monkeypatch.setattr(remote_server, "PATIENCE", 30.0)


async def pair(house: House) -> list[Proxy]:
    """Return two workers, both of them connected."""
    await house.serve()
    workers = [await house.worker(), await house.worker()]
    for worker in workers:
        await worker.store.sweep()
    return workers


@pytest.mark.parametrize("dialect", ["openai.chat", "openai.responses", "anthropic.messages"])
async def test_next_turn_at_another_worker(house: House, silent: None, dialect: str) -> None:
    """A turn is known by the reply before it, which only another worker knows so far."""
    workers = await pair(house)
    talks = [Talk(workers[0], client(dialect), system="Be brief.") for _ in range(3)]
    for talk in talks:  # all begin alike, and each is answered by words of its own
        await step(talk, workers[0], User("Find it."), reply=Said(calls=(asks("search"),)))
    for turn, talk in itertools.product(range(1, 5), talks):
        said = talk.turns[-1]
        results = [Results(((call, "Here."),)) for call in said.calls]
        playing = await step(
            talk, workers[turn % 2], *(results or [User(f"And {turn}?")]), reply=f"No. {turn}."
        )
        assert playing.method == "fingerprint"
        assert bool(results) == any(each.name == "tool.result" for each in playing.events)
    assert len({talk.session for talk in talks}) == 3


async def test_linked_turn_at_another_worker(house: House, silent: None) -> None:
    """A response that only another worker knows so far is found by its id."""
    workers = await pair(house)
    talk = Talk(workers[0], client("openai.responses"))
    first = await step(talk, workers[0], User("Hello"), reply=Said("Hi!", id="resp_1"))
    body = {"model": "m", "previous_response_id": "resp_1", "input": "And now?"}
    second = await workers[1].open_later(talk.client, body)
    assert (second.method, second.session) == ("link", first.session)


async def test_edited_turn_at_another_worker(house: House, silent: None) -> None:
    """A history that was cut is compared with replies that only another worker knows so far."""
    workers = await pair(house)
    talk = Talk(workers[0], client())
    for turn in range(4):
        reply = f"This is what there is to say about question no. {turn}."
        await step(talk, workers[0], User(f"Question {turn}?"), reply=reply)
    cut = Talk(workers[1], talk.client, turns=[*talk.turns[4:], User("And now?")])
    playing = await workers[1].open_later(cut.client, cut.body())
    assert (playing.method, playing.session) == ("fuzzy", talk.session)


async def test_retry_at_another_worker(house: House, silent: None) -> None:
    """A call that failed at one worker is tried again at another one."""
    workers = await pair(house)
    talk = Talk(workers[0], client(), turns=[User("Hello")])
    failed = await workers[0].open_later(talk.client, talk.body())
    failed.fail()
    again = await workers[1].open_later(talk.client, talk.body())
    assert (again.session, again.found.retry_of) == (failed.session, failed.exchange.id)


async def test_worker_that_says_nothing(
    house: House, silent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that hangs holds up the calls of others for a moment only."""
    monkeypatch.setattr(remote_server, "PATIENCE", 0.01)
    workers = await pair(house)
    monkeypatch.setattr(house.stores[0], "_say", lambda _: None)
    talk = Talk(workers[0], client())
    await step(talk, workers[0], User("Hello"), reply="Hi!")
    playing = await step(talk, workers[1], User("And now?"), reply="What?")
    assert playing.found.is_new


async def test_worker_that_is_lost_meanwhile(
    house: House, silent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a lost worker did not tell is waited for by nobody."""
    workers = await pair(house)
    monkeypatch.setattr(house.stores[0], "_say", lambda link: link.drop("lost"))
    talk = Talk(workers[0], client())
    await step(talk, workers[0], User("Hello"), reply="Hi!")
    playing = await step(talk, workers[1], User("And now?"), reply="What?")
    assert playing.session


async def test_caller_that_is_lost_meanwhile(
    house: House, silent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose worker is gone while it is held is placed nowhere."""
    workers = await pair(house)
    asked = asyncio.Event()
    monkeypatch.setattr(house.stores[0], "_say", lambda _: asked.set())
    talk = Talk(workers[0], client(), turns=[User("Hello")])
    await workers[0].open_later(talk.client, talk.body())
    placing = workers[1].open_later(talk.client, talk.body())
    calling = asyncio.get_running_loop().create_task(placing)
    async with asyncio.timeout(30):
        await asked.wait()
    [server] = house.servers
    for store in reversed(house.stores):
        left = len(server.connections) - 1
        store._keeper.link.drop("lost")
        await until(lambda left=left: len(server.connections) == left)
    await calling
    assert house.alone == 1
    assert [record.running for record in server.store._records.values()] == [0]
    assert not server._running


async def test_many_replies_at_once(house: House, silent: None) -> None:
    """However many calls end together, no reply is lost."""
    await house.serve()
    store = (await house.worker()).store
    asked = [store.resolve(evidence(f"No. {number}"), ()) for number in range(3000)]
    for found in await asyncio.gather(*asked):
        store.write([Reply(found.turn, "answered")])
    await store.sweep()
    [server] = house.servers
    assert {record.running for record in server.store._records.values()} == {0}


SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from driver import Time
from perimeter.sessions.memory import Limits
from perimeter.sessions.remote_server import SessionServer
from perimeter.sessions.snapshot import SharedStore
from perimeter.sessions.sqlite import SQLiteStore
async def serve():
    clock = Time().time
    store = SharedStore(Limits(), clock, bytes(32))
    if sys.argv[2] != "memory":
        store = SQLiteStore(Limits(), clock, Path(sys.argv[2]))
    await SessionServer(store, Path(sys.argv[1])).start()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(serve())
"""

WORKER = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from conversation_turns import Said, User
from driver import Proxy, Talk, Time, client
from perimeter.sessions import remote, remote_replies, remote_server
from perimeter.sessions.memory import Limits
from perimeter.sessions.remote import RemoteStore
from perimeter.tracking import tracker
remote.PATIENCE = tracker.PATIENCE = 30.0
async def work():
    store = RemoteStore(Path(sys.argv[1]), Limits(), Time().time)
    proxy = Proxy(store=store, name=sys.argv[3])
    while line := await asyncio.to_thread(sys.stdin.readline):
        texts = json.loads(line)
        kinds = (User, Said)
        turns = [kinds[place % 2](text) for place, text in enumerate(texts)]
        talk = Talk(proxy, client(), turns=turns[:-1])
        playing = await proxy.open_later(talk.client, talk.body())
        playing.answer(Said(texts[-1]))
        await asyncio.sleep(0)
        print(playing.session, flush=True)
    await store.close()
asyncio.run(work())
"""


@contextlib.asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a script until the end of the block."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdin=pipe, stdout=pipe
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def line_of(child: asyncio.subprocess.Process) -> str:
    """Return the next line that a child writes."""
    assert child.stdout is not None
    return (await child.stdout.readline()).decode().strip()


async def test_two_processes(tmp_path: Path) -> None:
    """Workers in processes of their own share conversations turn by turn."""
    path = str(tmp_path / "sessions.sock")
    async with running(SERVER, path, "memory", str(HELPERS)) as server:
        assert await line_of(server) == "ready"
        async with (
            running(WORKER, path, str(HELPERS), "one") as one,
            running(WORKER, path, str(HELPERS), "two") as two,
        ):
            sessions: list[set[str]] = [set(), set()]
            talks: list[list[str]] = [[], []]
            for turn in range(10):
                for number, talk in enumerate(talks):
                    talk += [f"Question {turn}", f"Answer {turn} of {number}"]
                    child = (one, two)[(turn + number) % 2]
                    assert child.stdin is not None
                    child.stdin.write(json.dumps(talk).encode() + b"\n")
                    sessions[number].add(await line_of(child))
    assert [len(each) for each in sessions] == [1, 1]
    assert sessions[0] != sessions[1]
    assert "" not in sessions[0] | sessions[1]


# -- when sessions end


async def test_ends_are_told_once(house: House, patient: None) -> None:
    """Each session that ends is told to one worker, however many they are."""
    await house.serve()
    workers = [await house.worker(), await house.worker()]
    for number in range(600):
        await step(Talk(workers[0], client()), workers[0], User(f"No. {number}"), reply="Yes.")
    assert await workers[0].store.sweep() == []  # all replies are there now
    house.clock.now += 2000
    told = await asyncio.gather(*(each.store.sweep() for each in workers))
    assert len({each.session_id for ended in told for each in ended}) == 600
    assert sum(map(len, told)) == 600
    assert [len(await each.store.sweep()) for each in workers] == [0, 0]
    assert [each.active for each in house.stores] == [0, 0]


async def test_the_last_worker_ends_all(house: House, patient: None) -> None:
    """When a worker leaves, sessions go on; those that are left end with the last one."""
    await house.serve()
    first, second = await house.worker(), await house.worker()
    talk = Talk(first, client())
    await step(talk, first, User("Hello"), reply="Hi!")
    await step(talk, second, User("And now?"), reply="What?")
    assert await first.store.close() == []
    [ended] = await second.store.close()
    assert (ended.session_id, ended.reason) == (talk.session, "shutdown")


async def test_calls_of_a_lost_worker(house: House, patient: None) -> None:
    """Calls that ran in a worker that is gone do not keep their sessions for ever."""
    server = await house.serve()
    lost, other = await house.worker(), await house.worker()
    talk = Talk(lost, client(), turns=[User("Hello")])
    await lost.open_later(talk.client, talk.body())
    [record] = server.store._records.values()
    assert record.running == 1
    lost.store._keeper.link._transport.abort()
    await until(lambda: record.running == 0)
    house.clock.now += 2000
    [ended] = await other.store.sweep()
    assert ended.session_id == record.id


async def test_nobody_waits_any_more(house: House, patient: None) -> None:
    """A call that was given up while it was placed does not run for ever."""
    server = await house.serve()
    store = (await house.worker()).store
    store.resolve(evidence("Hello"), ()).cancel()
    await until(lambda: server.store.active)
    [record] = server.store._records.values()
    await until(lambda: record.running == 0)


# -- failures


async def test_server_killed_and_restarted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the server a worker goes on alone; when it is back, its sessions are shared again."""
    caplog.set_level(logging.INFO, "perimeter.sessions")
    monkeypatch.setattr(tracker, "PATIENCE", 30.0)
    house = House(tmp_path / "sessions.sock")
    arguments = (str(house.path), str(tmp_path / "kept.sqlite3"), str(HELPERS))
    async with running(SERVER, *arguments) as server:
        assert await line_of(server) == "ready"
        worker = await house.worker()
        before, during = Talk(worker, client()), Talk(worker, client())
        monkeypatch.setattr(remote, "PATIENCE", 30.0)
        await step(before, worker, User("Hello"), reply="Hi, this is before the kill.")
        open_turns = [User("Still running?")]
        late = await worker.open_later(before.client, Talk(worker, turns=open_turns).body())
        await until(lambda: _kept(tmp_path) == 2)
        server.kill()
        await until(lambda: worker.store._keeper.link is None)
    assert house.alone == 0
    for turn in range(3):
        await step(during, worker, User(f"No. {turn}"), reply=f"This is answer no. {turn}.")
    assert house.alone == 3
    assert during.session
    late.answer("Its server is gone.")
    async with running(SERVER, *arguments) as server:
        assert await line_of(server) == "ready"
        await until(lambda: worker.store._keeper.link is not None)
        playing = await step(before, worker, User("Go on."), reply="I do.")
        assert not playing.found.is_new
        assert before.session
        assert house.alone == 3
        messages = [record.getMessage() for record in caplog.records]
        assert ["alone" in each for each in messages] == [True, False], messages
        assert len(await worker.store.close()) == 3


def _kept(folder: Path) -> int:
    """Return how many sessions a server's file has."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "kept.sqlite3")) as connection:
        return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])


async def test_server_hangs(tmp_path: Path) -> None:
    """All calls that wait for a server that hangs are placed by the worker, each once."""
    house = House(tmp_path / "sessions.sock")
    async with running(SERVER, str(house.path), "memory", str(HELPERS)) as server:
        assert await line_of(server) == "ready"
        store = (await house.worker()).store
        await store.sweep()
        server.send_signal(signal.SIGSTOP)
        found = await asyncio.gather(*(store.resolve(evidence(f"No. {n}"), ()) for n in range(20)))
        assert len({each.session_id for each in found}) == 20
        assert house.alone == 20
        store.write([Reply(found[0].turn, "answered", events=3)])
        assert sorted(each.events for each in await store.close()) == [*[0] * 19, 3]
        server.send_signal(signal.SIGCONT)


def evidence(*texts: str) -> Evidence:
    """Return the evidence of a conversation, in which user and model take turns."""
    roles = itertools.cycle(("user", "assistant"))
    said = tuple(Message(role, (Text(text),)) for role, text in zip(roles, texts, strict=False))
    return Evidence("exchange", History(LLMRequest(messages=said), SEED))


async def test_garbage_to_the_server(house: House, patient: None) -> None:
    """Garbage closes its own connection; the workers' go on."""
    server = await house.serve()
    worker = await house.worker()
    talk = Talk(worker, client())
    await step(talk, worker, User("Hello"), reply="Hi!")
    for garbage in (
        b"\xff" * 100,
        b"\x00\x00\x00\x03abc",
        b"\x00\x00\x00\x01\xc1",
        frame(SaidAll()),
    ):
        reader, writer = await asyncio.open_unix_connection(house.path)
        writer.write(garbage)
        with contextlib.suppress(ConnectionResetError):
            assert len(await reader.read()) < 100, "the greeting, and nothing else"
        writer.close()
    await until(lambda: len(server.connections) == 1)
    await step(talk, worker, User("And now?"), reply="Still here.")
    assert talk.session
    assert house.alone == 0


@pytest.mark.parametrize("garbage", [b"\xff" * 100, b"\x00\x00\x00\x03abc", frame(Tell([]))])
async def test_garbage_from_the_server(
    house: House, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker hangs up on a server that sends garbage, and goes on alone."""
    server = await house.serve()
    worker = await house.worker()
    await worker.store.sweep()
    [connection] = [each for each in server.connections if each._transport is not None]
    connection._transport.write(garbage)
    await until(lambda: house.stores[0]._complained)
    assert "garbage" in caplog.text
    await until(lambda: house.stores[0]._keeper.link is not None)


async def test_call_that_is_too_large(house: House, patient: None) -> None:
    """A call whose evidence can't be sent is placed by the worker; a reply loses its tools."""
    server = await house.serve()
    store = (await house.worker()).store
    large = attrs.evolve(evidence("Hello"), session_id="x" * LARGEST)
    assert (await store.resolve(large, ())).turn[0] % 256 == 0
    assert house.alone == 1
    found = await store.resolve(evidence("Hello"), ())
    tool = ("x" * LARGEST, AskedTool("f", 0.0, "", ""))
    store.write([Reply(found.turn, "answered", tools=(tool,), events=4)])
    await store.sweep()
    [record] = server.store._records.values()
    assert (record.events, record.running, record.asked) == (4, 0, {})


async def test_defect_in_the_store(house: House, patient: None, caplog: Any) -> None:
    """A defect of the shared store is logged there, and the call is placed by the worker."""
    server = await house.serve()
    store = (await house.worker()).store
    server.store._matcher = None  # type: ignore[assignment]
    assert (await store.resolve(evidence("Hello"), ())).is_new
    assert house.alone == 1
    assert "could not be placed" in caplog.text


# -- the socket


async def test_socket_is_private(house: House, tmp_path: Path) -> None:
    """Only this user reaches the socket; a second server is refused, and a dead one's replaced."""
    await house.serve()
    assert stat.S_IMODE(house.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(house.path.parent.stat().st_mode) == 0o700
    with pytest.raises(OSError, match="another process listens"):
        await house.serve()
    await house.servers[0].close()
    assert not house.path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(house.path))
    await house.serve()
    precious = tmp_path / "precious"
    precious.write_text("a file")
    with pytest.raises(FileExistsError, match="no socket"):
        await House(precious).serve()
    assert precious.read_text() == "a file"


def test_no_server(tmp_path: Path) -> None:
    """A worker that finds no server says so at once."""
    with pytest.raises(OSError):
        RemoteStore(tmp_path / "nothing.sock", Limits(), Time().time)


async def test_file_behind_the_server(house: House, patient: None, tmp_path: Path) -> None:
    """A server's sessions may have a file behind them, and then outlive its restart."""
    kept = tmp_path / "kept.sqlite3"
    server = await house.serve(SQLiteStore(Limits(), house.clock.time, kept))
    first = await house.worker()
    talk = Talk(first, client())
    await step(talk, first, User("Hello"), reply="Hi!")
    await first.store.close()
    await server.close()
    await house.serve(SQLiteStore(Limits(), house.clock.time, kept))
    second = await house.worker()
    await step(talk, second, User("And now?"), reply="Still here.")
    assert talk.session
    assert second.store.secret == first.store.secret
