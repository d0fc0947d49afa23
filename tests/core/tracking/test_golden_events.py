"""The events of whole conversations, against the files in tests/data/events."""

from __future__ import annotations

import json
import re
import socket
import socketserver
import threading
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from difflib import unified_diff
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest

from faults import NoConfig
from perimeter import application, hookimpl
from perimeter.dialects import UPSTREAM_TYPES
from perimeter.events import to_json
from perimeter.settings import ServerSettings, Settings, UpstreamSettings
from perimeter.testing import serve


FOLDER = Path(__file__).parents[2] / "data" / "events"
GOLDEN = sorted(FOLDER.glob("*.toml"))

PATIENCE = 5.0
"""Seconds that a call's events may take; when they are over, what is missing shows in the diff."""

PIECE = 61
"""Bytes of a stream that are written at once: events are cut anywhere."""


@attrs.define(eq=False)
class Collector:
    """A plugin that writes down every event, in the form that is compared."""

    Config = NoConfig
    config: object
    context: object
    events: list[dict[str, Any]] = attrs.field(factory=list)
    arrived: threading.Condition = attrs.field(factory=threading.Condition)

    @hookimpl
    def on_session_event(self, session: Any, event: Any) -> None:
        document = to_json(event)
        document["session of the hook"] = session.id if session else None
        with self.arrived:
            self.events.append(document)
            self.arrived.notify_all()

    def wait_for(self, count: int) -> None:
        """Block until so many events have come, or patience is at its end."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.events) >= count, PATIENCE)


class Upstream(socketserver.ThreadingTCPServer):
    """A provider that answers each request with the next of the answers it was given."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.calls = iter(calls)
        self.left = threading.Semaphore(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(socketserver.StreamRequestHandler):
    """One request, one answer, then the connection is closed."""

    server: Upstream

    def handle(self) -> None:
        """Read the request and write the answer that is next."""
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b"".join(iter(self.rfile.readline, b"\r\n")).lower()
        if not head:
            return
        self._read_body(head)
        call = next(self.server.calls)
        kind = call.get("content_type", "application/json")
        status = f"HTTP/1.1 {call.get('status', 200)} Golden\r\n"
        fields = f"content-type: {kind}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        self.wfile.write((status + fields).encode())
        whole = not (call.get("cut") or call.get("leaves"))
        self._write_body(call["response"].encode(), whole=whole)
        if call.get("leaves") and not self.rfile.read(1):  # more would come, if anybody listened
            self.server.left.release()

    def _read_body(self, head: bytes) -> None:
        if length := re.search(rb"^content-length: *(\d+)", head, re.MULTILINE):
            self.rfile.read(int(length[1]))
            return
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + 2)
        self.rfile.readline()

    def _write_body(self, body: bytes, *, whole: bool) -> None:
        for start in range(0, len(body), PIECE):
            piece = body[start : start + PIECE]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            self.wfile.write(b"0\r\n\r\n")


