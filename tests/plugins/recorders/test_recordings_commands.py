"""`perimeter recordings`: what it shows, checks and exports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import vcr
from click.testing import CliRunner, Result

from perimeter_plugin_recorders.commands import recordings
from recorded_files import exchange, write


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the commands a data folder of their own; return the recorder's folder in it."""
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "160")
    folder = tmp_path / "data" / "http_recorder"
    folder.mkdir(parents=True)
    return folder


def invoke(*arguments: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(recordings, [str(each) for each in arguments])


def true(number: int = 1, **parts: Any) -> list[dict[str, Any]]:
    """Return an exchange whose digests are right."""
    lines = exchange(number, **parts)
    body = "".join(line["text"] for line in lines if line["type"] == "chunk").encode()
    digest = hashlib.sha256(body).hexdigest()
    given = parts.get("end", {})
    return [
        {**line, "received": digest, "delivered": digest, "stored": digest, **given}
        if line["type"] == "end"
        else line
        for line in lines
    ]


def test_the_recorders_own_folder_is_the_default(data: Path) -> None:
    """Without a path the commands look where http_recorder writes."""
    write(data / "recording-1.jsonl", *true())
    assert "ex-1" in invoke("list").output


def test_list_shows_a_line_for_each(data: Path) -> None:
    """Id, upstream, model, path, status and outcome; filters leave out the others."""
    failed = {"head": {"status": 500}}
    write(data / "recording-1.jsonl", *true(1), *true(2, at=5, session="ses-b", **failed))
    first, second = invoke("list").output.splitlines()[1:3]
    assert first.split()[0] == "ex-1"
    assert {"openai", "gpt-4o", "/v1/chat/completions", "200", "completed"} <= set(first.split())
    assert "500" in second.split()
    assert "ex-1" not in invoke("list", "--session", "ses-b").output
    assert "ex-1" not in invoke("list", "--failed").output
    told = [json.loads(line) for line in invoke("list", "--json").output.splitlines()]
    assert [each["id"] for each in told] == ["ex-1", "ex-2"]


def test_show_makes_an_exchange_readable(data: Path) -> None:
    """What was asked and answered, in words; when; and how true it is."""
    write(data / "recording-1.jsonl", *true(1), *true(2, at=5))
    shown = invoke("show", "ex-1").output
    for words in ("question 1", "answer 1", "POST /v1/chat/completions", "ses-a", "identical"):
        assert words in shown
    assert "question 2" not in shown
    assert invoke("show", "ex-").exit_code == 2  # there are two
    assert invoke("show", "ex-9").exit_code == 2


def test_show_puts_a_stream_together(data: Path) -> None:
    """The text of a stream is shown whole."""
    pieces = [
        'data: {"choices":[{"delta":{"content":"Good "}}]}\n\n',
        'data: {"choices":[{"delta":{"content":"morning"}}]}\n\ndata: [DONE]\n\n',
    ]
    head = {"headers": [["content-type", "text/event-stream"]], "framing": "sse"}
    request, begun, chunk, end = exchange(1, head=head)
    chunks = [{**chunk, "text": text, "at": 0.5 + n / 10} for n, text in enumerate(pieces)]
    write(data / "recording-1.jsonl", request, begun, *chunks, end)
    assert "Good morning" in invoke("show", "ex-1").output


def test_verify_finds_everything_in_order(data: Path) -> None:
    """Whole files whose digests are right give no problem."""
    write(data / "recording-1.jsonl", *true(1), *true(2))
    result = invoke("verify")
    assert result.exit_code == 0
    assert "delivered identical: 2" in result.output


CHANGED = {
    "verdicts": [{"plugin": "censor", "kind": "rewrite", "reason": ""}],
    "received": "f" * 64,
}


def test_a_request_that_was_recorded_decoded_is_no_damage(data: Path, tmp_path: Path) -> None:
    """A compressed request is kept plain, so its head's length and encoding are not its body's."""
    lines = true(1)
    lines[0]["decoded"] = "gzip"
    lines[0]["headers"] = [["content-encoding", "gzip"], ["content-length", "12"]]
    write(data / "recording-1.jsonl", *lines)
    result = invoke("verify")
    assert result.exit_code == 0, result.output
    assert "question 1" in invoke("show", "ex-1").output
    target = tmp_path / "out.yaml"
    invoke("export", "--cassette", target)
    assert "gzip" not in target.read_text(encoding="utf-8")


def test_verify_names_the_plugin_that_changed_a_response(data: Path) -> None:
    """Where received and delivered differ, it is said who did it; that is no damage."""
    write(data / "recording-1.jsonl", *true(1, end=CHANGED))
    result = invoke("verify")
    assert result.exit_code == 0
    assert "changed by censor" in result.output
    assert "changed by censor" in invoke("show", "ex-1").output


DAMAGE = {
    "a changed letter": lambda lines: lines[2].update(text=lines[2]["text"].upper()),
    "a lost line": lambda lines: lines.pop(2),
    "no end": lambda lines: lines.pop(),
    "a wrong order": lambda lines: lines[2].update(at=0.1),
    "a changed request": lambda lines: lines[0].update(text="{}"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_verify_finds_damage(data: Path, kind: str) -> None:
    """Each kind of damage is told with file and line, and the exit code is 1."""
    lines = true(1)
    DAMAGE[kind](lines)
    write(data / "recording-1.jsonl", *lines)
    result = invoke("verify")
    assert result.exit_code == 1, result.output
    assert "recording-1.jsonl:" in result.output
    assert "ex-1" in result.output


def test_verify_tells_of_torn_and_foreign_lines(data: Path) -> None:
    """What is no line is told with its number, and the rest is checked."""
    write(data / "recording-1.jsonl", *true(1), "garbage\n", '{"type":"requ')
    result = invoke("verify")
    assert result.exit_code == 1
    assert "recording-1.jsonl:6" in result.output
    assert "recording-1.jsonl:7" in result.output
    assert "1 exchange" in result.output


def test_stats_count(data: Path) -> None:
    """Exchanges by upstream, model, status and outcome."""
    failed = {"head": {"status": 429}}
    write(data / "recording-1.jsonl", *true(1), *true(2, **failed), *true(3, session="ses-b"))
    shown = invoke("stats").output
    assert "3 exchanges of 2 sessions" in shown
    for words in (["200", "2"], ["429", "1"], ["gpt-4o", "3"], ["completed", "3"]):
        assert words in [line.split() for line in shown.splitlines()]


def test_har_has_what_the_format_asks_for(data: Path, tmp_path: Path) -> None:
    """An archive with every field that HAR 1.2 requires, and the times of chunks beside them."""
    write(data / "recording-1.jsonl", *true(1))
    target = tmp_path / "out.har"
    assert invoke("export", "--har", target).exit_code == 0
    log = json.loads(target.read_text(encoding="utf-8"))["log"]
    assert log["version"] == "1.2"
    assert {"name", "version"} <= log["creator"].keys()
    [entry] = log["entries"]
    assert {"startedDateTime", "time", "request", "response", "cache", "timings"} <= entry.keys()
    assert entry["request"].keys() >= {
        "method",
        "url",
        "httpVersion",
        "cookies",
        "headers",
        "queryString",
        "headersSize",
        "bodySize",
        "postData",
    }
    assert entry["response"].keys() >= {
        "status",
        "statusText",
        "httpVersion",
        "cookies",
        "headers",
        "content",
        "redirectURL",
        "headersSize",
        "bodySize",
    }
    assert {"send", "wait", "receive"} <= entry["timings"].keys()
    assert "answer 1" in entry["response"]["content"]["text"]
    assert entry["time"] == pytest.approx(1000.0)
    assert target.stat().st_mode & 0o777 == 0o600


def test_vcr_plays_the_cassette(data: Path, tmp_path: Path) -> None:
    """The real vcrpy answers a real client from the exported cassette, without a network."""
    write(data / "recording-1.jsonl", *true(1))
    target = tmp_path / "out.yaml"
    made = invoke("export", "--cassette", target, "--base-url", "http://api.test")
    assert made.exit_code == 0, made.output
    body = json.loads(true(1)[0]["text"])
    player = vcr.VCR(record_mode="none", match_on=["method", "scheme", "host", "path"])
    with player.use_cassette(str(target)) as played, httpx.Client(trust_env=False) as client:
        answer = client.post("http://api.test/v1/chat/completions", json=body)
    assert played.play_count == 1
    assert answer.json()["choices"][0]["message"]["content"] == "answer 1"


def test_exports_replace_nothing_unasked(data: Path, tmp_path: Path) -> None:
    """A file that is there is only replaced with --force."""
    write(data / "recording-1.jsonl", *true(1))
    target = tmp_path / "out.har"
    target.write_text("mine")
    assert invoke("export", "--har", target).exit_code == 2
    assert target.read_text() == "mine"
    assert invoke("export", "--har", target, "--force").exit_code == 0
    assert target.read_text() != "mine"


@pytest.mark.parametrize("command", ["list", "verify", "stats"])
def test_a_path_that_is_not_there_is_told(command: str, tmp_path: Path) -> None:
    """One line says what is missing; the exit code is 2."""
    result = invoke(command, tmp_path / "nothing")
    assert result.exit_code == 2
    assert "nothing" in result.output
    assert "Traceback" not in result.output
