"""What becomes of finished files: compressed, kept, deleted."""

from __future__ import annotations

import gzip
import os
import stat

import pytest

from perimeter_plugin_recorders.journal import files
from perimeter_plugin_recorders.journal.names import Names
from perimeter_plugin_recorders.journal.tidying import tidy


def test_finished_files_are_compressed(journal, content_of, tmp_path):
    """Closed files end as .gz with the same lines, private, and their own time."""
    made = journal(gzip=True, max_file_lines=2)
    made.write([b"one", b"two", b"three"])
    made.close()
    found = files(tmp_path / "files")
    assert [path.name[-9:] for path in found] == [".jsonl.gz"] * 2
    assert content_of(tmp_path / "files") == [b"one", b"two", b"three"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_the_open_file_is_left_alone(journal, clock, tmp_path):
    """Neither compression nor any limit touches a file that is being written."""
    made = journal(gzip=True, max_total_size=1, max_age=1.0)
    made.write([b"one"])
    tidy(made.options, clock.now + 1e9)
    [file] = files(tmp_path / "files")
    assert file.read_bytes() == b"one\n"
    made.close()
    assert files(tmp_path / "files") == []


def test_what_a_killed_process_left_is_finished(journal, content_of, tmp_path):
    """Half a compressed file goes, and the whole one it was made of is compressed after all."""
    folder = tmp_path / "files"
    folder.mkdir()
    left = folder / "recording-20260101T000000-9-001.jsonl"
    left.write_bytes(b"left\n")
    (folder / f".{left.name}.gz.tmp").write_bytes(gzip.compress(b"left\n")[:9])
    orphan = folder / ".recording-20250101T000000-9-001.jsonl.gz.tmp"
    orphan.write_bytes(b"x")
    other = folder / ".recording-notes.tmp"
    other.write_bytes(b"somebody's")
    made = journal(gzip=True)
    made.write([b"new"])
    made.close()
    assert content_of(folder) == [b"left", b"new"]
    assert sorted(path.name for path in folder.iterdir() if path.suffix != ".gz") == [other.name]


def test_a_compression_interrupted_at_its_end_is_done_again(journal, content_of, tmp_path):
    """A file that is there in both forms is compressed again, so that nothing is there twice."""
    folder = tmp_path / "files"
    folder.mkdir()
    left = folder / "recording-20260101T000000-9-001.jsonl"
    left.write_bytes(b"left\n")
    (folder / f"{left.name}.gz").write_bytes(gzip.compress(b"left\n"))
    made = journal(gzip=True)
    made.tick()
    made.close()
    assert [path.name for path in folder.iterdir()] == [f"{left.name}.gz"]
    assert content_of(folder) == [b"left"]


@pytest.mark.parametrize("packed", [False, True])
def test_the_oldest_files_go_when_there_is_too_much(journal, clock, content_of, tmp_path, packed):
    """Above the total size the files go that were written first, compressed or not."""
    made = journal(max_file_lines=1, max_total_size=150, gzip=packed)
    for number in range(9):
        made.write([b"%d%s" % (number, b"x" * 49)])
        made._close_file()
        for path in files(tmp_path / "files")[-1:]:
            os.utime(path, (clock.now + number, clock.now + number))
    made.close()
    kept = [line[:1] for line in content_of(tmp_path / "files")]
    total = sum(path.stat().st_size for path in files(tmp_path / "files"))
    assert total <= 150
    assert kept == [b"%d" % number for number in range(9 - len(kept), 9)]
    assert kept


def test_old_files_go(journal, clock, content_of, tmp_path):
    """Files to which nothing was added for longer than the limit are deleted, others are not."""
    made = journal(max_file_lines=1, max_age=100.0)
    made.write([b"one", b"two"])
    made._close_file()
    old, new = files(tmp_path / "files")
    os.utime(old, (clock.now - 101, clock.now - 101))
    os.utime(new, (clock.now - 99, clock.now - 99))
    made.close()
    assert content_of(tmp_path / "files") == [b"two"]


def test_other_files_in_the_folder_are_never_touched(journal, clock, tmp_path):
    """Retention and compression are for a journal's own files only, never for links."""
    folder = tmp_path / "files"
    folder.mkdir()
    names = ["recordings.jsonl", "messages-20260101T000000-9-001.jsonl", "notes.txt"]
    for name in names:
        (folder / name).write_bytes(b"keep\n")
        os.utime(folder / name, (0, 0))
    link = folder / "recording-20260101T000000-9-001.jsonl"
    link.symlink_to(folder / "notes.txt")
    made = journal(gzip=True, max_age=1.0, max_total_size=1)
    made.write([b"one"])
    made.close()
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, link.name])


def test_a_folder_that_cannot_be_tidied_up_is_said_once(journal, caplog, tmp_path):
    """Trouble while tidying up is one warning, and recording goes on."""
    folder = tmp_path / "files"
    made = journal(gzip=True, max_file_lines=1)
    made.write([b"one", b"two"])
    # A folder where the compressed file would be written.
    [first, _] = files(folder)
    (folder / f".{first.name}.gz.tmp" / "x").mkdir(parents=True)
    made._tidy_now()
    made._tidy_now()
    assert [record.message for record in caplog.records if "tidy" in record.message][1:] == []
    assert made.write([b"three"]) == 1


def test_names_of_another_kind_are_not_ours():
    """Only names that a journal of the same prefix gives are its own."""
    own = Names("recording", "7").own
    assert own.fullmatch(Names("recording", "8").name(0.0, 1234))
    assert not own.fullmatch(Names("recordings", "8").name(0.0, 1))
    assert not own.fullmatch("recording-20260131T120000-7-001.jsonl.gz.tmp")
