"""Journals on real disks: names, modes, rotation, what is left when their writer is killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from perimeter_plugin_recorders.journal import TORN, Bad, Line, files, lines
from perimeter_plugin_recorders.journal.writer import LONGEST_OPEN


WRITER = """
import itertools, logging, sys
from pathlib import Path
from perimeter_plugin_recorders.journal import Journal, JournalOptions

journal = Journal(JournalOptions(Path(sys.argv[1]), "recording", sys.argv[2], max_file_lines=500))
for number in itertools.count():
    journal.write([b'{"number": %d, "filling": "%s"}' % (number, b"x" * 300)] * 10)
    print(number, flush=True)
    if number == 149 and len(sys.argv) > 3:
        sys.stdin.readline()
"""


def test_what_is_written_is_read_back(journal, content_of, tmp_path):
    """Lines come back as they were written, after the header that each file begins with."""
    made = journal(header=lambda: b"header")
    assert made.write([b"one", b"two"]) == 2
    assert made.write([b"three"]) == 1
    assert content_of(tmp_path / "files") == [b"header", b"one", b"two", b"three"]


def test_nothing_is_made_before_something_is_written(journal, tmp_path):
    """A recorder without traffic leaves no files."""
    made = journal(header=lambda: b"header")
    made.tick()
    made.close()
    assert files(tmp_path / "files") == []


def test_only_the_user_can_look_into_files(journal, tmp_path):
    """Folders are 0700 and files 0600, whatever the umask lets through."""
    before = os.umask(0)
    try:
        journal(folder=tmp_path / "a" / "b").write([b"one"])
    finally:
        os.umask(before)
    [file] = files(tmp_path / "a" / "b")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", file.parent, file)]
    assert modes == [0o700, 0o700, 0o600]


def test_names_say_when_a_file_was_begun(journal, clock, tmp_path):
    """Names hold the time, the worker and a number, and sort in the order of writing."""
    made = journal(max_file_lines=1)
    made.write([b"one", b"two"])
    clock.now += 61
    made.write([b"three"])
    assert [path.name for path in files(tmp_path / "files")] == [
        "recording-20260131T120000-7-001.jsonl",
        "recording-20260131T120000-7-002.jsonl",
        "recording-20260131T120101-7-001.jsonl",
    ]


def test_more_than_999_files_in_a_second_stay_in_order(journal, content_of, tmp_path):
    """Numbers are sorted by value, also where they need a further digit."""
    journal(max_file_lines=1).write([b"%d" % number for number in range(1003)])
    assert content_of(tmp_path / "files") == [b"%d" % number for number in range(1003)]


def test_a_file_is_closed_before_it_is_too_large(journal, tmp_path):
    """No file is larger than the limit, unless a single line is."""
    journal(max_file_size=30).write([b"x" * 9] * 5 + [b"y" * 100] + [b"x" * 9])
    sizes = [path.stat().st_size for path in files(tmp_path / "files")]
    assert sizes == [30, 20, 101, 10]


def test_a_file_does_not_stay_open_for_ever(journal, clock, tmp_path):
    """After a day a new file is begun, so that retention by age comes to all records."""
    made = journal()
    made.write([b"one"])
    clock.now += LONGEST_OPEN
    made.tick()
    made.write([b"two"])
    assert len(files(tmp_path / "files")) == 2


def test_a_restart_begins_a_new_file(journal, content_of, tmp_path):
    """What an earlier process wrote, or tore, is never added to."""
    first = journal()
    first.write([b"one"])
    first.close()
    [file] = files(tmp_path / "files")
    with file.open("ab") as torn:
        torn.write(b"half a li")
    journal().write([b"two"])
    assert content_of(tmp_path / "files") == [b"one", b"two"]
    assert [each for each in lines(file) if isinstance(each, Bad)] == [Bad(file, 2, TORN)]


def test_a_link_that_somebody_laid_is_not_followed(journal, clock, tmp_path):
    """A link under the name of the next file leads no writer to another place."""
    folder, elsewhere = tmp_path / "files", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "recording-20260131T120000-7-001.jsonl").symlink_to(elsewhere)
    problems: list[Bad] = []
    assert journal().write([b"one"]) == 1
    assert not elsewhere.exists()
    [file] = files(folder, problems=problems.append)
    assert file.name == "recording-20260131T120000-7-002.jsonl"
    assert [problem.reason for problem in problems] == ["a symbolic link, left out"]


@pytest.mark.skipif(os.name != "posix", reason="processes are killed otherwise elsewhere")
def test_a_killed_process_loses_nothing_that_it_wrote(tmp_path):
    """After kill -9 at any moment, every line that `write` took is there, and at most one torn."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        written = [process.stdout.readline() for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        written += process.stdout.readlines()
    found = [each for path in files(tmp_path) for each in lines(path)]
    whole = [each for each in found if isinstance(each, Line)]
    assert len(whole) >= 10 * len(written)
    assert len(found) - len(whole) <= 1
    assert all(each.data.endswith(b'"}') for each in whole)


@pytest.mark.skipif(os.name != "posix", reason="processes are killed otherwise elsewhere")
def test_two_processes_share_a_folder(tmp_path, journal):
    """Processes that write at the same time never write into one file, nor delete open ones."""
    command = [sys.executable, "-c", WRITER, str(tmp_path), "1", "pause"]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe) for _ in range(2)]
    try:
        for process in processes:
            for _ in range(150):
                assert process.stdout.readline()
        tidier = journal(folder=tmp_path, max_total_size=1, gzip=True)
        tidier.write([b"{}"])
        tidier.close()
        left = files(tmp_path)
        for process in processes:
            process.stdin.write(b"\n")
            process.stdin.flush()
            for _ in range(100):
                assert process.stdout.readline()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert len(left) == 2  # the open ones
    assert set(left) <= set(files(tmp_path))
    for path in files(tmp_path):
        assert sum(isinstance(each, Bad) for each in lines(path)) <= 1
