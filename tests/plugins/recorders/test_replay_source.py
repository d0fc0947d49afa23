"""Recordings come in the order in which they began, and what can't be used is told."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

from perimeter_plugin_recorders.replay import Source
from recorded_files import BEGAN, exchange, write


def played(source: Source) -> list[str]:
    """Scan a source, and return the ids of what is played."""
    source.scan()
    return [recorded.id for recorded in source]


def test_ordered_by_beginning(tmp_path):
    """Lines of a file are ordered by their times of writing; exchanges are by their beginning."""
    long, short = exchange(1, end={"at": 90.0}), exchange(2, at=10.0)
    write(tmp_path / "recording-1.jsonl", *long[:1], *short, *long[1:])
    write(tmp_path / "recording-2.jsonl", *exchange(3, at=5.0))
    source = Source(tmp_path)

    assert played(source) == ["ex-1", "ex-3", "ex-2"]
    assert source.total == 3
    assert source.skips == 0


def test_compressed(tmp_path):
    """Compressed files are read too, also beside others."""
    plain = write(tmp_path / "x", *exchange(1))
    (tmp_path / "recording-1.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    write(tmp_path / "recording-2.jsonl", *exchange(2, at=5.0))

    assert played(Source(tmp_path)) == ["ex-1", "ex-2"]
    assert played(Source(tmp_path / "recording-1.jsonl.gz")) == ["ex-1"]


def test_an_exchange_over_two_files(tmp_path):
    """An exchange that was open when a new file was begun is one exchange."""
    lines = exchange(1)
    write(tmp_path / "recording-1.jsonl", *lines[:2])
    write(tmp_path / "recording-2.jsonl", *lines[2:])
    source = Source(tmp_path)
    source.scan()
    [recorded] = source

    assert len(recorded.chunks) == 1
    assert recorded.outcome == "completed"


def test_one_session(tmp_path):
    """`session` leaves all others out, and says how many."""
    path = write(
        tmp_path / "recording-1.jsonl",
        *exchange(1, session="ses-a"),
        *exchange(2, at=1.0, session="ses-b"),
        *exchange(3, at=2.0, session="ses-a"),
    )
    source = Source(path, session="ses-a")

    assert played(source) == ["ex-1", "ex-3"]
    assert source.passed_over == 1


def test_since(tmp_path):
    """`since` leaves out what began before."""
    path = write(tmp_path / "recording-1.jsonl", *exchange(1), *exchange(2, at=60.0))

    assert played(Source(path, since=BEGAN + 60.0)) == ["ex-2"]


def test_bad_lines_are_named(tmp_path):
    """Garbage, a torn end and impossible exchanges are told with file and line."""
    path = write(
        tmp_path / "recording-1.jsonl",
        *exchange(1),
        "not json\n",
        *exchange(2, at=1.0, end={"outcome": "eaten"}),
        *exchange(3, at=2.0),
        '{"type": "request", "exch',
    )
    source = Source(path)

    assert played(source) == ["ex-1", "ex-3"]
    assert source.skips == 3
    places = dict(source.skipped)
    assert f"{path}:6" in places
    assert "torn" in places[f"{path}:15"]
    assert places[f"{path}:7"] == "exchange ex-2 has the unknown outcome 'eaten'"


def test_a_copy_is_played_once(tmp_path):
    """An exchange that is there twice, as with a copied file, is played once."""
    write(tmp_path / "recording-1.jsonl", *exchange(1))
    write(tmp_path / "recording-2.jsonl", *exchange(1))
    source = Source(tmp_path)

    assert played(source) == ["ex-1"]
    assert "twice" in source.skipped[0][1]


def test_an_id_that_comes_again(tmp_path):
    """The same id at another time is another exchange."""
    write(tmp_path / "recording-1.jsonl", *exchange(1))
    write(tmp_path / "recording-2.jsonl", *exchange(1, at=60.0))

    assert played(Source(tmp_path)) == ["ex-1", "ex-1"]


def test_beside_recordings_of_the_predecessor(tmp_path):
    """A folder may have files of both formats; each exchange is read as what it is."""
    write(tmp_path / "recording-1.jsonl", *exchange(1))
    asked = {"type": "request", "timestamp": BEGAN + 9, "method": "POST", "path": "/v1/messages"}
    answered = {"type": "response", "timestamp": BEGAN + 10, "status_code": 200}
    old = tmp_path / "recording_2.jsonl"
    old.write_text("".join(json.dumps(each) + "\n" for each in (asked, answered)))
    write(tmp_path / "recording-3.jsonl", *exchange(3, at=20.0))
    source = Source(tmp_path)

    first, second, third = played(source)
    assert (first, third) == ("ex-1", "ex-3")
    assert second.startswith("legacy-")
    assert source.skips == 0


def test_links_are_left_out(tmp_path):
    """A symbolic link in a folder is not followed, and is named."""
    folder = tmp_path / "folder"
    folder.mkdir()
    elsewhere = write(tmp_path / "recording-0.jsonl", *exchange(1))
    (folder / "recording-1.jsonl").symlink_to(elsewhere)
    write(folder / "recording-2.jsonl", *exchange(2))
    source = Source(folder)

    assert played(source) == ["ex-2"]
    assert str(folder / "recording-1.jsonl") in source.skipped[0][0]


def test_what_is_gone_meanwhile(tmp_path):
    """A file that is deleted between the two passes costs its exchanges, and nothing else."""
    write(tmp_path / "recording-1.jsonl", *exchange(1))
    write(tmp_path / "recording-2.jsonl", *exchange(2, at=1.0))
    source = Source(tmp_path)
    source.scan()
    (tmp_path / "recording-1.jsonl").unlink()

    assert [recorded.id for recorded in source] == ["ex-2"]
    assert source.skips == 1


def test_cut_anywhere(tmp_path):
    """A recording that ends at any byte gives what is before, and never an exception."""
    whole = write(tmp_path / "whole", *exchange(1), *exchange(2, at=5.0)).read_bytes()
    path = tmp_path / "recording-1.jsonl"
    for size in random.Random(4).sample(range(len(whole)), 60):
        path.write_bytes(whole[:size])
        source = Source(path)
        assert played(source) in ([], ["ex-1"], ["ex-1", "ex-2"])
        complete = whole[:size].count(b"\n") >= 5
        assert source.broken_off + complete <= 2


def test_many_problems_are_counted(tmp_path):
    """Of thousands of broken lines the first are kept, and the rest is counted."""
    path = write(tmp_path / "recording-1.jsonl", *["rubbish\n"] * 5000, *exchange(1))
    source = Source(Path(path))

    assert played(source) == ["ex-1"]
    assert source.skips == 5000
    assert len(source.skipped) == 100
