"""Recordings are read as far as they are good, and everything else is told with file and line."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perimeter_plugin_recorders.recordings import Bad, Recording, index, load, read
from recorded_files import FILE, exchange, write


WHOLE = [FILE, *exchange(1), *exchange(2, at=1), *exchange(3, at=2)]
BYTES = "".join(json.dumps(line) + "\n" for line in WHOLE).encode()
SAME_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def both(path: Path) -> tuple[list[Recording], list[Bad]]:
    """Return what can be read, and what is told about the rest."""
    problems: list[Bad] = []
    return list(read(path, problems=problems.append)), problems


def test_exchanges_are_put_together(tmp_path: Path) -> None:
    """Lines of exchanges that overlapped become whole exchanges, in the order of their ends."""
    one, two = exchange(1), exchange(2, at=0.1)
    mixed = [one[0], two[0], one[1], two[1], two[2], two[3], one[2], one[3]]
    found, problems = both(write(tmp_path / "recording-1.jsonl", *mixed))
    assert [each.id for each in found] == ["ex-2", "ex-1"]
    assert all(each.complete for each in found)
    assert found[1].body == json.loads(json.dumps(one[2]["text"])).encode()
    assert found[1].place.endswith("recording-1.jsonl:2")
    assert not problems


@SAME_FILE
@given(cut=st.integers(0, len(BYTES)))
def test_a_cut_recording_keeps_what_is_before_the_cut(tmp_path: Path, cut: int) -> None:
    """Cut at any byte, every exchange whose end was written is there, and nothing raises."""
    path = tmp_path / "recording-1.jsonl"
    path.write_bytes(BYTES[:cut])
    found, problems = both(path)
    ends = BYTES[:cut].count(b'"type": "end"') - (not BYTES[:cut].endswith(b"\n"))
    assert sum(each.end is not None for each in found) >= max(0, ends)
    if not BYTES[:cut].endswith(b"\n") and cut:
        assert any("torn" in each.reason for each in problems)


@SAME_FILE
@given(cut=st.integers(1, len(gzip.compress(BYTES, mtime=0)) - 1))
def test_a_cut_compressed_recording_gives_what_there_is(tmp_path: Path, cut: int) -> None:
    """What can be unpacked is used, and the cut is told."""
    path = tmp_path / "recording-1.jsonl.gz"
    path.write_bytes(gzip.compress(BYTES, mtime=0)[:cut])
    found, problems = both(path)
    assert problems
    assert {each.id for each in found} <= {"ex-1", "ex-2", "ex-3"}


GARBAGE = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [
            b"null",
            b"[]",
            b"{}",
            b'{"type":"chunk"}',
            b'{"type":"request"}',
            b"[" * 2000,
            b'{"type":',
        ],
    ),
)


@SAME_FILE
@given(garbage=st.lists(GARBAGE, min_size=1, max_size=4), data=st.data())
def test_garbage_between_lines_spoils_nothing(
    tmp_path: Path, garbage: list[bytes], data: st.DataObject
) -> None:
    """Lines that are none are passed over, wherever they stand; the rest is whole."""
    lines = [json.dumps(line).encode() for line in WHOLE]
    for line in garbage:
        lines.insert(data.draw(st.integers(1, len(lines))), line)
    path = tmp_path / "recording-1.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    found, problems = both(path)
    assert sorted(each.id for each in found if each.complete) == ["ex-1", "ex-2", "ex-3"]
    assert all(each.path == path and each.number for each in problems)


def test_other_versions_are_refused_with_the_reason(tmp_path: Path) -> None:
    """A file of a later version is passed over, and the version is named."""
    path = write(tmp_path / "recording-1.jsonl", *exchange(1), head={**FILE, "version": 2})
    found, problems = both(path)
    assert not found
    assert [each.number for each in problems] == [1]
    assert "version 2" in problems[0].reason


def test_lines_and_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    """What is unknown within a version is no problem."""
    lines = exchange(1)
    lines.insert(2, {"type": "weather", "exchange": "ex-1", "sky": "blue"})
    lines[0]["humour"] = "good"
    found, problems = both(write(tmp_path / "recording-1.jsonl", *lines))
    assert found[0].complete
    assert not problems


def test_links_in_a_folder_are_left_out(tmp_path: Path) -> None:
    """A symbolic link could lead anywhere, so it is not followed, and that is told."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    write(folder / "recording-1.jsonl", *exchange(1))
    elsewhere = write(tmp_path / "recording-2.jsonl", *exchange(2))
    (folder / "recording-2.jsonl").symlink_to(elsewhere)
    found, problems = both(folder)
    assert [each.id for each in found] == ["ex-1"]
    assert [each.path.name for each in problems] == ["recording-2.jsonl"]