@contextmanager
def running(golden: Mapping[str, Any]) -> Iterator[tuple[str, Collector]]:
    """Run the proxy in front of the provider of a file, and yield its address and its events."""
    with Upstream(golden["calls"]) as upstream:
        thread = threading.Thread(target=upstream.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            table = UpstreamSettings(type=golden["upstream_type"], base_url=upstream.url)
            settings = Settings(
                server=ServerSettings(port=0, shutdown_timeout=1.0),
                upstreams={"golden": table},
                plugins={"collector": {}},
            )
            app = application.build(settings, plugins={"collector": Collector})
            collector = app.registry.plugins["collector"].instance
            with serve(app.asgi, lifespan="on") as url:
                yield url, collector
                for _ in filter(lambda call: call.get("leaves"), golden["calls"]):
                    assert upstream.left.acquire(timeout=PATIENCE), "the proxy went on listening"
        finally:
            upstream.shutdown()
            thread.join()


def play(golden: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Send the calls of a file one after the other; return exchange ids, and all events."""
    ids, expected = [], 0
    with running(golden) as (url, collector), httpx.Client(timeout=PATIENCE) as client:
        for call in golden["calls"]:
            ids.append(send(client, url + golden["path"], call))
            expected += len(call["events"])
            collector.wait_for(expected)
    return ids, collector.events


def send(client: httpx.Client, url: str, call: Mapping[str, Any]) -> str:
    """Send a request, read what comes back until the end of it, and return the exchange's id."""
    headers = {"content-type": "application/json", **call.get("headers", {})}
    body = call["request"].encode()
    with client.stream("POST", url, content=body, headers=headers) as response:
        if call.get("cut"):
            with suppress(httpx.RemoteProtocolError, httpx.ReadError):
                response.read()
        elif call.get("leaves"):
            left, pieces = len(call["response"].encode()), response.iter_raw()
            while left:
                left -= len(next(pieces))
        else:
            assert response.read() == call["response"].encode(), "traffic is not to be changed"
        return response.headers["x-perimeter-exchange-id"]


@attrs.define(eq=False)
class Labels:
    """Which label stands for which value; each for one, and no two for the same."""

    what: str
    values: dict[str, str] = attrs.field(factory=dict)

    def read(self, value: Any, wanted: str) -> str:
        """Return the label of a value: the one that is wanted, if both are still to be had."""
        if wanted.startswith("="):
            return f"={value}"
        for label, known in self.values.items():
            if known == value:
                return label
        if isinstance(value, str) and value and wanted not in self.values:
            self.values[wanted] = value
            return wanted
        return f"another {self.what}: {value!r}"


@attrs.define(eq=False)
class Reader:
    """Writes an expected event and the one that came alike, so that they can be compared."""

    ids: list[str]
    sessions: Labels = attrs.field(factory=lambda: Labels("session"))
    spans: Labels = attrs.field(factory=lambda: Labels("span"))
    traces: Labels = attrs.field(factory=lambda: Labels("trace"))

    def expected(self, golden: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event of a file, with everything that the file leaves to the rules."""
        attributes = dict(golden["attributes"])
        if "parent" in golden:
            attributes["parent_span_id"] = f"of {golden['parent']!r}"
        return {
            "name": golden["name"],
            "level": "ERROR" if golden["name"] == "llm.call.error" else "INFO",
            "schema_version": "1.0",
            "session": golden.get("session"),
            "session of the hook": golden.get("session"),
            "span": golden.get("span", "a span or none"),
            "trace": golden.get("trace", "the session's" if "session" in golden else "any"),
            "agent": golden.get("agent", "any"),
            "attributes": attributes,
        }

    def actual(self, event: Mapping[str, Any], golden: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event that came, in terms of the one that stands in its place in a file."""
        return {
            "name": event["name"],
            "level": event["level"],
            "schema_version": event["schema_version"],
            "session": self._session(event["session_id"], golden),
            "session of the hook": self._session(event["session of the hook"], golden),
            "span": self._span(event["span_id"], golden),
            "trace": self._trace(event, golden),
            "agent": event["agent_id"] if "agent" in golden else "any",
            "attributes": self._attributes(event["attributes"], golden),
        }

    def _session(self, value: Any, golden: Mapping[str, Any]) -> str | None:
        return None if value is None else self.sessions.read(value, golden.get("session", "none"))

    def _span(self, value: Any, golden: Mapping[str, Any]) -> str:
        if not re.fullmatch(r"[0-9a-f]{16}", value):
            return f"no span: {value!r}" if value or "span" in golden else "a span or none"
        return self.spans.read(value, golden["span"]) if "span" in golden else "a span or none"

    def _trace(self, event: Mapping[str, Any], golden: Mapping[str, Any]) -> str:
        value = event["trace_id"]
        if "session" not in golden:
            return "any" if re.fullmatch(r"(?:[0-9a-f]{32})?", value) else value
        if "trace" in golden or not re.fullmatch(r"[0-9a-f]{32}", value):
            return value or "no trace"
        wanted = f"of session {golden['session']}"
        label = self.traces.read(value, wanted)
        return "the session's" if label == wanted else label

    def _attributes(self, value: Mapping[str, Any], golden: Mapping[str, Any]) -> dict[str, Any]:
        attributes = self._alike(value, golden["attributes"])
        if "parent" in golden and "parent_span_id" in attributes:
            parent = self.spans.read(attributes["parent_span_id"], golden["parent"])
            attributes["parent_span_id"] = f"of {parent!r}"
        return attributes

    def _alike(self, value: Any, golden: Any) -> Any:
        """Return a value with what a file leaves open, or names, written as it stands there."""
        if isinstance(golden, str) and golden in {"*", "?"}:
            return golden
        if isinstance(golden, str) and golden.startswith("@") and value in self.ids:
            return f"@{self.ids.index(value) + 1}"
        if isinstance(golden, dict) and isinstance(value, dict):
            optional = {key: "?" for key, wanted in golden.items() if wanted == "?"}
            return optional | {
                key: self._alike(each, golden.get(key)) for key, each in value.items()
            }
        if isinstance(golden, list) and isinstance(value, list):
            rest = [None] * (len(value) - len(golden))
            return [self._alike(*pair) for pair in zip(value, [*golden, *rest], strict=False)]
        return value


NOTHING: Mapping[str, Any] = {"attributes": {}}


def compare(golden: Mapping[str, Any], ids: list[str], events: list[dict[str, Any]]) -> str:
    """Return how events differ from what a file says, "" if they don't."""
    reader = Reader(ids)
    wanted = [event for call in golden["calls"] for event in call["events"]]
    beside = [*align(wanted, events), *[NOTHING] * len(events)]
    expected = [reader.expected(event) for event in wanted]
    actual = [reader.actual(*pair) for pair in zip(events, beside, strict=False)]
    if expected == actual:
        return ""
    return "\n".join(
        unified_diff(lines(expected), lines(actual), "the file", "came", n=4, lineterm="")
    )


def align(wanted: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Return for each event the one of a file to read it by: the next of that name, if any."""
    left = list(wanted)
    found: list[Mapping[str, Any]] = []
    for event in events:
        place = next((n for n, each in enumerate(left) if each["name"] == event["name"]), None)
        found.append(NOTHING if place is None else left.pop(place))
    return found


def lines(events: list[dict[str, Any]]) -> list[str]:
    """Return events as lines for a diff, one for each attribute or part of a message."""
    written = []
    for number, event in enumerate(events, 1):
        written.append(f"--- {number}. {event['name']}")
        written += [f"{key}: {event[key]}" for key in event if key not in {"name", "attributes"}]
        for key, value in sorted(event["attributes"].items()):
            text = json.dumps(value, ensure_ascii=False, sort_keys=True)
            written += f"  {key} = {text}".replace('{"parts"', '\n    {"parts"').splitlines()
    return written


def read(path: Path) -> dict[str, Any]:
    """Return what stands in a file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_events(path):
    """A conversation gives exactly the events that its file says, and its sessions end once."""
    golden = read(path)
    ids, came = play(golden)
    events = [event for event in came if event["name"] != "session.end"]
    endings = came[len(events) :]

    difference = compare(golden, ids, events)
    assert not difference, f"{path.name}: {golden['about']}\n{difference}"

    sessions = {event["session_id"] for event in events} - {None}
    assert sorted(event["session_id"] for event in endings) == sorted(sessions)
    for event in endings:
        assert event["name"] == "session.end"
        assert event["attributes"]["session.end_reason"] == "shutdown"
        assert {"session.duration_ms", "session.events_count"} <= event["attributes"].keys()


def test_dialects_covered():
    """Every dialect whose calls are told of has a file, named after it, and no file another's."""
    goldens = {path.stem: read(path)["dialect"] for path in GOLDEN}
    dialects = [each for kind in UPSTREAM_TYPES.values() for each in kind.dialects]
    tracked = {dialect.name for dialect in dialects if dialect.operation}

    assert tracked <= set(goldens.values()) <= {dialect.name for dialect in dialects}
    for stem, name in goldens.items():
        assert stem.startswith(name.replace(".", "_") + "_")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_files_make_sense(path):
    """A file is one that says what it shows, asks for its own dialect, and adds its tokens up."""
    golden = read(path)
    path_asked = golden["path"].partition("?")[0]
    known = UPSTREAM_TYPES[golden["upstream_type"]].dialects
    found = next(each for each in known if each.pattern.search(path_asked))
    assert found.name == golden["dialect"]
    assert "From: " in golden["about"]

    for call in golden["calls"]:
        json.loads(call["request"])
        for event in call["events"]:
            attributes = event["attributes"]
            counts = [attributes.get(f"llm.usage.{kind}_tokens", 0) for kind in ("input", "output")]
            assert attributes.get("llm.usage.total_tokens", 0) == sum(counts)
