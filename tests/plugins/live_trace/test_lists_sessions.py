"""The list of sessions: filters, views, peeking, choosing, deleting."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.store import Database
from perimeter_plugin_live_trace.store.models import Call, Session


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("sessions") / "small.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


@pytest.fixture
def own(tmp_path: Path) -> Any:
    factory.build(tmp_path / "small.db")
    made = Pages(tmp_path / "small.db")
    yield made
    made.close()


def ids(found: Any) -> list[str]:
    return [row["public_id"] for row in found["rows"]]


def test_page_and_twin_have_the_same_rows(pages: Pages) -> None:
    """The page shows what its JSON says."""
    text = pages.get("/sessions").text
    shown = re.findall(r'<tr data-row="(\d+)"', text)
    assert shown == [str(row["id"]) for row in pages.json("/sessions")["rows"]]
    assert len(shown) == 50


def test_pages_can_be_turned(pages: Pages) -> None:
    """By the links that the page has, there and back."""
    first = pages.json("/sessions", limit=20)
    second = pages.json("/sessions", limit=20, after=first["next"])
    assert first["prev"] == ""
    assert not set(ids(first)) & set(ids(second))
    assert ids(pages.json("/sessions", limit=20, before=second["prev"])) == ids(first)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("agent:planner", lambda row: row["agent"]["key"] == "planner"),
        ("agent:PLAN*", lambda row: row["agent"]["key"] == "planner"),
        ("-agent:planner", lambda row: row["agent"]["key"] != "planner"),
        ("model:gpt-4.1", lambda row: "gpt-4.1" in row["models"]),
        ("tag:team=blue", lambda row: "team=blue" in row["tags"]),
        ("tag:team", lambda row: any(tag.startswith("team=") for tag in row["tags"])),
        ("sev:>=high", lambda row: row["sev"] >= 3),
        ("sev:none", lambda row: row["sev"] == 0),
        ("cost:>0.005", lambda row: row["cost_nano"] > 5_000_000),
        ("tokens:>1k", lambda row: row["tok_in"] + row["tok_out"] > 1000),
        ("dur:>60s", lambda row: row["dur_us"] > 60_000_000),
        ("errors:>0", lambda row: row["errors"] > 0),
        ("turns:1", lambda row: row["turns"] == 1),
        ("has:findings", lambda row: row["findings"] > 0),
        ("has:pii", lambda row: row["pii"] > 0),
        ("id:session-01*", lambda row: row["public_id"].startswith("session-01")),
        ("status:done", lambda row: row["status"] == "done"),
        ("workflow:analysis", lambda row: row["workflow"] == "analysis"),
        (
            "agent:support-triage turns:>1 -has:errors",
            lambda row: (
                row["agent"]["key"] == "support-triage" and row["turns"] > 1 and not row["errors"]
            ),
        ),
    ],
)
def test_every_filter_finds_what_it_says(pages: Pages, q: str, expected: Any) -> None:
    """Exactly those of all sessions, and there are some."""
    everything = pages.json("/sessions", limit=200)["rows"]
    wanted = [row["public_id"] for row in everything if expected(row)]
    assert wanted
    assert ids(pages.json("/sessions", limit=200, q=q)) == wanted


def test_selects_filter_too(pages: Pages) -> None:
    """What the boxes beside the query are set to."""
    rows = pages.json("/sessions", agent="planner", sev="medium", status="done")["rows"]
    assert rows
    assert {row["agent"]["key"] for row in rows} == {"planner"}
    assert all(row["sev"] >= 2 and row["status"] == "done" for row in rows)


def test_words_find_what_was_said(pages: Pages) -> None:
    """Words, phrases, Chinese; and without them the others."""
    assert "session-live" in ids(pages.json("/sessions", q='"invoice 4711"'))
    assert ids(pages.json("/sessions", q="東京"))
    assert ids(pages.json("/sessions", q="京東")) == []
    both = ids(pages.json("/sessions", q="invoice")) + ids(pages.json("/sessions", q="-invoice"))
    assert sorted(both) == sorted(ids(pages.json("/sessions")))


def test_what_is_wrong_is_said_on_the_page(pages: Pages) -> None:
    """With a suggestion, and with what can be understood still filtered."""
    answer = pages.get("/sessions", q="agnet:x turns:1", sort="colour", limit="many")
    assert answer.status_code == 200
    for part in ("agent:”?", "“sort” is one of", "“limit” is a whole number"):
        assert part in answer.text
    assert all(row["turns"] == 1 for row in pages.json("/sessions", q="agnet:x turns:1")["rows"])


def test_chips_take_filters_away(pages: Pages) -> None:
    """One link each."""
    chips = dict(pages.json("/sessions", q="turns:1 invoice", agent="support-triage")["chips"])
    assert set(chips) == {"turns:1", "invoice", "agent:support-triage"}
    assert "q=invoice" in chips["turns:1"]
    assert "agent" not in chips["agent:support-triage"]


def test_a_wider_span_is_offered(pages: Pages) -> None:
    """Where a short one has nothing, with how many there are."""
    found = pages.json("/sessions", range="1h", q="id:session-000")
    assert found["rows"] == []
    assert found["wider"][0]["text"] == "1"
    assert "range=" in found["wider"][0]["href"]


def test_columns_can_be_chosen(pages: Pages) -> None:
    """By the address, so that views keep them."""
    text = pages.get("/sessions", cols="tags,models").text
    heads = re.findall(r'<th scope="col" data-col="(\w+)"', text)
    assert heads == ["title", "models", "tags"]


def test_a_session_is_peeked_at(pages: Pages) -> None:
    """Beside the list, by the address; one that is gone is not."""
    text = pages.get("/sessions", peek="session-000").text
    assert 'id="peek"' in text
    assert "lookup_customer" in text
    assert 'id="peek"' not in pages.get("/sessions", peek="nothing").text


def test_rows_alone(pages: Pages) -> None:
    """For what changed meanwhile: only what the filter lets through."""
    rows = pages.json("/sessions", limit=3)["rows"]
    some = ",".join(str(row["id"]) for row in rows)
    text = pages.get("/sessions/rows", ids=some + ",x,999999,99999999999999999999").text
    assert text.count("<tr ") == 3
    assert "<html" not in text
    assert pages.get("/sessions/rows", ids=some, q="turns:>1000").text.count("<tr ") == 0


def test_counting(pages: Pages) -> None:
    """Apart from the list, with the same filter."""
    assert "50 sessions" in pages.get("/sessions/count").text
    assert "9 sessions" in pages.get("/sessions/count", q="agent:support-triage").text


def count_of(page: str) -> str:
    found = re.search(r'<span class="meta count-of">(.*?) · ', page, re.DOTALL)
    assert found
    return re.sub("<[^>]+>", "", found.group(1)).strip()


def test_the_count_is_there_where_it_is_cheap(own: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one page always, else without typed filters, up to a limit."""
    assert count_of(own.get("/sessions").text) == "50 sessions"
    assert count_of(own.get("/sessions", limit=20).text) == "50 sessions"
    assert count_of(own.get("/sessions", q="agent:support-triage").text) == "9 sessions"
    assert count_of(own.get("/sessions", q="agent:support-triage", limit=4).text) == "Count all"
    monkeypatch.setattr("perimeter_plugin_live_trace.web.pages.sessions._COUNTED", 30)
    assert count_of(own.get("/sessions", limit=20).text) == "30+ sessions"


