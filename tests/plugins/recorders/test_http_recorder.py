"""The http recorder behind a real proxy: what is in its files."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from base64 import b64decode
from typing import Any

import attrs
import httpx
import pytest

from perimeter import Block, Respond, Rewrite, hookimpl
from perimeter.options import option
from perimeter.simulator import FAULT_HEADER, Simulator


KEY = "sk-" + "proj-" + "Ab1" * 16
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "What is 2 + 3?"}]}


def upstream(*pieces: bytes, headers: tuple[tuple[bytes, bytes], ...] = (), pause: float = 0.05):
    """Return a provider that answers with these pieces, one after the other."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(pause)  # so that pieces arrive as pieces
        await send({"type": "http.response.body", "body": b""})

    return app


def data_of(line: dict[str, Any]) -> bytes:
    """Return the bytes of a line."""
    return b64decode(line["base64"]) if "base64" in line else line.get("text", "").encode()


def kinds(lines: list[dict[str, Any]]) -> list[str]:
    """Return the types of lines."""
    return [line["type"] for line in lines]


@attrs.frozen
class NoOptions:
    """Nothing to configure."""

    note: str = option("", help="Unused.")


def test_an_exchange_is_recorded_line_by_line(record, records_of, content_of):
    """Request, head, chunks and end share an id, and say what happened on the wire."""
    with record(Simulator(), "http_recorder") as proxy:
        answer = httpx.post(
            f"{proxy.url}/agent-workflow/wf/v1/chat/completions?page=2",
            json=ASK,
            headers={"authorization": f"Bearer {KEY}"},
        )
    header = json.loads(content_of(proxy.folder)[0])
    assert (header["type"], header["format"], header["redacted"]) == (
        "file",
        "perimeter-recording",
        True,
    )
    lines = records_of(proxy.folder)
    request, head, *chunks, end = lines
    assert kinds(lines) == ["request", "head", *["chunk"] * len(chunks), "end"]
    assert {line["exchange"] for line in lines} == {answer.headers["x-perimeter-exchange-id"]}
    assert request["target"] == "/v1/chat/completions?page=2"
    assert (request["method"], request["upstream"]) == ("POST", "main")
    assert (request["upstream_type"], request["dialect"]) == ("openai", "openai.chat")
    assert request["workflow_id"] == "wf"
    assert json.loads(request["text"]) == ASK
    assert head["status"] == 200
    body = b"".join(map(data_of, chunks))
    assert body == answer.content
    digest = hashlib.sha256(body).hexdigest()
    assert end["received"] == end["delivered"] == end["stored"] == digest
    assert (end["outcome"], end["attempts"], end["size"]) == ("completed", 1, len(body))
    assert end["session"]["id"] == answer.headers["x-perimeter-session-id"]
    assert end["session"]["match"] == "new"
    assert 0 <= head["at"] <= chunks[0]["at"] <= end["at"]


def test_every_chunk_of_a_stream_has_its_time(record, records_of):
    """A stream's chunks are recorded as they came, with times that do not go back."""
    pieces = [b"data: %d\n\n" % number for number in range(5)]
    app = upstream(*pieces, headers=((b"content-type", b"text/event-stream"),))
    with record(app, "http_recorder") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    lines = records_of(proxy.folder)
    chunks = [line for line in lines if line["type"] == "chunk"]
    assert [data_of(chunk) for chunk in chunks] == pieces
    times = [chunk["at"] for chunk in chunks]
    assert times == sorted(times)
    assert len(set(times)) == 5
    assert lines[1]["framing"] == "sse"


def test_credentials_are_masked_everywhere(record, content_of, records_of):
    """No key is in a file: not from headers, queries, cookies, bodies, replies or errors."""
    app = upstream(
        b'{"echo": "' + KEY.encode() + b'"}',
        headers=((b"content-type", b"application/json"), (b"set-cookie", b"id=" + KEY.encode())),
    )
    with record(app, "http_recorder") as proxy:
        answer = httpx.post(
            f"{proxy.url}/v1/chat/completions?api_key={KEY}",
            json={**ASK, "note": f"my key is {KEY}, keep it"},
            headers={"authorization": f"Bearer {KEY}", "cookie": f"a={KEY}", "x-other": KEY},
        )
    assert KEY.encode() in answer.content
    assert KEY.encode() not in b"".join(content_of(proxy.folder))
    request, _, *chunks, end = records_of(proxy.folder)
    assert request["masked"] >= 4
    assert end["masked"] == 1
    assert len(b"".join(map(data_of, chunks))) == len(answer.content)
    assert json.loads(request["text"])["note"].endswith("*, keep it")
    assert end["delivered"] == hashlib.sha256(answer.content).hexdigest() != end["stored"]


