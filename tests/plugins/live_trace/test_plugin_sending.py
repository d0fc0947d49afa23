"""The sender: what it keeps, what it sends again, and what it lets go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from perimeter.context import Jobs, PluginContext, Services
from perimeter.metrics import Metrics
from perimeter_plugin_live_trace.records import ACK, Happened, Hello, Progress, unframe
from perimeter_plugin_live_trace.sender import Sender


pytestmark = pytest.mark.anyio


class Peer:
    """The other side, which reads and acknowledges when it is told to."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.frames = 0

    async def frame(self):
        """Read one frame."""
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        self.frames += 1
        return unframe(await self.reader.readexactly(size))

    async def records(self, number):
        """Read so many records, the greeting left out."""
        found = []
        while len(found) < number:
            found += [each for each in await self.frame() if not isinstance(each, Hello)]
        return found

    def acknowledge(self):
        """Say that everything that was read is safe."""
        self.writer.write(self.frames.to_bytes(ACK, "big"))


class Server:
    """A live-trace process that a test plays."""

    def __init__(self, path):
        self.path = path
        self.peers = asyncio.Queue()
        self.accepted = []

    @asynccontextmanager
    async def listening(self):
        """Listen meanwhile."""
        server = await asyncio.start_unix_server(self._accept, self.path)
        try:
            yield self
        finally:
            server.close()
            for writer in self.accepted:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    async def _accept(self, reader, writer):
        self.accepted.append(writer)
        self.peers.put_nowait(Peer(reader, writer))


@pytest.fixture
async def context():
    """Yield what a plugin gets."""
    jobs = Jobs("live_trace")
    jobs.open()
    yield PluginContext("live_trace", Metrics().plugin("live_trace"), Services(), jobs)
    await jobs.cancel(5)


@pytest.fixture
async def sender(context):
    """Yield a sender, which is closed afterwards."""
    made = Sender(context)
    yield made
    if made._link is not None:
        made._link.close()
        await made._link.gone


def happened(name, **attributes):
    """Make an event's record."""
    return Happened(name, 1.0, "", "", "INFO", "s", "a", attributes)


async def until(condition):
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_records_are_sent_in_order(sender, tmp_path):
    """The greeting comes first, then records as they were put; what is safe is forgotten."""
    async with Server(tmp_path / "s").listening() as server:
        sender.start(server.path)
        for number in range(1500):
            sender.put(Progress(str(number), number))
        peer = await server.peers.get()
        assert isinstance((await peer.frame())[0], Hello)
        assert [each.size for each in await peer.records(1500)] == list(range(1500))
        assert sender.held > 0
        peer.acknowledge()
        await until(lambda: sender.held == 0)
        await sender.stop()


async def test_nobody_listens_yet(sender, tmp_path):
    """Records wait until the process is there."""
    server = Server(tmp_path / "s")
    sender.start(server.path)
    sender.put(Progress("x", 1))
    await asyncio.sleep(0)
    async with server.listening():
        peer = await server.peers.get()
        assert [each.exchange for each in await peer.records(1)] == ["x"]


async def test_what_was_not_safe_is_sent_again(sender, tmp_path):
    """When a connection ends, frames that were not acknowledged go over the next one."""
    async with Server(tmp_path / "s").listening() as server:
        sender.start(server.path)
        sender.put(Progress("first", 1))
        first = await server.peers.get()
        await first.records(1)
        first.acknowledge()
        await until(lambda: sender.held == 0)
        sender.put(Progress("second", 2))
        await first.records(1)
        first.writer.close()
        second = await server.peers.get()
        assert [each.exchange for each in await second.records(1)] == ["second"]


async def test_a_process_that_does_not_read(sender, tmp_path):
    """What waits is bounded; beyond that records are lost, and counted."""
    sender.most_held = 1_000_000
    async with Server(tmp_path / "s").listening() as server:
        sender.start(server.path)
        await server.peers.get()
        for number in range(5000):
            sender.put(happened("x", text="y" * 1000, number=number))
            assert sender.held <= 2_100_000
        assert 0 < sender.lost < 5000


async def test_stopping_waits_until_all_is_safe(sender, tmp_path):
    """The end of a proxy waits for the acknowledgement of its last records."""
    async with Server(tmp_path / "s").listening() as server:
        sender.start(server.path)
        peer = await server.peers.get()
        sender.put(Progress("last", 1))
        stopping = asyncio.get_running_loop().create_task(sender.stop())
        assert [each.exchange for each in await peer.records(1)] == ["last"]
        assert not stopping.done()
        peer.acknowledge()
        await stopping


async def test_values_that_can_not_be_written(sender, tmp_path):
    """Odd values of plugins' events are made plain, and cost no other record."""
    odd = {"surrogate": "a\ud800b", "huge": 2**70, "set": {1}, "object": object}
    async with Server(tmp_path / "s").listening() as server:
        sender.start(server.path)
        sender.put(happened("before"))
        sender.put(happened("odd", **odd))
        sender.put(happened("after"))
        peer = await server.peers.get()
        records = await peer.records(3)

    assert [each.name for each in records] == ["before", "odd", "after"]
    found = records[1].attributes
    assert found["surrogate"] == "a?b"
    assert found["huge"] == str(2**70)
    assert found["set"] == [1]