def test_what_is_shown_can_be_exported(pages: Pages) -> None:
    """All that the filter lets through, by a link; what was chosen, however old it is."""
    text = pages.get("/sessions", q="agent:support-triage", status="done", limit=2).text
    links = re.findall(r'href="(/export/sessions[.](?:csv|jsonl)[?][^"]*)"', text)
    wanted = pages.json("/sessions", q="agent:support-triage", status="done")["rows"]
    assert len(links) == 2
    for link in map(unescape, links):
        assert len(pages.client.get(link).text.splitlines()) == len(wanted) + link.count("csv")
    button = re.search(r'<button[^>]*formaction="/export/sessions.jsonl"[^>]*>', text)
    assert button
    assert 'name="range" value="all"' in button.group()


def test_the_list_keeps_to_its_budget(pages: Pages) -> None:
    """50 rows: at most 1,500 elements, and 12 KiB for who has been here before."""
    answer = pages.get("/sessions")
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) <= 12 * 1024
    assert len(re.findall(r"<[a-z]", answer.text)) <= 1500


def test_a_call_that_never_ends_has_stalled(tmp_path: Path) -> None:
    """Ten minutes after its begin, as a status that can be filtered by."""
    factory.build(tmp_path / "a.db")
    later = Pages(tmp_path / "a.db", now=factory.NOW)
    try:
        later.writer.change(
            lambda change: change.run(
                Call.update(state="running").where(Call.session_id == _id(later, "session-live"))
            )
        )
        later.writer.change(
            lambda change: change.run(
                Session.update(running=1, status="active").where(
                    Session.public_id == "session-live"
                )
            )
        )
        later.writer.change(
            lambda change: change.run(
                Call.update(started_us=int((factory.NOW - 3 * 86400) * 1e6)).where(
                    Call.state == "running"
                )
            )
        )
        assert "session-live" in ids(later.json("/sessions", status="stalled"))
        assert "session-live" not in ids(later.json("/sessions", status="active"))
        rows = later.json("/sessions", q="id:session-live")["rows"]
        assert rows[0]["status"] == "stalled"
    finally:
        later.close()


