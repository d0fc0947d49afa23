"""The thread that writes: what can't be stored now is held, and acknowledged only when it is."""

from __future__ import annotations

import queue
import random
from collections.abc import Iterator
from pathlib import Path

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.process import writing
from perimeter_plugin_live_trace.process.writing import Batch, WritingThread
from perimeter_plugin_live_trace.records import Record
from perimeter_plugin_live_trace.sender import sender
from perimeter_plugin_live_trace.store import Limits, Writer
from perimeter_plugin_live_trace.store import writer as store_writer


SECONDS = 20.0
LATER = writing.GATHER_SECONDS * 0.4


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pages]:
    monkeypatch.setattr(store_writer, "_RETRY", 0.0)
    monkeypatch.setattr(writing, "RETRY_SECONDS", 0.01)
    made = Pages(tmp_path / "live.db")
    yield made
    made.close()


@pytest.fixture
def thread(pages: Pages) -> Iterator[WritingThread]:
    writer = Writer(pages.database, clock=lambda: factory.NOW)
    made = WritingThread(writer, Limits(), pages.site.ingest)
    made.start()
    yield made
    made.stop(SECONDS)


def records(session: str) -> list[Record]:
    traffic = factory.Traffic(random.Random(session), factory.NOW)
    return factory.Talk(traffic, factory.AGENTS[4], session, factory.NOW, {}).turn("Hello")


def test_a_disk_turns_read_only_while_its_page_is_open(
    pages: Pages, thread: WritingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says so; what comes is held, not acknowledged, and stored when it can be."""
    stored: queue.Queue[str] = queue.Queue()
    thread.put(Batch(records("before"), lambda: stored.put("before")))
    assert stored.get(timeout=SECONDS) == "before"
    assert pages.json("/status")["state"] == "ok"
    refused: queue.Queue[str] = queue.Queue()
    take = thread.writer.take

    def read_only(batch: list[Record]) -> bool:
        assert thread.writer._opened is not None or thread.writer._ready()
        thread.writer._opened.work.connection.execute("PRAGMA query_only = 1")
        taken = take(batch)
        refused.put(thread.writer.state)
        return taken

    monkeypatch.setattr(thread.writer, "take", read_only)
    thread.put(Batch(records("meanwhile"), lambda: stored.put("meanwhile")))
    for _ in range(3):  # it is tried again and again
        assert refused.get(timeout=SECONDS) == "read-only"
    said = pages.json("/status")
    assert said["state"] == "failing"
    assert "Read-only" in pages.get("/status").text
    assert pages.json("/sessions")["rows"][0]["public_id"] == "before"
    assert stored.empty()

    monkeypatch.setattr(thread.writer, "take", take)
    assert stored.get(timeout=SECONDS) == "meanwhile"
    assert pages.json("/status")["state"] == "ok"
    assert pages.site.ingest.missing == 0
    assert {row["public_id"] for row in pages.json("/sessions")["rows"]} == {"before", "meanwhile"}


def test_what_is_held_is_stored_in_parts(
    pages: Pages, thread: WritingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has piled up is no transaction of its own size, and keeps its order."""
    monkeypatch.setattr(writing, "MOST_TOGETHER", 10)
    done: queue.Queue[int] = queue.Queue()
    take, sizes, closed = thread.writer.take, [], [True]

    def refusing(batch: list[Record]) -> bool:
        if closed[0]:
            return False
        sizes.append(len(batch))
        return take(batch)

    monkeypatch.setattr(thread.writer, "take", refusing)
    each = len(records("0"))
    for number in range(20):
        thread.put(Batch(records(str(number)), lambda number=number: done.put(number)))
    closed[0] = False

    assert [done.get(timeout=SECONDS) for _ in range(20)] == list(range(20))
    assert max(sizes) < 10 + each
    assert len(pages.json("/sessions")["rows"]) == 20


def test_a_defect_loses_its_batch_only(
    pages: Pages, thread: WritingThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing fails in a way that nobody thought of, the thread goes on with what follows."""
    done: queue.Queue[str] = queue.Queue()
    take = thread.writer.take
    monkeypatch.setattr(thread.writer, "take", lambda _: 1 // 0)
    thread.put(Batch(records("lost"), lambda: done.put("lost")))
    assert done.get(timeout=SECONDS) == "lost"
    monkeypatch.setattr(thread.writer, "take", take)
    thread.put(Batch(records("after"), lambda: done.put("after")))

    assert done.get(timeout=SECONDS) == "after"
    assert [row["public_id"] for row in pages.json("/sessions")["rows"]] == ["after"]


class Stream(queue.SimpleQueue[Batch]):
    """A queue in which there is always something new a little later, by its own clock."""

    now = 0.0

    def get(self, block: bool = True, timeout: float | None = None) -> Batch:
        """Return something new, if it comes in time."""
        assert timeout is not None
        self.now += min(timeout, LATER)
        if timeout < LATER:
            raise queue.Empty
        return Batch(records(str(self.now)))


def test_batches_are_young_when_committed(pages: Pages) -> None:
    """
    What came first waits no longer because more is coming, here and in the proxy.

    Together that leaves half of a tenth of a second to write it.
    """
    stream = Stream()
    thread = WritingThread(
        Writer(pages.database), Limits(), pages.site.ingest, clock=lambda: stream.now
    )
    thread._jobs = stream
    first = LATER
    for _ in range(3):
        batches, _, _ = thread._next()
        assert len(batches) == 3
        assert stream.now - first == pytest.approx(writing.GATHER_SECONDS)
        first = stream.now + LATER
    thread.writer.close()
    assert sender.GATHER_SECONDS + writing.GATHER_SECONDS <= 0.05
