"""Single events: permalinks, their parts, raw, as a command; the tail; search."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import factory
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_site import Pages

from perimeter_plugin_live_trace.queries import search
from perimeter_plugin_live_trace.queries.curl import curl
from perimeter_plugin_live_trace.store.known import built_in
from perimeter_plugin_live_trace.store.models import Event


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("events") / "small.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


def event(pages: Pages, kind: str) -> int:
    return int(pages.reader.value(Event.select(Event.id).where(Event.kind == kind).limit(1)))


def test_an_event_leads_to_its_session(pages: Pages) -> None:
    """To the page that it is on; one without a session to its attributes."""
    answer = pages.get("/events/3")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("#e3")
    alone = pages.reader.value(Event.select(Event.id).where(Event.session_id.is_null()).limit(1))
    assert "/body" in pages.get(f"/events/{alone}").headers["location"]


@pytest.mark.parametrize(
    "path",
    [
        "/events/999999",
        "/events/x",
        "/events/-1",
        f"/events/{10**30}",
        "/events/3/body?part=nope",
        "/events/3/body?part=message-9-9",
        "/events/3/body?part=reply-x",
        "/events/1/curl",
    ],
)
def test_what_is_not_there(pages: Pages, path: str) -> None:
    """Is a page that says so."""
    assert pages.client.get(path).status_code == 404


@pytest.mark.parametrize("form", ["text", "md", "json"])
@pytest.mark.parametrize(
    "part",
    [
        "attributes",
        "request",
        "response",
        "request-headers",
        "response-headers",
        "system",
        "reply-0",
        "message-0-0",
    ],
)
def test_all_parts_in_all_forms(pages: Pages, part: str, form: str) -> None:
    """Each can be asked for; what is no JSON is shown as text instead."""
    answer = pages.client.get(f"/events/3/body?part={part}&as={form}")
    assert answer.status_code == 200
    assert "data-part" in answer.text


def test_json_is_shown_by_pointer(pages: Pages) -> None:
    """A part of it; one that is not there shows the whole, and says so."""
    text = pages.client.get("/events/3/body?part=request&as=json&ptr=/messages/1").text
    assert "What do we tell them?" in text
    assert "You sort support tickets" not in text
    assert (
        "There is nothing at" in pages.client.get("/events/3/body?part=request&as=json&ptr=/x").text
    )


def test_raw_is_plain_text_in_a_sandbox(pages: Pages) -> None:
    """So that nothing in it can run."""
    answer = pages.client.get("/events/3/raw?part=request")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert json.loads(answer.text)["model"] == "gpt-4.1"


def run(command: str, tmp_path: Path) -> tuple[list[str], bytes]:
    """Run a command in sh with a curl that notes its arguments; return these and its input."""
    own = tmp_path / "curl"
    own.write_text(
        '#!/bin/sh\nfor each in "$@"; do printf "%s\\0" "$each"; done > "$OUT"\ncat > "$OUT.in"\n'
    )
    own.chmod(0o755)
    out = tmp_path / "out"
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "OUT": str(out),
        "OPENAI_API_KEY": "from-environment",
    }
    script = tmp_path / "script"  # an argument would be too long
    script.write_text(command)
    subprocess.run(
        ["sh", str(script)], env=environment, check=True, stdin=subprocess.DEVNULL, timeout=20
    )
    return out.read_bytes().decode().split("\0")[:-1], (tmp_path / "out.in").read_bytes()


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
@pytest.mark.parametrize(
    "body",
    [
        '{"a": "b"}',
        'it\'s $HOME `id` \\ "x" !! \n\t%s',
        "@file",
        "",
        "BODY\nBODY_\n" + "x" * 40_000,
        "日本\u202e" * 20_000,
    ],
    ids=["json", "quotes", "at", "empty", "long", "long-unicode"],
)
def test_a_command_sends_what_was_sent(tmp_path: Path, body: str) -> None:
    """Through a real shell, whatever is in the body, the headers and the address."""
    call = SimpleNamespace(
        method="POST",
        target="/v1/chat/completions?x=$(id)&y='",
        dialect="openai.chat",
        upstream="openai",
        request_cut=False,
    )
    fields = [
        ("content-type", "application/json; a='$b'"),
        ("authorization", "Bearer masked"),
        ("OpenAI-Beta", "x\r\ny"),
    ]
    dialect = built_in()[call.dialect]
    command = curl(call, dialect, body.encode(), fields, "http://127.0.0.1:4000")
    arguments, stdin = run(command, tmp_path)
    assert "http://127.0.0.1:4000/v1/chat/completions?x=$(id)&y='" in arguments
    assert "content-type: application/json; a='$b'" in arguments
    assert "OpenAI-Beta: x  y" in arguments
    assert "Authorization: Bearer from-environment" in arguments
    assert not any("masked" in each for each in arguments)
    sent = (
        arguments[arguments.index("--data-raw") + 1]
        if "--data-raw" in arguments
        else stdin.decode()
    )
    assert sent.removesuffix("\n") == body.removesuffix("\n")


def test_keys_are_not_in_a_command(pages: Pages) -> None:
    """Neither of headers nor of the address."""
    for number in range(1, 60):
        answer = (
            pages.json(f"/events/{number}/curl")
            if pages.get(f"/events/{number}/curl").status_code == 200
            else None
        )
        if answer:
            assert "key=" not in answer["command"]
            assert "***" not in answer["command"]


def test_the_tail_shows_what_is_new(pages: Pages) -> None:
    """The newest first, those after one, and only of a kind."""
    rows = pages.json("/events")["rows"]
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    text = pages.get("/events/rows", after=rows[3]["id"]).text
    assert text.count("<tr ") == 3
    some = pages.json("/events", kind="llm.call.error")["rows"]
    assert {row["kind"] for row in some} == {"llm.call.error"}
    agents = pages.json("/events", agent="planner")["rows"]
    assert {row["agent"]["key"] for row in agents} == {"planner"}


# -- search


@pytest.mark.parametrize(
    ("q", "hit"),
    [
        ("histogram", "histogram"),
        ("HISTOGRAM", "histogram"),
        ("東京", "東京"),
        ('"in time"', "in time"),
        ("สรุป", "สรุป"),
        ("histo*", "histo"),
    ],
)
def test_search_marks_what_it_found(pages: Pages, q: str, hit: str) -> None:
    """As structure, so that the page makes the marks; also in Chinese and Thai."""
    found = pages.json("/search", q=q)["results"]
    assert found["events"]
    for each in found["events"]:
        assert any(
            span["hit"] and span["text"].lower().startswith(hit.lower()[:5])
            for span in each["spans"]
        )
    assert "<mark>" in pages.get("/search", q=q).text


def test_search_finds_names(pages: Pages) -> None:
    """Of agents and tools, and ids of sessions."""
    assert pages.json("/search", q="plan")["results"]["agents"][0]["agent"]["key"] == "planner"
    tool = pages.json("/search", q="web_s")["results"]["tools"][0]
    assert tool["key"] == "web_search"
    assert tool["sessions"] == len(pages.json("/sessions", q="tool:web_search")["rows"])
    first = pages.json("/search", q="session-011")["results"]["sessions"][0]
    assert first["session"]["public_id"] == "session-011"


def test_search_finds_nothing(pages: Pages) -> None:
    """And says so, also for what is no word, or for a part of a language of queries."""
    for q in ("zebra", "%%%", "***", '" OR fts MATCH * NEAR(', "\x00", "<script>"):
        assert pages.get("/search", q=q).status_code == 200
    assert "Nothing found" in pages.get("/search", q="zebra").text
    assert pages.json("/search", q="%")["results"]["tools"] == []


@given(st.text(max_size=60), st.text(max_size=200))
def test_marks_change_no_text(query: str, text: str) -> None:
    """The pieces together are the text, whatever is looked for."""
    pattern = search.hits_of(query)
    assert search.plain(search.marked(text, pattern)) == text