def test_an_exchange_may_go_on_in_the_next_file(tmp_path: Path) -> None:
    """Rotation can part an exchange: a folder has it whole, a file says what is missing."""
    lines = exchange(1)
    write(tmp_path / "recording-1.jsonl", *lines[:2])
    second = write(tmp_path / "recording-2.jsonl", *lines[2:])
    assert both(tmp_path)[0][0].complete
    found, problems = both(second)
    assert not found
    assert "whose request is not here" in problems[0].reason


def test_the_index_finds_exchanges_again(tmp_path: Path) -> None:
    """Entries have no bodies, and lead back to exactly the exchange, compressed or not."""
    one, two = exchange(1), exchange(2, at=0.1)
    path = tmp_path / "recording-1.jsonl.gz"
    lines = [FILE, one[0], two[0], one[1], two[1], two[2], two[3], one[2], one[3]]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    entries = index(path)
    assert [(each.id, each.status, each.model, each.session) for each in entries] == [
        ("ex-2", 200, "gpt-4o", "ses-a"),
        ("ex-1", 200, "gpt-4o", "ses-a"),
    ]
    assert load(entries[1]).body == one[2]["text"].encode()


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    """Reading ten times as much takes no more memory: only open exchanges are held."""

    def peak(count: int) -> int:
        path = tmp_path / f"recording-{count}.jsonl"
        filler = {"text": "x" * 20_000}
        with path.open("w", encoding="utf-8") as file:
            file.write(json.dumps(FILE) + "\n")
            for number in range(count):
                for line in exchange(number, at=number, chunk=filler):
                    file.write(json.dumps(line) + "\n")
        tracemalloc.start()
        assert sum(1 for _ in read(path)) == count
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(3)
    assert peak(300) < 2 * peak(30)


def line_of(kind: str, **more: Any) -> str:
    """Return a line as the re-implemented system writes it."""
    return json.dumps({"type": kind, "timestamp": "2025-06-01T10:00:00", **more}) + "\n"


ASKED = line_of(
    "request",
    method="POST",
    url="http://localhost:3000/v1/messages",
    path="/v1/messages",
    query="",
    headers={"x-api-key": "[REDACTED]", "content-length": "12"},
    body={"size": 12, "type": "json", "content": {"model": "claude-any", "messages": []}},
    session_id="s-1",
    provider="anthropic",
    is_streaming=False,
)
ANSWERED = line_of(
    "response",
    status_code=529,
    headers={"content-type": "application/json"},
    body={"size": 9, "type": "json", "content": {"type": "error"}},
    duration_ms=250.0,
)


def test_recordings_of_the_re_implemented_system_are_read(tmp_path: Path) -> None:
    """Requests and responses are paired by order; status, session and duration are kept."""
    failed = line_of("error", error_type="ReadTimeout", error_message="too slow", path="/v1")
    path = tmp_path / "recording_001.jsonl"
    path.write_text(ASKED + ANSWERED + ASKED + failed + ASKED, encoding="utf-8")
    found, problems = both(path)
    assert [each.outcome for each in found] == ["completed", "upstream_error", ""]
    assert [each.status for each in found] == [529, None, None]
    assert found[0].session == "s-1"
    assert found[0].duration == pytest.approx(0.25)
    assert found[0].request.dialect == "anthropic.messages"
    assert found[0].body == b'{"type":"error"}'
    assert all(each.legacy for each in found)
    assert not problems


def test_a_legacy_response_without_a_request_is_told(tmp_path: Path) -> None:
    """What can't be paired is passed over with file and line."""
    path = tmp_path / "recording_001.jsonl"
    path.write_text(ANSWERED + ASKED + ANSWERED, encoding="utf-8")
    found, problems = both(path)
    assert len(found) == 1
    assert [(each.path, each.number) for each in problems] == [(path, 1)]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A path that does not exist is no empty recording."""
    with pytest.raises(OSError, match="nothing"):
        list(read(tmp_path / "nothing"))