def test_a_key_split_over_chunks_is_masked(record, records_of, content_of):
    """A secret whose halves come in two chunks is masked, and chunks keep their lengths."""
    key = KEY.encode()
    pieces = [b'data: "' + key[:12], key[12:30], key[30:] + b'"\n\n', b"data: done\n\n"]
    app = upstream(*pieces, headers=((b"content-type", b"text/event-stream"),))
    with record(app, "http_recorder") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    chunks = [line for line in records_of(proxy.folder) if line["type"] == "chunk"]
    assert [len(data_of(chunk)) for chunk in chunks] == [len(piece) for piece in pieces]
    assert len({chunk["at"] for chunk in chunks}) == 4
    assert key[12:30] not in b"".join(content_of(proxy.folder))
    assert data_of(chunks[3]) == b"data: done\n\n"


@pytest.mark.parametrize("cut", [10, 60])
def test_a_key_inside_a_compressed_body_is_masked(record, records_of, content_of, cut):
    """A gzip body is recorded decoded, because a key in it could not be masked otherwise."""
    body = b'{"echo": "%s", "filling": "%s"}' % (KEY.encode(), b"xyz" * 100)
    packed = gzip.compress(body)
    app = upstream(
        packed[:cut],
        packed[cut:],
        headers=((b"content-type", b"application/json"), (b"content-encoding", b"gzip")),
    )
    with record(app, "http_recorder") as proxy:
        answer = httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    assert answer.content == body
    _, head, *chunks, end = records_of(proxy.folder)
    assert head["decoded"] == "gzip"
    recorded = b"".join(map(data_of, chunks))
    assert len(recorded) == len(body)
    assert KEY.encode() not in recorded
    assert recorded.endswith(b'xyz"}')
    assert end["delivered"] == hashlib.sha256(packed).hexdigest()
    assert KEY.encode() not in b"".join(content_of(proxy.folder))


def test_without_redaction_the_wire_is_kept_exactly(record, records_of):
    """With redact = false, keys and compressed bytes are in the file as they were."""
    packed = gzip.compress(KEY.encode())
    app = upstream(packed, headers=((b"content-encoding", b"gzip"),))
    with record(app, "http_recorder", redact=False) as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK, headers={"x-api-key": KEY})
    request, head, chunk, end = records_of(proxy.folder)
    assert ["x-api-key", KEY] in request["headers"]
    assert "decoded" not in head
    assert b64decode(chunk["base64"]) == packed
    assert end["stored"] == end["delivered"]


def test_a_body_that_is_not_as_encoded_as_it_says_is_kept_raw(record, records_of):
    """What claims to be gzip and is not is recorded as it came, and as not decoded."""
    app = upstream(b"not gzip at all", headers=((b"content-encoding", b"gzip"),))
    with (
        record(app, "http_recorder") as proxy,
        httpx.stream("POST", f"{proxy.url}/v1/chat/completions", json=ASK) as answer,
    ):
        assert b"".join(answer.iter_raw()) == b"not gzip at all"
    _, head, chunk, end = records_of(proxy.folder)
    assert "decoded" not in head
    assert chunk["text"] == "not gzip at all"
    assert "truncated" not in end


def test_a_body_that_breaks_while_it_is_decoded_is_marked(record, records_of):
    """Where decoding fails in the middle, what comes after is left out, and that is said."""
    packed = gzip.compress(b" ".join(b"%d" % (number**5) for number in range(999)))
    app = upstream(packed[:1000], b"\xff" * 5000, headers=((b"content-encoding", b"gzip"),))
    with (
        record(app, "http_recorder") as proxy,
        httpx.stream("POST", f"{proxy.url}/v1/chat/completions", json=ASK) as answer,
    ):
        assert len(b"".join(answer.iter_raw())) == 6000
    _, head, *_, end = records_of(proxy.folder)
    assert (head["decoded"], end["truncated"]) == ("gzip", True)


