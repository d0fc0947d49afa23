"""The bounded batch queue: it never holds anybody up, and loses nothing without counting it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from perimeter.worker import Worker


LONG = 60.0
"""Seconds that no test waits for: it fails by its own time limit before."""


class Desk:
    """A handler that notes its batches, and waits at a gate that is open to begin with."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.began = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: list[Any]) -> None:
        """Handle a batch."""
        self.began.set()
        self.gate.wait()
        self.batches.append(batch)

    @property
    def items(self) -> list[Any]:
        """Everything that was handled, in order."""
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A handler whose gate is open again at the end, so that no thread stays behind it."""
    made = Desk()
    yield made
    made.gate.set()


def fill(worker: Worker[Any], count: int) -> list[bool]:
    """Put the numbers from 0 and return what was said to each."""
    return [worker.put(number) for number in range(count)]


async def test_batches_are_full_where_they_can_be(desk):
    """Items arrive in order, in batches of the given size, the rest in the last one."""
    worker: Worker[int] = Worker(desk, batch=4, linger=LONG)
    fill(worker, 10)
    worker.start()

    assert await worker.drain(LONG)
    assert desk.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert worker.dropped == 0


async def test_async_handlers_run_on_the_loop():
    """An async handler is awaited on the event loop, batch by batch."""
    batches: list[list[int]] = []
    threads = set()

    async def handle(batch: list[int]) -> None:
        await asyncio.sleep(0)
        threads.add(threading.get_ident())
        batches.append(batch)

    worker = Worker(handle, batch=2, linger=LONG)
    worker.start()
    fill(worker, 5)

    assert await worker.drain(LONG)
    assert batches == [[0, 1], [2, 3], [4]]
    assert threads == {threading.get_ident()}


async def test_plain_handlers_have_their_own_thread():
    """A handler that is an ordinary function can't hold up the event loop."""
    threads = []
    worker: Worker[int] = Worker(lambda _: threads.append(threading.current_thread()))
    worker.start()
    worker.put(1)
    await worker.drain(LONG)

    assert threads[0] is not threading.main_thread()
    assert threads[0].daemon


def test_linger_ends_the_wait():
    """A batch that does not fill is handled after a while, without anything else happening."""
    handled = threading.Event()
    worker: Worker[int] = Worker(lambda _: handled.set(), batch=100, linger=0.001)
    worker.start()
    worker.put(1)

    assert handled.wait(LONG)
    worker.close()


async def test_linger_ends_the_wait_on_the_loop():
    """The same for an async handler."""
    handled = asyncio.Event()

    async def handle(_: list[int]) -> None:
        handled.set()

    worker = Worker(handle, batch=100, linger=0.001)
    worker.start()
    worker.put(1)
    async with asyncio.timeout(LONG):
        await handled.wait()
    await worker.drain(LONG)


def test_full_batches_do_not_linger(desk):
    """A batch that is full is handled at once."""
    worker: Worker[int] = Worker(desk, batch=3, linger=LONG)
    worker.start()
    fill(worker, 3)

    assert desk.began.wait(LONG)
    worker.close()


@pytest.mark.parametrize(
    ("on_full", "said", "kept"),
    [
        ("drop_oldest", [True] * 5, [2, 3, 4]),
        ("drop_newest", [True] * 3 + [False] * 2, [0, 1, 2]),
    ],
)
async def test_full_queues_drop_and_count(on_full, said, kept, desk):
    """Where there is no room, the oldest or the newest items are lost, and counted."""
    worker: Worker[int] = Worker(desk, queue=3, on_full=on_full)

    assert fill(worker, 5) == said
    assert (worker.depth, worker.dropped) == (3, 2)
    assert await worker.drain(LONG)
    assert desk.items == kept


async def test_dropping_is_logged_once(desk, caplog):
    """The log says when items begin to be dropped and when there is room again, not more."""
    worker: Worker[int] = Worker(desk, queue=4, batch=4, name="slow")
    with caplog.at_level(logging.WARNING):
        fill(worker, 50)
        await worker.drain(LONG)

    began, over = (record.getMessage() for record in caplog.records)
    assert "slow is full" in began
    assert "46 items dropped" in over


async def test_queues_at_their_limit_do_not_fill_the_log(caplog):
    """A queue that overflows again and again says so once in a while; everything is counted."""

    async def handle(_: list[int]) -> None:
        pass

    worker = Worker(handle, queue=2, batch=2, linger=0)
    worker.start()
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            fill(worker, 5)
            while worker.depth:
                await asyncio.sleep(0)

    assert worker.dropped == 20 * 3
    assert len(caplog.records) == 2
    assert await worker.drain(LONG)


async def test_slow_handlers_hold_up_nobody(desk):
    """While the handler is busy, items are taken up to the limit and dropped beyond it."""
    worker: Worker[int] = Worker(desk, queue=2, batch=1)
    worker.start()
    desk.gate.clear()
    worker.put(-1)
    desk.began.wait(LONG)
    assert fill(worker, 100) == [True] * 100
    desk.gate.set()

    assert await worker.drain(LONG)
    assert desk.items == [-1, 98, 99]
    assert worker.dropped == 98


