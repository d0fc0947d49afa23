"""The live stream: hints and never contents, resumed by number, ended with the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import factory
import httpx
import pytest
from dashboards import Served
from store_parts import Store

from perimeter_plugin_live_trace.web.live import Live
from perimeter_plugin_live_trace.web.site import Ingest, Site


Open = Callable[..., Any]


class Stream:
    """Reads events of a stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.raw = ""
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, int, Any]:
        """Return the next event: its name, number and data."""
        fields: dict[str, str] = {}
        for line in self._lines:
            self.raw += line + "\n"
            if not line and "event" in fields:
                return fields["event"], int(fields["id"]), json.loads(fields["data"])
            name, _, value = line.partition(": ")
            fields[name] = value
        raise EOFError

    def comment(self) -> str:
        """Return the next comment."""
        found = next((line for line in self._lines if line.startswith(":")), None)
        if found is None:
            raise EOFError
        return found


@contextlib.contextmanager
def listening(served: Served, **headers: str) -> Iterator[Stream]:
    with (
        httpx.Client(trust_env=False, timeout=10) as client,
        client.stream("GET", f"{served.url}/live", headers=headers) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        assert "content-encoding" not in answer.headers
        yield Stream(answer)


def talk(served: Served, session: str, seed: int = 1) -> None:
    """Let a session happen."""
    traffic = factory.Traffic(random.Random(seed))
    for records in traffic.conversation(factory.AGENTS[0], traffic.now, 2, session=session):
        served.changes.take(records)


def test_hello_says_where_it_is(dashboard: Open) -> None:
    """The newest revision, and the build of the page's files."""
    served = dashboard()
    with listening(served) as stream:
        name, number, data = stream.next()
    assert (name, number, data["rev"]) == ("hello", served.reader.rev(), served.reader.rev())
    assert len(data["v"]) == 12


def test_a_change_is_hinted(dashboard: Open) -> None:
    """Which session, its revision and its last event; which agent."""
    served = dashboard()
    with listening(served) as stream:
        stream.next()
        talk(served, "secret-name")
        name, number, data = stream.next()
        while number < served.reader.rev():
            name, number, data = stream.next()
    row = served.reader.sql("SELECT id, rev, last_seq, agent_id FROM sessions")[0]
    assert name == "hint"
    assert data["s"] == [list(row[:3])]
    assert row[3] in data["a"] or not data["a"]


def test_nothing_of_the_contents_is_in_the_stream(dashboard: Open) -> None:
    """Neither names nor words: only numbers."""
    served = dashboard()
    with listening(served) as stream:
        stream.next()
        talk(served, "secret-name")
        number = 0
        while number < served.reader.rev():
            _, number, data = stream.next()
            assert set(data) <= {"s", "a", "f", "many"}
            assert all(isinstance(part, int) for hint in data["s"] for part in hint)
        assert "secret" not in stream.raw


def test_what_was_missed_is_told(dashboard: Open) -> None:
    """A client says what it saw last, by header or, for another tab, in the address."""
    served = dashboard()
    before = served.reader.rev()
    talk(served, "one")
    with listening(served, **{"last-event-id": str(before)}) as stream:
        assert stream.next()[0] == "hello"
        name, number, data = stream.next()
    assert (name, number) == ("hint", served.reader.rev())
    assert len(data["s"]) == 1
    with listening(served, **{"last-event-id": "garbage"}) as stream:
        assert stream.next()[0] == "hello"


@pytest.mark.parametrize("last", ["999999999", "0" * 30])
def test_a_number_of_another_database_means_a_reset(dashboard: Open, last: str) -> None:
    """The page must be read again: the database was replaced."""
    served = dashboard()
    talk(served, "one")
    with listening(served, **{"last-event-id": last}) as stream:
        assert stream.next()[0] == "hello"
        assert stream.next()[0] == ("reset" if last.startswith("9") else "hint")


def test_very_many_changes_are_only_said_to_be_many(
    dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hint does not grow with what happened."""
    monkeypatch.setattr("perimeter_plugin_live_trace.web.live.MOST", 3)
    served = dashboard()
    before = served.reader.rev()
    for number in range(5):
        talk(served, f"s{number}", number)
    with listening(served, **{"last-event-id": str(before)}) as stream:
        stream.next()
        _, number, data = stream.next()
    assert data["many"] is True
    assert data["s"] == []
    assert number == served.reader.rev()


def test_silence_is_kept_alive(dashboard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then tells what is between that the stream is in use."""
    monkeypatch.setattr("perimeter_plugin_live_trace.web.live.ALIVE", 0.05)
    with listening(dashboard()) as stream:
        assert stream.comment() == ": alive"


def test_the_stream_ends_with_the_process(dashboard: Open) -> None:
    """Nobody waits for open tabs."""
    served = dashboard()
    with listening(served) as stream:
        stream.next()
        began = time.monotonic()
        stopper = threading.Thread(target=served.stop)
        stopper.start()
        with pytest.raises((EOFError, httpx.RemoteProtocolError)):
            stream.comment()
        stopper.join(5)
        assert time.monotonic() - began < 5
    assert served.site.live_clients == 0


async def told(sent: asyncio.Queue[Any], event: bytes) -> None:
    """Wait until a stream has told of an event."""
    while event not in (await sent.get()).get("body", b""):
        pass


async def test_nobody_looks_while_nobody_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was begun is left after the last stream; with the next one it begins again."""
    monkeypatch.setattr("perimeter_plugin_live_trace.web.live.PERIOD", 0.01)
    store, site = Store(tmp_path / "live.db"), Site(ingest=Ingest())
    loop, before = asyncio.get_running_loop(), asyncio.all_tasks()
    with ThreadPoolExecutor(1) as pool:
        live = Live(site, store.reader, "build", pool)
        for session in ("one", "two"):
            sent: asyncio.Queue[Any] = asyncio.Queue()
            heard: asyncio.Queue[Any] = asyncio.Queue()
            async with asyncio.timeout(10):
                stream = loop.create_task(live.stream(None)({}, heard.get, sent.put))
                await told(sent, b"event: hello")
                store.writer.take(store.talk(session=session).turn("Hello"))
                await told(sent, b"event: hint")
                heard.put_nowait({"type": "http.disconnect"})
                await stream
                await asyncio.gather(*asyncio.all_tasks() - before)
    assert site.live_clients == 0
    store.reader.close()
    store.writer.close()


def test_a_database_that_is_gone_does_not_end_the_stream(dashboard: Open) -> None:
    """It goes on when the database can be read again."""
    served = dashboard()
    version, broken = served.reader.data_version, threading.Event()

    def failing() -> int:
        if broken.is_set():
            raise OSError("gone")
        return version()

    served.reader.data_version = failing  # type: ignore[method-assign]
    with listening(served) as stream:
        stream.next()
        broken.set()
        talk(served, "one")
        broken.clear()
        assert stream.next()[0] == "hint"
