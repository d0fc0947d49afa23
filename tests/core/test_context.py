"""What a plugin gets: its folder, its workers and tasks, a client, and events to tell others."""

from __future__ import annotations

import asyncio
import logging
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from perimeter import Event, PluginContext
from perimeter.context import MAX_DEPTH, Clock, Events, Jobs, Services, data_root
from perimeter.dispatch import Bound, Hooks
from perimeter.metrics import Metrics


def event(name: str) -> Event:
    """An event of that name."""
    return Event(name, timestamp=0.0)


def observed_by(*calls: Any) -> Events:
    """Events that these functions hear of."""
    chain = tuple(Bound(f"p{number}", "on_session_event", c) for number, c in enumerate(calls))
    return Events(Hooks(on_session_event=chain))


@pytest.fixture
def services(tmp_path) -> Services:
    """What plugins share, with a folder that is not there yet."""
    return Services(data_root=tmp_path / "data")


@pytest.fixture
def context(services) -> PluginContext:
    """The context of a plugin called `printer`."""
    return PluginContext("printer", Metrics().plugin("printer"), services, Jobs("printer"))


def test_the_log_has_the_plugins_name(context):
    """A plugin's lines can be told from others'."""
    assert context.log is logging.getLogger("perimeter.plugin.printer")


def test_the_clock_can_be_replaced(tmp_path):
    """Every plugin sees the time that the application was given."""

    class Stopped(Clock):
        def time(self) -> float:
            return 5.0

    services = Services(data_root=tmp_path, clock=Stopped())
    context = PluginContext("printer", Metrics().plugin("printer"), services, Jobs("printer"))

    assert context.clock.time() == 5.0
    assert Clock().monotonic() <= Clock().monotonic()