def dies(kind: type[BaseException]) -> Callable[[list[Any]], None]:
    """Return a handler that fails on the first batch, and notes the others on itself."""

    def handle(batch: list[Any]) -> None:
        if not handle.__dict__:
            handle.__dict__["batches"] = []
            raise kind("boom")
        handle.__dict__["batches"].append(batch)

    return handle


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("is_async", [False, True])
async def test_failing_handlers_cost_their_batch_only(kind, is_async, caplog):
    """A handler that raises, or ends the process, is counted and logged; the next batch arrives."""
    plain = dies(kind)

    async def later(batch: list[int]) -> None:
        plain(batch)

    worker: Worker[int] = Worker(later if is_async else plain, batch=2, name="frail")
    fill(worker, 4)

    assert await worker.drain(LONG)
    assert plain.__dict__["batches"] == [[2, 3]]
    assert worker.failures == 1
    assert "frail" in caplog.text
    assert "boom" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, GeneratorExit])
async def test_nothing_ends_the_thread(kind):
    """Whatever a handler raises in its thread, the thread goes on, and the drain comes back."""
    handler = dies(kind)
    worker: Worker[int] = Worker(handler, batch=2)
    fill(worker, 4)

    assert await worker.drain(LONG)
    assert handler.__dict__["batches"] == [[2, 3]]
    assert worker.failures == 1


async def test_failures_are_logged_sparingly(caplog):
    """A handler that always fails does not fill the log."""

    def handle(_: list[int]) -> None:
        raise ValueError("boom")

    worker: Worker[int] = Worker(handle, batch=1)
    fill(worker, 20)
    await worker.drain(LONG)

    assert worker.failures == 20
    assert len(caplog.records) == 1


async def test_cancelled_parts_do_not_end_the_task():
    """An async handler that awaits something cancelled has failed; the worker itself goes on."""
    calls = []

    async def handle(batch: list[int]) -> None:
        calls.append(batch)
        raise asyncio.CancelledError

    worker = Worker(handle, batch=1)
    fill(worker, 2)

    assert await worker.drain(LONG)
    assert calls == [[0], [1]]
    assert worker.failures == 2


async def test_closed_workers_take_nothing(desk):
    """After the end an item is refused, not raised about."""
    worker: Worker[int] = Worker(desk)
    worker.put(1)
    await worker.drain(LONG)

    assert worker.put(2) is False
    assert desk.items == [1]
    assert worker.dropped == 1


async def test_many_threads_may_put(desk):
    """Items from many threads all arrive, each thread's in its order."""
    worker: Worker[tuple[int, int]] = Worker(desk, queue=100_000, batch=7, linger=0.001)
    worker.start()

    def produce(thread: int) -> None:
        for number in range(500):
            worker.put((thread, number))

    threads = [threading.Thread(target=produce, args=(each,)) for each in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)

    assert await worker.drain(LONG)
    assert len(desk.items) == 8 * 500
    for each in range(8):
        assert [number for thread, number in desk.items if thread == each] == list(range(500))


@pytest.fixture
async def strict_loop() -> AsyncIterator[None]:
    """Let the event loop refuse what other threads may not do with it."""
    loop = asyncio.get_running_loop()
    before = loop.get_debug()
    loop.set_debug(True)
    yield
    loop.set_debug(before)


async def test_threads_may_put_to_the_loop(strict_loop):
    """Items from another thread wake an async handler that sleeps."""
    handled = asyncio.Event()

    async def handle(_: list[int]) -> None:
        handled.set()

    worker = Worker(handle, batch=1)
    worker.start()
    await asyncio.sleep(0)  # it sleeps now
    await asyncio.to_thread(worker.put, 1)
    async with asyncio.timeout(LONG):
        await handled.wait()
    await worker.drain(LONG)


async def test_drains_have_a_deadline(desk, caplog):
    """A handler that does not come to its end loses what waits and what it has; that is counted."""
    worker: Worker[int] = Worker(desk, batch=2, linger=0, name="stuck")
    desk.gate.clear()
    fill(worker, 5)

    assert await worker.drain(0.001) is False
    assert worker.depth == 0
    assert worker.dropped == 5
    assert "5 items are lost" in caplog.text


async def test_drains_have_a_deadline_on_the_loop():
    """An async handler is cancelled when the deadline is over."""
    cancelled = asyncio.Event()

    async def handle(_: list[int]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    worker = Worker(handle)
    worker.put(1)

    assert await worker.drain(0.001) is False
    async with asyncio.timeout(LONG):
        await cancelled.wait()
    assert worker.dropped == 1


async def test_idle_workers_drain_at_once(desk):
    """Where nothing waits, there is nothing to wait for; draining twice is no mistake."""
    worker: Worker[int] = Worker(desk)

    assert await worker.drain(LONG)
    assert await worker.drain(LONG)
    assert desk.batches == []


@pytest.mark.parametrize(
    "wrong", [{"queue": 0}, {"batch": 0}, {"linger": -1}, {"on_full": "drop_all"}]
)
def test_wrong_limits_are_refused(wrong, desk):
    """A worker that could never work is not made."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Worker(desk, **wrong)
