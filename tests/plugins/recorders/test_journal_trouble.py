"""Disks that are full, slow, read-only or gone."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from perimeter_plugin_recorders.journal import Bad, files, lines
from perimeter_plugin_recorders.journal.trouble import RETRY_SECONDS


LIMITED = """
import resource, signal, sys
from pathlib import Path
from perimeter_plugin_recorders.journal.clock import SystemClock
from perimeter_plugin_recorders.journal import Journal, JournalOptions

class HandClock(SystemClock):
    now = 0.0
    def monotonic(self): return self.now

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
journal = Journal(JournalOptions(Path(sys.argv[1]), "recording", "1"), clock=HandClock())
print(journal.write([b"%03d" % n + b"x" * 96 for n in range(15)]), journal.state)
print(journal.write([b"lost"]))
HandClock.now = 3600.0
print(journal.write([b"again"]), journal.state, journal.lost)
"""


class Disk:
    """A disk with little room on it."""

    def __init__(self, room: float) -> None:
        self.room = room

    def write(self, descriptor: int, data: memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(descriptor, data[: int(min(self.room, len(data)))])
        self.room -= taken
        return taken


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as an error."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_full_disk_stops_recording_and_room_starts_it_again(
    journal, clock, caplog, content_of, tmp_path
):
    """Lines before the disk was full are whole, one error says so, and recording resumes."""
    disk = Disk(25)
    made = journal(os_write=disk.write)
    states: list[str] = []
    made.trouble.on_state = states.append
    assert made.write([b"123456789"] * 4) == 2
    assert made.state == "stopped"
    for _ in range(5):
        assert made.write([b"lost"]) == 0
        clock.now += RETRY_SECONDS
    disk.room = 10_000
    assert made.write([b"again"]) == 1
    assert (made.state, made.written, made.lost) == ("open", 3, 7)
    assert states == ["stopped", "open"]
    assert content_of(tmp_path / "files") == [b"123456789"] * 2 + [b"again"]
    assert not [
        each for path in files(tmp_path / "files") for each in lines(path) if isinstance(each, Bad)
    ]
    [error] = errors(caplog)
    assert "recording stopped, traffic goes on" in error
    assert "No space left" in error
    assert "7 lines are lost" in caplog.text


def test_nothing_is_tried_while_the_disk_was_full_a_moment_ago(journal, clock):
    """A full disk is not asked at every record."""
    disk = Disk(0)
    made = journal(os_write=disk.write)
    made.write([b"one"])
    disk.room = 100
    clock.now += RETRY_SECONDS - 0.1
    assert made.write([b"two"]) == 0
    clock.now += 0.2
    assert made.write([b"three"]) == 1


def test_a_full_disk_is_not_littered(journal, clock, tmp_path):
    """Attempts that got no further than a file's header leave nothing behind."""
    made = journal(os_write=Disk(3).write, header=lambda: b"{}")
    for _ in range(4):
        made.write([b"one"])
        clock.now += RETRY_SECONDS
    assert list((tmp_path / "files").iterdir()) == []


def test_a_half_line_that_cannot_be_cut_off_is_the_files_last(
    journal, clock, monkeypatch, content_of, tmp_path
):
    """Where even cutting fails, what follows goes into another file."""
    disk = Disk(15)
    made = journal(os_write=disk.write)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "ftruncate", fails)
    assert made.write([b"123456789"] * 2) == 1
    disk.room = 100
    clock.now += RETRY_SECONDS
    made.write([b"again"])
    assert content_of(tmp_path / "files") == [b"123456789", b"again"]
    [torn] = [
        each for path in files(tmp_path / "files") for each in lines(path) if isinstance(each, Bad)
    ]
    assert torn.number == 2


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="limits of file sizes are POSIX")
def test_the_kernel_refuses_to_write_more(tmp_path):
    """With a real limit of the kernel, whole lines stay, the half one goes, a new file begins."""
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["10", "stopped", "0", "1", "open", "6"]
    first, second = files(tmp_path)
    assert [line.data[:3] for line in lines(first)] == [b"%03d" % n for n in range(10)]
    assert [line.data for line in lines(second)] == [b"again"]


def test_a_folder_that_vanishes_stops_recording_until_it_is_back(
    journal, clock, caplog, content_of, tmp_path
):
    """Records do not go into deleted files, nor into a folder that was a mounted disk."""
    folder = tmp_path / "files"
    made = journal()
    made.write([b"one"])
    shutil.rmtree(folder)
    assert made.write([b"two"]) == 0
    assert not folder.exists()
    folder.mkdir()
    clock.now += RETRY_SECONDS
    assert made.write([b"three"]) == 1
    assert content_of(folder) == [b"three"]
    assert len(errors(caplog)) == 1


def test_a_deleted_file_is_noticed(journal, content_of, tmp_path):
    """If somebody deletes the open file alone, a new one is begun at once."""
    made = journal()
    made.write([b"one"])
    [file] = files(tmp_path / "files")
    file.unlink()
    assert made.write([b"two"]) == 1
    assert content_of(tmp_path / "files") == [b"two"]


def test_a_folder_that_is_a_file_is_said(journal, caplog, tmp_path):
    """A folder that can't be made is one error before the first record, which names it."""
    (tmp_path / "files").write_text("not a folder")
    made = journal()
    made.tick()
    assert made.write([b"one"]) == 0
    [error] = errors(caplog)
    assert str(tmp_path / "files") in error


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_a_read_only_folder_is_said(journal, caplog, tmp_path):
    """A folder that may not be written to is one error."""
    folder = tmp_path / "files"
    folder.mkdir(mode=0o500)
    assert journal().write([b"one"]) == 0
    [error] = errors(caplog)
    assert "Permission denied" in error


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_descriptors_are_not_leaked(journal, clock):
    """However often a disk is full, no file stays open."""
    made = journal(os_write=Disk(0).write, header=lambda: b"{}")
    made.write([b"one"])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        clock.now += RETRY_SECONDS
        made.write([b"one"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_can_be_made_after_all_is_used(journal, clock, content_of, tmp_path):
    """However often a journal is ticked meanwhile, it goes on once its folder can be made."""
    (tmp_path / "files").write_text("not a folder")
    made = journal()
    for _ in range(5):
        made.tick()
        assert made.write([b"one"]) == 0
        clock.now += RETRY_SECONDS / 2
    (tmp_path / "files").unlink()
    clock.now += RETRY_SECONDS
    made.tick()
    assert made.write([b"two"]) == 1
    assert content_of(tmp_path / "files") == [b"two"]


def test_what_is_synced_is_on_the_disk_before_it_counts(journal, clock, monkeypatch, tmp_path):
    """With fsync each record is synced at once, or all of an interval together, as configured."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(1), fsync(descriptor))[1])
    each = journal(fsync=True, flush="every-record")
    each.write([b"one"])
    first = len(synced)
    each.write([b"two"])
    assert len(synced) == first + 1
    later = journal("messages", fsync=True, flush="interval", flush_interval=5.0)
    later.write([b"one"])
    before = len(synced)
    later.write([b"two"])
    assert len(synced) == before
    clock.now += 5
    later.tick()
    assert len(synced) == before + 1
