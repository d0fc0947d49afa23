"""Journals read back: torn, cut, garbled, and much too long."""

from __future__ import annotations

import gzip
import os

import pytest

from perimeter_plugin_recorders.journal import TORN, Bad, Line, files, lines, reading


def test_a_torn_last_line_is_said(tmp_path):
    """A line without its end is no line, and everything before it is."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    assert list(lines(path)) == [Line(path, 1, b"one"), Line(path, 2, b"two"), Bad(path, 3, TORN)]


@pytest.mark.parametrize("cut", [1, 8, 12, 300, 2000])
def test_a_cut_compressed_file_gives_what_there_is(tmp_path, cut):
    """Of a compressed file that was cut, whole lines come first and then the reason."""
    path = tmp_path / "a.jsonl.gz"
    data = b"".join(b"%d %s\n" % (number, os.urandom(8).hex().encode()) for number in range(999))
    path.write_bytes(gzip.compress(data)[:-cut])
    *good, last = lines(path)
    assert isinstance(last, Bad)
    assert "cut" in last.reason
    assert [each.data for each in good] == data.splitlines()[: len(good)]


def test_what_only_claims_to_be_compressed_is_said(tmp_path):
    """A file that is no gzip at all is one problem, no exception."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"plain text\n" * 100)
    [bad] = lines(path)
    assert isinstance(bad, Bad)


def test_an_endless_line_is_passed_over(tmp_path, monkeypatch):
    """A line that is too long is left out without being held, and the next one is read."""
    monkeypatch.setattr(reading, "LONGEST_LINE", 100)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n" + b"x" * 1000 + b"\ntwo\n" + b"y" * 100 + b"\n")
    kinds = [each.data if isinstance(each, Line) else each.number for each in lines(path)]
    assert kinds == [b"one", 2, b"two", 4]


def test_a_file_that_was_compressed_since_it_was_listed_is_read(tmp_path):
    """Whoever reads while a recorder tidies up finds the file under its new name."""
    path = tmp_path / "a.jsonl"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"one\n"))
    assert list(lines(path)) == [Line(path, 1, b"one")]


def test_a_file_that_is_there_twice_is_read_once(tmp_path):
    """An interrupted compression leaves a file in both forms."""
    (tmp_path / "a.jsonl").write_bytes(b"one\n")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"one\n"))
    assert files(tmp_path) == [tmp_path / "a.jsonl"]


def test_what_is_no_plain_file_is_left_out(tmp_path):
    """Pipes, folders and links in a folder are said and not opened; other files are ignored."""
    os.mkfifo(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").mkdir()
    (tmp_path / "c.jsonl").symlink_to("/etc/hostname")
    (tmp_path / ".d.jsonl.gz.tmp").write_bytes(b"")
    (tmp_path / "e.txt").write_bytes(b"")
    problems: list[Bad] = []
    assert files(tmp_path, problems=problems.append) == []
    assert sorted(problem.path.name for problem in problems) == ["a.jsonl", "b.jsonl", "c.jsonl"]


def test_a_missing_file_is_a_problem_of_its_own(tmp_path):
    """A path that leads nowhere raises where it is listed, and is said where it is read."""
    with pytest.raises(FileNotFoundError):
        files(tmp_path / "none.jsonl")
    [bad] = lines(tmp_path / "none.jsonl")
    assert str(bad).endswith("none.jsonl: can't be read: No such file or directory")