def test_folders_are_made_when_asked_for(context, services):
    """Nothing is written for a plugin that keeps no data; a folder is the plugin's own."""
    assert not services.data_root.exists()
    assert not services.keeps_data

    assert context.data_dir == services.data_root / "printer"
    assert context.data_dir.is_dir()
    assert services.keeps_data


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes of files")
def test_folders_are_private(context):
    """Only the user can look into the folders."""
    for folder in (context.data_dir, context.data_dir.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_variable_names_the_folder(tmp_path, monkeypatch):
    """`PERIMETER_DATA_DIR` is where the folders are, relative to where the proxy was started."""
    monkeypatch.chdir(tmp_path)

    assert data_root({"PERIMETER_DATA_DIR": str(tmp_path / "a")}) == tmp_path / "a"
    assert data_root({"PERIMETER_DATA_DIR": "b"}) == tmp_path / "b"
    assert data_root({"PERIMETER_DATA_DIR": "~/c"}) == Path.home() / "c"


def test_the_platform_names_the_folder():
    """Without the variable, or with an empty one, it is the platform's folder for users' data."""
    expected = platformdirs.user_data_path("perimeter", appauthor=False)

    assert data_root({}) == data_root({"PERIMETER_DATA_DIR": ""}) == expected


async def test_the_client_is_shared_and_closed(context, services):
    """All plugins use one HTTP client, which is made late, closed at the end, and made again."""
    client = context.http
    assert context.http is client

    await services.close()
    assert client.is_closed
    assert context.http is not client
    await services.close()
    await services.close()


async def test_workers_wait_for_the_start(context):
    """A worker made before the start keeps what it gets; it is handled once the plugins start."""
    handled = threading.Event()
    worker = context.worker(lambda _: handled.set(), linger=0)
    worker.put(1)
    assert worker.depth == 1

    context._jobs.open()
    assert await asyncio.to_thread(handled.wait, 60)
    await context._jobs.drain(60)


async def test_workers_made_late_start_at_once(context):
    """A worker made during or after the start needs nothing else."""
    batches: list[list[int]] = []
    context._jobs.open()
    worker = context.worker(batches.append, queue=5, batch=2, linger=60, on_full="drop_newest")
    for number in range(3):
        worker.put(number)
    await context._jobs.drain(60)

    assert batches == [[0, 1], [2]]
    assert (worker.name, worker.queue, worker.on_full) == ("printer", 5, "drop_newest")


async def test_tasks_are_kept_and_cancelled(context):
    """A background task lives until it ends or the proxy stops, and is named after its plugin."""
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = context.spawn(forever())
    other = context.spawn(asyncio.sleep(0, "done"), name="short")
    assert (task.get_name(), other.get_name()) == ("printer", "short")
    assert await other == "done"

    await context._jobs.cancel(60)
    assert cancelled.is_set()
    assert context._jobs.tasks == set()


async def test_failed_tasks_are_reported(context, caplog):
    """A background task that raises is logged under its plugin's name, and counted."""

    async def fails() -> None:
        raise ValueError("boom")

    task = context.spawn(fails())
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert context._jobs.failures.failures == 1
    assert "plugin printer failed in task" in caplog.text
    assert "boom" in caplog.text


async def test_stubborn_tasks_do_not_keep_the_proxy(context, caplog):
    """A background task that does not let itself be cancelled is left behind after a while."""
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    task = context.spawn(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await context._jobs.cancel(0.001)

    assert not task.done()
    assert "stubborn" in caplog.text
    release.set()
    await task


def test_events_reach_every_observer():
    """What a plugin emits is told to all, itself included; it belongs to no session."""
    heard: list[Any] = []
    events = observed_by(lambda *told: heard.append(told), lambda *told: heard.append(told))
    sent = event("security.finding")
    events.publish(None, sent)

    assert heard == [(None, sent)] * 2


def test_contexts_emit(context, services):
    """`emit` hands an event to the observers of the same application."""
    heard: list[Any] = []
    services.events.hooks = observed_by(lambda *told: heard.append(told)).hooks
    sent = event("security.finding")
    context.emit(sent)

    assert heard == [(None, sent)]


def test_events_come_one_after_the_other():
    """All observers have heard of an event before any hears of the one emitted on seeing it."""
    heard: list[tuple[str, str]] = []

    def first(_: object, told: Event) -> None:
        heard.append(("first", told.name))
        if told.name == "a":
            events.publish(None, event("b"))

    events = observed_by(first, lambda _, told: heard.append(("second", told.name)))
    events.publish(None, event("a"))

    assert heard == [("first", "a"), ("second", "a"), ("first", "b"), ("second", "b")]


def test_endless_reactions_end(caplog):
    """Plugins that react to each other's events without end are stopped, and it is logged."""
    heard: list[str] = []

    def echo(_: object, told: Event) -> None:
        heard.append(told.name)
        events.publish(None, told)

    events = observed_by(echo)
    events.publish(None, event("ping"))

    assert len(heard) == MAX_DEPTH + 1
    assert events.dropped == 1
    assert "ping was dropped" in caplog.text


def test_growing_reactions_end():
    """The limit is on the length of a chain, so a tree of reactions is bounded as well."""
    told = []

    def twice(_: object, each: Event) -> None:
        told.append(each)
        events.publish(None, each)
        events.publish(None, each)

    events = observed_by(twice)
    events.publish(None, event("ping"))

    assert len(told) == 2 ** (MAX_DEPTH + 1) - 1


def test_many_events_are_no_chain():
    """One observer may emit any number of events on one; none of them is lost."""
    heard: list[str] = []

    def many(_: object, told: Event) -> None:
        heard.append(told.name)
        if told.name == "start":
            for number in range(1000):
                events.publish(None, event(str(number)))

    events = observed_by(many)
    events.publish(None, event("start"))

    assert heard == ["start", *map(str, range(1000))]
    assert events.dropped == 0


def test_failing_observers_do_not_stop_events():
    """An observer that raises keeps neither others nor the next event from being told."""
    heard: list[str] = []

    def fails(_: object, told: Event) -> None:
        raise ValueError(told.name)

    events = observed_by(fails, lambda _, told: heard.append(told.name))
    events.publish(None, event("a"))
    events.publish(None, event("b"))

    assert heard == ["a", "b"]


async def test_events_from_threads_arrive_on_the_loop():
    """An event emitted in a worker's thread is told on the event loop's own."""
    threads: list[int] = []
    told = asyncio.Event()

    def note(*_: object) -> None:
        threads.append(threading.get_ident())
        told.set()

    events = observed_by(note)
    events.open(asyncio.get_running_loop())
    await asyncio.to_thread(events.publish, None, event("a"))
    async with asyncio.timeout(60):
        await told.wait()

    assert threads == [threading.get_ident()]


def test_contexts_are_small():
    """Adding to what plugins get is easy, taking away is not: this list grows on purpose only."""
    public = {name for name in dir(PluginContext) if not name.startswith("_")}

    assert public == {
        "address",
        "announce",
        "clock",
        "contributed",
        "data_dir",
        "emit",
        "hook_calls",
        "http",
        "log",
        "metrics",
        "name",
        "plugins",
        "pricing",
        "redact",
        "spawn",
        "worker",
    }