def test_what_is_no_text_is_recorded_all_the_same(record, records_of):
    """Bytes that are no UTF-8 are in base64."""
    with record(upstream(b"\x00\xff\xfe"), "http_recorder") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", content=b"\xff\x00")
    request, _, chunk, _ = records_of(proxy.folder)
    assert (data_of(request), data_of(chunk)) == (b"\xff\x00", b"\x00\xff\xfe")
    assert "base64" in request
    assert "base64" in chunk


def test_a_response_above_the_limit_is_marked_as_truncated(record, records_of):
    """Beyond max_body_size nothing is recorded, the end says so, and the client gets it all."""
    with record(upstream(b"a" * 50, b"b" * 50, b"c" * 50), "http_recorder", max_body_size=70) as it:
        answer = httpx.post(f"{it.url}/v1/chat/completions", json=ASK)
    assert len(answer.content) == 150
    _, _, *chunks, end = records_of(it.folder)
    assert b"".join(map(data_of, chunks)) == b"a" * 50 + b"b" * 20
    assert (end["truncated"], end["size"]) == (True, 150)


def test_a_client_that_wants_no_record_gets_none(record, records_of, content_of):
    """x-perimeter-record: off keeps an exchange out, and only that one."""
    with record(Simulator(), "http_recorder") as proxy:
        url = f"{proxy.url}/v1/chat/completions"
        httpx.post(url, json={**ASK, "user": "private"}, headers={"x-perimeter-record": "off"})
        httpx.post(url, json=ASK)
    assert kinds(records_of(proxy.folder)).count("request") == 1
    assert b"private" not in b"".join(content_of(proxy.folder))


@attrs.define(eq=False)
class Guard:
    """Blocks, answers or rewrites, as the request's path asks for."""

    Config = NoOptions
    config: Any
    context: Any

    @hookimpl
    def guard_request(self, exchange: Any) -> Any:
        match exchange.request.query:
            case "block":
                return Block("no, " + KEY)
            case "respond":
                return Respond(b'{"made": "up"}')
            case "rewrite":
                return Rewrite(body=json.dumps({**ASK, "n": 1}).encode())
        return None


@pytest.mark.parametrize("query", ["block", "respond"])
def test_what_a_guard_answers_has_a_request_too(record, records_of, query):
    """Exchanges that never went upstream are recorded with request, head, body and verdict."""
    with record(Simulator(), "http_recorder", plugins={"guard": Guard}) as proxy:
        answer = httpx.post(f"{proxy.url}/v1/chat/completions?{query}", json=ASK)
    lines = records_of(proxy.folder)
    assert kinds(lines) == ["request", "head", "chunk", "end"]
    assert len(data_of(lines[2])) == len(answer.content)
    end = lines[3]
    assert end["outcome"] == {"block": "blocked", "respond": "responded"}[query]
    assert [(each["plugin"], each["kind"]) for each in end["verdicts"]] == [("guard", query)]
    assert KEY not in json.dumps(lines)
    assert end.get("attempts", 0) == 0


def test_what_a_plugin_made_of_a_request_is_recorded_beside_it(record, records_of):
    """A rewritten request is there as the client sent it and as it went upstream."""
    with record(Simulator(), "http_recorder", plugins={"guard": Guard}) as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions?rewrite", json=ASK)
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    lines = records_of(proxy.folder)
    assert kinds(lines).count("sent") == 1
    assert json.loads(lines[0]["text"]) == ASK
    assert lines[1]["type"] == "sent"
    assert json.loads(lines[1]["text"]) == {**ASK, "n": 1}


def test_a_refused_request_is_recorded(record, records_of):
    """A request that was rejected as it stood has its line, with the reason at its end."""
    with record(Simulator(), "http_recorder") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK, headers={"upgrade": "websocket"})
    lines = records_of(proxy.folder)
    assert kinds(lines)[0] == "request"
    assert lines[-1]["outcome"] == "rejected"
    assert lines[-1]["error"][0] == "RequestRejected"