def _id(pages: Pages, public_id: str) -> Any:
    return pages.reader.value(Session.select(Session.id).where(Session.public_id == public_id))


def test_views_are_saved_and_deleted(own: Pages) -> None:
    """With the filters, without the place in the list."""
    query = "q=cost%3A%3E1&sort=-cost&after=abc&peek=x&evil=1"
    answer = own.post("/sessions/views", page="/sessions", name="  Dear   ones ", query=query)
    assert answer.headers["location"] == "/sessions?q=cost%3A%3E1&sort=-cost"
    saved = own.json("/sessions")["saved"]
    assert saved == [{"name": "Dear ones", "query": "q=cost%3A%3E1&sort=-cost"}]
    own.post("/sessions/views/delete", page="/sessions", name="Dear ones")
    assert own.json("/sessions")["saved"] == []


def test_a_view_needs_a_name(own: Pages) -> None:
    """Otherwise nobody could choose it."""
    assert own.post("/sessions/views", page="/sessions", name=" ", query="").status_code == 409


def test_sessions_are_deleted_after_being_asked(own: Pages) -> None:
    """The chosen ones, once the word is typed; their addresses say so."""
    text = own.get("/sessions/delete", s="session-000").text
    assert "Delete 1 session" in text
    number = _id(own, "session-000")
    refused = own.post(
        "/sessions/delete", page="/sessions/delete?s=session-000", id=number, confirm="yes"
    )
    assert refused.status_code == 409
    done = own.post(
        "/sessions/delete", page="/sessions/delete?s=session-000", id=number, confirm="Delete"
    )
    assert done.status_code == 303
    assert len(own.json("/sessions")["rows"]) == 49
    gone = own.get("/sessions/session-000")
    assert gone.status_code == 404
    assert "was deleted on" in gone.text


def test_nothing_chosen_is_nothing_deleted(own: Pages) -> None:
    """The page that asks says what to do."""
    assert own.get("/sessions/delete").status_code == 404


def test_an_empty_database_says_what_to_do(tmp_path: Path) -> None:
    """And has all pages."""
    Database.open(tmp_path / "empty.db")
    empty = Pages(tmp_path / "empty.db")
    try:
        assert "Connect an application" in empty.get("/sessions").text
        for path in ("/events", "/search", "/search?q=x", "/compare", "/sessions?q=x"):
            assert empty.get(path).status_code == 200, path
    finally:
        empty.close()
