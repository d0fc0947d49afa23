"""What a recording says becomes what is played, or a reason why not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perimeter import Block, Outcome, Respond, Rewrite, Stop
from perimeter.playback import Head, Recorded, RecordedSession
from perimeter_plugin_recorders.recordings import read
from perimeter_plugin_recorders.replay import Unplayable, recorded_of
from recorded_files import BEGAN, exchange, write


@pytest.fixture
def convert(tmp_path):
    """Return a function that makes what is played of an exchange's lines."""

    def made(*lines: Any) -> Recorded:
        path = write(tmp_path / "recording-1.jsonl", *lines)
        [recording] = read(path)
        return recorded_of(recording)

    return made


def test_a_whole_exchange(convert):
    """Every field has its place."""
    made = convert(*exchange(request={"workflow_id": "night"}))

    assert (made.id, made.started_at, made.ended) == ("ex-1", BEGAN, 1.0)
    assert (made.method, made.target) == ("POST", "/v1/chat/completions")
    assert made.headers[0] == (b"content-type", b"application/json")
    assert json.loads(made.body)["messages"][0]["content"] == "question 1"
    assert (made.upstream, made.upstream_type) == ("openai", "openai")
    assert (made.workflow_id, made.client) == ("night", "192.0.2.7")
    assert (made.sent, made.attempts, made.own) == (0.001, 1, False)
    assert (made.head.at, made.head.status) == (0.5, 200)
    assert [at for at, _ in made.chunks] == [0.75]
    assert made.outcome is Outcome.COMPLETED
    assert made.session == RecordedSession("ses-a", "agent-7", "new")


def test_no_end(convert):
    """What the recorder could not finish has no outcome, and ends with its last line."""
    made = convert(*exchange()[:3])

    assert made.outcome is None
    assert made.ended == 0.75
    assert made.session is None


def test_only_a_request(convert):
    """A request alone is there too."""
    made = convert(exchange()[0])

    assert (made.head, made.ended, made.sent) == (None, 0.0, 0.0)


def test_a_decoded_body(convert):
    """Fields that are not true of a body that was recorded decoded are left out."""
    fields = [["content-encoding", "gzip"], ["content-length", "17"], ["x", "y"]]
    lines = exchange(
        request={"decoded": "gzip", "headers": fields}, head={"decoded": "gzip", "headers": fields}
    )
    made = convert(*lines)

    assert made.head.headers == ((b"x", b"y"),)
    assert made.headers == ((b"x", b"y"),)


@pytest.mark.parametrize("length", ["3", "100000", "nonsense"])
def test_a_length_that_can_not_be(convert, length):
    """A length that the recorded body belies would cut it off, so it is left out."""
    made = convert(*exchange(head={"headers": [["content-length", length]]}))

    assert made.head.headers == ()


@pytest.mark.parametrize(
    ("end", "own", "sent"),
    [
        ({"outcome": "rejected", "sent": None, "attempts": 0}, True, None),
        ({"outcome": "responded", "sent": None, "attempts": 0}, True, None),
        ({"outcome": "blocked", "sent": None, "attempts": 0}, True, None),
        ({"outcome": "blocked"}, False, 0.001),
        ({"outcome": "upstream_error", "received": ""}, True, 0.001),
        ({"outcome": "upstream_error"}, False, 0.001),
        ({"outcome": "proxy_error", "received": "", "sent": None}, True, None),
        ({"outcome": "truncated", "received": ""}, False, 0.001),
        ({"outcome": "client_disconnected", "received": ""}, False, 0.001),
        ({"outcome": "completed", "sent": None}, False, 0.0),
    ],
)
def test_who_answered(convert, end, own, sent):
    """The proxy's own answers are told from the upstream's, and what was never sent is known."""
    made = convert(*exchange(end=end))

    assert (made.own, made.sent) == (own, sent)


def test_verdicts(convert):
    """Each kind of verdict is one again."""
    kinds = ["block", "respond", "rewrite", "stop"]
    parts = [{"plugin": "p", "kind": kind, "reason": "because"} for kind in kinds]
    made = convert(*exchange(head={"status": 451, "headers": []}, end={"verdicts": parts}))

    verdicts = [verdict for _, verdict in made.verdicts]
    assert verdicts[0] == Block("because", 451)
    assert isinstance(verdicts[1], Respond)
    assert verdicts[1].body == made.chunks[0][1]
    assert verdicts[2] == Rewrite()
    assert isinstance(verdicts[3], Stop)
    assert verdicts[3].reason == "because"


def test_a_rewritten_request(convert):
    """What went upstream instead is kept beside what the client had sent."""
    sent = {"type": "sent", "exchange": "ex-1", "target": "/x", "headers": [["a", "b"]]}
    first, *rest = exchange()
    made = convert(first, {**sent, "text": "z"}, *rest)

    assert made.rewritten.target == "/x"
    assert made.rewritten.headers == ((b"a", b"b"),)
    assert made.rewritten.body == b"z"


def test_what_is_missing(convert):
    """Bodies that are not there whole are marked."""
    made = convert(*exchange(request={"truncated": True}, end={"lost": 2}))

    assert made.truncated
    assert made.partial


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"end": {"outcome": "eaten"}}, "unknown outcome 'eaten'"),
        ({"end": {"verdicts": [{"plugin": "p", "kind": "shrug"}]}}, "unknown verdict 'shrug'"),
        ({"request": {"at": -5.0}}, "is no time"),
        ({"request": {"at": 1e300}}, "is no time"),
        ({"chunk": {"at": -1.0}}, "times that can't be"),
        ({"end": {"at": 1e12}}, "times that can't be"),
        ({"request": {"headers": [["x", "\u2603"]]}}, "can't be read"),
    ],
)
def test_what_can_not_be_played(convert, parts, reason):
    """A recording that contradicts itself is refused with a reason."""
    with pytest.raises(Unplayable, match=reason):
        convert(*exchange(**parts))


def test_the_format_of_the_predecessor(tmp_path):
    """A pair of lines of the re-implemented system is an exchange as well."""
    request = {
        "type": "request",
        "timestamp": "2026-01-01T00:00:00+00:00",
        "method": "POST",
        "path": "/v1/messages",
        "headers": {"Content-Type": "application/json", "Content-Length": "9999"},
        "body": {"type": "json", "content": {"model": "claude", "messages": []}},
        "session_id": "old-session",
        "provider": "anthropic",
    }
    response = {
        "type": "response",
        "timestamp": "2026-01-01T00:00:02+00:00",
        "status_code": 429,
        "headers": {"content-type": "application/json"},
        "body": {"type": "json", "content": {"error": {}}},
        "duration_ms": 1500.0,
    }
    path = tmp_path / "recording_1.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in (request, response)))
    [recording] = read(path)
    made = recorded_of(recording)

    assert made.head == Head(1.5, 429, ((b"content-type", b"application/json"),))
    assert made.outcome is Outcome.COMPLETED
    assert made.upstream_type == "anthropic"
    assert made.session.id == "old-session"
    assert b"content-length" not in dict(made.headers)