def test_a_cut_response_is_recorded_as_far_as_it_came(record, records_of):
    """A stream that the provider breaks off ends as truncated, with the chunks until then."""
    with record(Simulator(), "http_recorder") as proxy, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(
            f"{proxy.url}/v1/chat/completions",
            json={**ASK, "stream": True},
            headers={FAULT_HEADER: "cut=3"},
        )
    lines = records_of(proxy.folder)
    assert lines[-1]["outcome"] == "truncated"
    assert "chunk" in kinds(lines)


def test_a_full_disk_does_not_touch_traffic(record, records_of, tmp_path, caplog):
    """Where nothing can be recorded, requests are answered, and metrics and one error say so."""
    (tmp_path / "recorded").write_text("not a folder")
    with record(Simulator(), "http_recorder") as proxy:
        for _ in range(3):
            assert httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK).status_code == 200
    assert proxy.metric("perimeter_http_recorder_recording") == 0
    assert proxy.metric("perimeter_http_recorder_records_lost_total") >= 12
    assert proxy.metric("perimeter_http_recorder_records_written_total") == 0
    assert len([each for each in caplog.records if "recording stopped" in each.message]) == 1


def test_what_is_written_is_counted(record, records_of):
    """The metric of written records is the number of lines, headers left out."""
    with record(Simulator(), "http_recorder", flush="every-record", fsync=True) as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    written = proxy.metric("perimeter_http_recorder_records_written_total")
    assert written == len(records_of(proxy.folder))
    assert proxy.metric("perimeter_http_recorder_recording") == 1


def test_chunks_that_find_no_room_are_counted_and_marked(record, records_of):
    """Where too much waits, a stream is recorded up to there, and its end says what is missing."""
    pieces = [b"data: %d\n\n" % number for number in range(6)]
    with record(upstream(*pieces), "http_recorder", flush_interval=60.0) as proxy:
        plugin = proxy.application.registry.plugins["http_recorder"].instance
        plugin._sink.most_held = len(json.dumps(ASK)) + 20
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    _, _, *chunks, end = records_of(proxy.folder)
    assert [data_of(chunk) for chunk in chunks] == pieces[: len(chunks)]
    assert end["lost"] == 6 - len(chunks) > 0
    assert proxy.metric("perimeter_http_recorder_records_lost_total") == end["lost"]


def test_a_request_that_finds_no_room_goes_without_its_body(record, records_of):
    """Where too much waits, a request is recorded without its body, and says so."""
    with record(Simulator(), "http_recorder") as proxy:
        proxy.application.registry.plugins["http_recorder"].instance._sink.most_held = 10
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    request = records_of(proxy.folder)[0]
    assert request["truncated"]
    assert data_of(request) == b""


def test_a_record_that_cannot_be_made_costs_no_other(record, records_of, monkeypatch, caplog):
    """A defect of the recorder is logged and counted, and every other line is written."""
    from perimeter_plugin_recorders.tape import Tape

    def fails(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Tape, "head_lines", fails)
    with record(Simulator(), "http_recorder") as proxy:
        assert httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK).status_code == 200
    assert kinds(records_of(proxy.folder)) == ["request", "end"]
    assert proxy.metric("perimeter_http_recorder_records_lost_total") == 1
    assert "broken" in caplog.text


def test_a_finished_recording_is_compressed_when_the_proxy_stops(record, records_of):
    """With gzip, the folder has nothing but compressed files after a clean end."""
    with record(Simulator(), "http_recorder", gzip=True, max_file_lines=2) as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    assert {path.suffix for path in proxy.folder.iterdir()} == {".gz"}
    assert kinds(records_of(proxy.folder))[-1] == "end"


def test_files_are_in_the_data_folder_unless_the_user_says_where(record, tmp_path):
    """Without a folder, files go into the plugin's own."""
    with record(Simulator(), "http_recorder", folder="") as proxy:
        httpx.post(f"{proxy.url}/v1/chat/completions", json=ASK)
    assert [path.suffix for path in (tmp_path / "data" / "http_recorder").iterdir()] == [".jsonl"]
