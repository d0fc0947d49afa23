"""What becomes of traces, and of the traffic, when the disk or a process lets them down."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from traced import Traced, traced

from proxies import is_gone, wait_until


PIECE = 64 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", str(place)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield place
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=True)


def health(trace: Traced) -> Any:
    """Return how the process says that it does."""
    return httpx.get(f"{trace.url}/health", timeout=60).json()


def wait_for_state(trace: Traced, state: str) -> Any:
    """Wait until the database is said to be in a state; return all that is said."""
    return wait_until(lambda: (found := health(trace))["database"]["state"] == state and found)


def chat(trace: Traced, *texts: str) -> None:
    """Send something; it must be answered, whatever live trace does."""
    assert trace.proxy.line().chat(*texts)[0].status == 200


def is_sound(path: Path) -> bool:
    """Whether nothing in a database is broken."""
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others from writing to a database."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_a_busy_database(tmp_path, monkeypatch):
    """It is said so; traffic goes on, and what happened meanwhile is stored later."""
    with traced(tmp_path, monkeypatch) as trace:
        chat(trace, "before")
        trace.wait_for_calls(1)
        with locked(trace.database):
            chat(trace, "meanwhile")
            said = wait_for_state(trace, "busy")
        chat(trace, "after")
        trace.wait_for_calls(3)
        mended = wait_for_state(trace, "open")

    assert said["database"]["problem"] == "another process writes to the database"
    assert said["status"] == "degraded"
    assert mended["database"]["problem"] == ""
    assert mended["dropped"] == 0
    assert is_sound(trace.database)


def test_a_full_disk(tmp_path, monkeypatch, disk):
    """It is said so; traffic goes on, and once there is room again all that happened is stored."""
    options = f'db_path = "{disk / "traces.db"}"\n'
    with traced(tmp_path, monkeypatch, options, file="disk/traces.db") as trace:
        chat(trace, "before")
        trace.wait_for_calls(1)
        fill(disk / "filler")
        sent = count(2)
        said = wait_until(lambda: _is_full(trace, sent))
        shown = httpx.get(f"{trace.url}/sessions", timeout=60)
        (disk / "filler").unlink()
        chat(trace, "after")
        trace.wait_for_calls(next(sent))
        mended = wait_for_state(trace, "open")

    assert said["database"]["problem"] == "the disk is full"
    assert said["status"] == "failing"
    assert mended["dropped"] == 0
    assert shown.status_code == 200
    assert is_sound(trace.database)


def _is_full(trace: Traced, sent: Iterator[int]) -> Any:
    chat(trace, os.urandom(PIECE).hex())
    next(sent)
    found = health(trace)
    return found if found["database"]["state"] == "full" else None


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        for size in (PIECE, 4096):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue


def test_a_read_only_disk(tmp_path, monkeypatch, disk):
    """A database that can't be written to is refused with the reason; traffic goes on."""
    options = f'db_path = "{disk / "traces.db"}"\n'
    with traced(tmp_path, monkeypatch, options, file="disk/traces.db") as trace:
        chat(trace, "before")
        trace.wait_for_calls(1)
    (tmp_path / "again").mkdir()
    mount = shutil.which("mount") or "mount"
    subprocess.run([mount, "-o", "remount,ro", str(disk)], check=True)
    with traced(tmp_path / "again", monkeypatch, options) as again:
        wait_until(lambda: "live trace does not run" in again.proxy.said)
        chat(again, "meanwhile")
        said = again.proxy.said

    assert f"{disk / 'traces.db'}: it is not writable" in said
    assert "Traceback" not in said


def test_a_database_that_is_deleted(tmp_path, monkeypatch):
    """A new one is begun, private again, and that is said; readers see the new one."""
    with traced(tmp_path, monkeypatch) as trace:
        chat(trace, "before")
        trace.wait_for_calls(1)
        for path in trace.database.parent.glob(f"{trace.database.name}*"):
            if not path.name.endswith(".lock"):
                path.unlink()
        chat(trace, "after")
        trace.wait_for_calls(1)
        said = health(trace)
        titles = trace.rows("SELECT title FROM sessions")
        shown = httpx.get(f"{trace.url}/sessions.json", timeout=60).text

    assert titles == [("after",)]
    assert said["database"]["state"] == "open"
    assert "deleted while running" in said["database"]["problem"]
    assert '"after"' in shown
    assert '"before"' not in shown
    assert stat.S_IMODE(trace.database.stat().st_mode) == 0o600
    assert is_sound(trace.database)


def test_a_killed_proxy_loses_the_last_moment_only(tmp_path, monkeypatch):
    """What was stored stays, the file is sound, and the next proxy goes on with it."""
    with traced(tmp_path, monkeypatch) as trace:
        for number in range(10):
            chat(trace, f"stored {number}")
        trace.wait_for_calls(10)
        line = trace.proxy.line()
        for number in range(10):
            line.chat(f"perhaps {number}")
        child = trace.child
        trace.proxy.process.send_signal(signal.SIGKILL)
        trace.proxy.process.wait()
        wait_until(lambda: is_gone(child))
        assert 10 <= trace.calls() <= 20
        assert is_sound(trace.database)

    before = trace.calls()
    (tmp_path / "again").mkdir()
    options = f'db_path = "{trace.database}"\n'
    with traced(tmp_path / "again", monkeypatch, options) as again:
        chat(again, "another one")
        wait_until(lambda: trace.calls() == before + 1)
