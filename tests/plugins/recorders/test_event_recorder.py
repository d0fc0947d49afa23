"""The event recorder behind a real proxy, and the documents that it makes of sessions."""

from __future__ import annotations

import gzip
import json
import os
import stat

import httpx
import pytest

from perimeter.simulator import Simulator
from perimeter_plugin_recorders.documents import LEFT_SECONDS, Documents, Part, file_name


ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is 2 + 3?"}]}


def documents(folder):
    """Return the documents of a folder, by name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def line(number, session):
    """Return an event as JSON."""
    return json.dumps({"name": f"event {number}", "session_id": session}).encode()


@pytest.fixture
def kept(journal, tmp_path):
    """Return a function that makes writers of documents, for one folder."""
    return lambda **options: Documents(journal("events", **options))


def test_events_are_lines_as_they_come(record, records_of):
    """Each event of a session is a line with its id, in order, to the session's end."""
    with record(Simulator(), "event_recorder") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    events = records_of(proxy.folder)
    assert [event["name"] for event in events] == [
        "session.start",
        "llm.call.start",
        "llm.call.finish",
        "session.end",
    ]
    assert len({event["session_id"] for event in events}) == 1
    assert events[1]["attributes"]["llm.request.messages"][0]["role"] == "user"


def test_each_session_becomes_a_document(record):
    """With format = "json" there is one readable document for each session, and nothing else."""
    with record(Simulator(), "event_recorder", format="json") as proxy:
        for name in ("one", "two"):
            httpx.post(
                f"{proxy.url}/v1/chat/completions",
                json=ASK,
                headers={"x-cylestio-session-id": name},
            )
    made = documents(proxy.folder)
    assert [each["session_id"] for each in made.values()] == ["one", "two"]
    for each in made.values():
        assert [event["name"] for event in each["events"]][-1] == "session.end"
        assert each["complete"]
    assert len(list(proxy.folder.iterdir())) == 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in proxy.folder.iterdir()} == {0o600}


def test_ids_never_share_a_file():
    """Names are safe and short, and differ for ids that look alike without odd characters."""
    ids = ["a/b", "a_b", "a:b", "../../etc/passwd", "A_B", "x" * 5000, "x" * 5001, "", "\ud800"]
    names = [file_name(each) for each in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(len(name) < 100 and "/" not in name and "." not in name for name in names)


def test_events_are_on_disk_before_the_session_ends(kept, journal, tmp_path):
    """Events of a running session survive a kill -9: they are in a file that is added to."""
    first = kept()
    first.tick()
    assert first.write([Part(line(1, "s"), "s", last=False)]) == 1
    with (tmp_path / "files" / (file_name("s") + ".jsonl")).open("ab") as torn:
        torn.write(b'{"half": ')
    second = kept()
    second.tick()
    assert second.write([Part(line(2, "s"), "s", last=True)]) == 1
    [document] = documents(tmp_path / "files").values()
    assert [event["name"] for event in document["events"]] == ["event 1", "event 2"]


def test_a_session_that_goes_on_after_its_end_gets_a_second_document(kept, tmp_path):
    """Nothing that was written is written over."""
    made = kept()
    made.tick()
    for number in range(3):
        made.write([Part(line(number, "s"), "s", last=True)])
    found = documents(tmp_path / "files")
    assert [each["events"][0]["name"] for each in found.values()] == [
        "event 1",
        "event 2",
        "event 0",
    ]
    assert [name.split(".")[1] for name in found] == ["2", "3", "json"]


def test_what_was_left_behind_becomes_a_document(kept, clock, tmp_path):
    """Sessions of a killed process are written a day later, as not complete."""
    first = kept()
    first.tick()
    first.write([Part(line(1, "s"), "s", last=False)])
    [spool] = (tmp_path / "files").iterdir()
    os.utime(spool, (clock.now - LEFT_SECONDS - 1,) * 2)
    kept().tick()
    [document] = documents(tmp_path / "files").values()
    assert (document["session_id"], document["complete"]) == ("s", False)


def test_documents_can_be_compressed_and_go_when_they_are_too_old(kept, clock, tmp_path):
    """gzip and retention hold for documents as for other files."""
    made = kept(gzip=True, max_age=10.0)
    made.tick()
    made.write([Part(line(1, "s"), "s", last=True)])
    [path] = (tmp_path / "files").iterdir()
    assert json.loads(gzip.decompress(path.read_bytes()))["session_id"] == "s"
    os.utime(path, (clock.now - 11,) * 2)
    clock.now += 3600
    os.utime(path, (clock.now - 11,) * 2)
    made.tick()
    assert not path.exists()


def test_a_full_disk_loses_events_and_counts_them(kept, tmp_path):
    """A disk that is full leaves whole lines, counts the others, and comes back by itself."""
    import errno

    room = [20]

    def write(descriptor, data):
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = os.write(descriptor, data[: room[0]])
        room[0] -= done
        return done

    made = kept(os_write=write)
    made.tick()
    assert made.write([Part(line(1, "s"), "s", last=False)] * 1) == 0
    assert (made.trouble.state, made.trouble.lost) == ("stopped", 1)
    room[0] = 10_000
    made.journal.clock.now += 5
    assert made.write([Part(line(2, "s"), "s", last=True)]) == 1
    [document] = documents(tmp_path / "files").values()
    assert [event["name"] for event in document["events"]] == ["event 2"]


def test_events_of_no_session_are_lines(kept, content_of, tmp_path):
    """What plugins emit outside of sessions goes into the journal beside the documents."""
    made = kept()
    made.tick()
    made.write([Part(line(1, None), None, last=False)])
    assert content_of(tmp_path / "files") == [line(1, None)]
