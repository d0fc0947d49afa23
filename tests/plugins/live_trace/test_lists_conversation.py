"""A session: what its conversation shows once, its timeline, its raw events."""

from __future__ import annotations

import itertools
import json
import random
import time
from pathlib import Path
from typing import Any

import attrs
import factory
import pytest
from factory import AGENTS, Talk, Traffic
from pages_site import Pages

from perimeter_plugin_live_trace.queries import conversation
from perimeter_plugin_live_trace.queries.turns import LARGEST
from perimeter_plugin_live_trace.store import Database, Writer
from perimeter_plugin_live_trace.store.models import Session


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("session") / "small.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


def made(tmp_path: Path, records: Any, **options: Any) -> Pages:
    """Return a dashboard over a database with the records that a function yields."""
    database = Database.open(tmp_path / "own.db")
    writer = Writer(database, clock=lambda: factory.NOW)
    for batch in records(Traffic(random.Random(1), factory.NOW)):
        writer.take(batch)
    writer.close()
    return Pages(tmp_path / "own.db", **options)


def turns(pages: Pages, session: str, **params: Any) -> list[dict[str, Any]]:
    found = pages.json(f"/sessions/{session}", **params)["conversation"]["turns"]
    assert isinstance(found, list)
    return found


def words(turn: dict[str, Any]) -> list[tuple[str, str]]:
    """Return who said what in a turn, the reply last."""
    cards = [*turn["asked"], *([turn["reply"]] if turn["reply"] else [])]
    return [
        (card["role"], piece["body"]["text"])
        for card in cards
        for piece in card["pieces"]
        if piece["kind"] == "text"
    ]


def tools(turn: dict[str, Any]) -> list[dict[str, Any]]:
    return [piece["tool"] for piece in (turn["reply"] or {"pieces": []})["pieces"] if piece["tool"]]


@pytest.mark.parametrize("session", [f"session-{number:03d}" for number in range(0, 48, 4)])
def test_everything_is_said_once(pages: Pages, session: str) -> None:
    """No reply is shown again in the next request, whatever provider's API it is."""
    found = turns(pages, session)
    for before, after in itertools.pairwise(found):
        assert after["carried"] > 0
        assert not any(card["role"] in {"assistant", "model"} for card in after["asked"])
        assert not any(card["role"] == "tool" for card in after["asked"])
        assert before["reply"] is not None
    assert found[0]["system"]["text"]
    assert all(turn["system"] is None for turn in found[1:])


@pytest.mark.parametrize("session", [f"session-{number:03d}" for number in range(48)])
def test_tools_have_their_results(pages: Pages, session: str) -> None:
    """All tools but those of the last turn, with the time that they took."""
    for turn in turns(pages, session)[:-1]:
        for tool in tools(turn):
            assert tool["result"]["text"]
            assert tool["dur_us"] is not None
            assert tool["seq"]


def test_a_rewritten_context_is_marked(pages: Pages) -> None:
    """With what was kept, and without showing the rest again."""
    last = turns(pages, "session-rewritten")[-1]
    assert last["rewritten"]
    assert [role for role, _ in words(last)] == ["user", "assistant"]
    assert "Context rewritten here" in pages.get("/sessions/session-rewritten").text


def test_an_edited_reply_is_shown_as_edited(tmp_path: Path) -> None:
    """When a client sends back something else than it was told."""

    def records(traffic: Traffic) -> Any:
        talk = Talk(traffic, AGENTS[4], "session-edited", traffic.now - 900, {})
        yield talk.turn("One?", answer="First answer.")
        talk.history[-1]["content"] = "A better answer."
        yield talk.turn("Two?", answer="Second answer.")

    pages = made(tmp_path, records)
    try:
        card = turns(pages, "session-edited")[1]["asked"][0]
        assert (card["role"], card["note"]) == ("assistant", "edited")
        assert card["pieces"][0]["body"]["text"] == "A better answer."
        assert "otherwise than it was received" in pages.get("/sessions/session-edited").text
    finally:
        pages.close()


def test_a_changed_system_prompt_is_shown(tmp_path: Path) -> None:
    """The new one, with a badge and the lines that are others."""

    def records(traffic: Traffic) -> Any:
        talk = Talk(traffic, AGENTS[0], "session-system", traffic.now - 900, {})
        yield talk.turn("One?")
        talk.agent = attrs.evolve(talk.agent, system="You are somebody else now.")
        yield talk.turn("Two?")
        yield talk.turn("Three?")

    pages = made(tmp_path, records)
    try:
        found = turns(pages, "session-system")
        assert [turn["system_changed"] for turn in found] == [False, True, False]
        assert found[1]["system"]["text"] == "You are somebody else now."
        assert found[2]["system"] is None
        assert [len(turn["system_changes"]) > 0 for turn in found] == [False, True, False]
        assert found[1]["system_changes"][-1] == {"sign": "+", "text": "You are somebody else now."}
        text = pages.get("/sessions/session-system").text
        assert ">changed<" in text
        assert 'data-sign="removed"' in text
    finally:
        pages.close()


def test_errors_tell_what_the_provider_said(pages: Pages) -> None:
    """With the status and the kind of the error."""
    failed = [turn for turn in turns(pages, "session-004") if turn["state"] == "error"]
    assert failed[0]["error"]
    text = pages.get("/sessions/session-004").text
    assert f"HTTP {failed[0]['http_status']}" in text
    assert failed[0]["error_type"] in text


def test_a_running_call_says_how_much_came(tmp_path: Path) -> None:
    """And is asked for again while it runs; after ten minutes it has stalled."""

    def records(traffic: Traffic) -> Any:
        talk = Talk(traffic, AGENTS[0], "session-running", traffic.now - 60, {})
        yield talk.turn("Are you there?", running=True)

    from perimeter_plugin_live_trace.store.models import Call

    pages = made(tmp_path, records)
    try:
        # The writer that was closed took the call for lost.
        now_us = int(time.time() * 1e6)
        running = Call.update(state="running", response_size=4096, started_us=now_us)
        pages.writer.change(lambda change: change.run(running))
        text = pages.get("/sessions/session-running").text
        assert "4 KiB so far" in text
        assert "Running" in text
        more = pages.get("/sessions/session-running/more", after=999).text
        assert 'id="c1"' in more
        assert "<html" not in more
    finally:
        pages.close()


def test_long_messages_are_cut_and_can_be_read_whole(tmp_path: Path) -> None:
    """32 KiB of them on the page, with what is missing, and a link to the rest."""
    long = "lorem ipsum " * 20_000

    def records(traffic: Traffic) -> Any:
        talk = Talk(traffic, AGENTS[0], "session-long", traffic.now - 900, {})
        yield talk.turn(long)

    pages = made(tmp_path, records)
    try:
        body = turns(pages, "session-long")[0]["asked"][0]["pieces"][0]["body"]
        assert body["shown"] == LARGEST
        assert body["size"] == len(long)
        assert "Showing 32 KiB of 234.4 KiB" in pages.get("/sessions/session-long").text
        last = pages.client.get(body["href"] + f"&as=text&offset={len(long) - 50}").text
        assert "lorem ipsum" in last
    finally:
        pages.close()


def test_long_conversations_have_pages(tmp_path: Path) -> None:
    """Fifty calls each; an event is on the page of its call, and results cross pages."""

    def records(traffic: Traffic) -> Any:
        talk = Talk(traffic, AGENTS[0], "session-many", traffic.now - 9000, {})
        for number in range(120):
            yield talk.turn(f"Question {number}")

    pages = made(tmp_path, records)
    try:
        found = [turns(pages, "session-many", page=number) for number in (1, 2, 3)]
        assert [turn["number"] for page in found for turn in page] == list(range(1, 121))
        said = [
            text for page in found for turn in page for role, text in words(turn) if role == "user"
        ]
        assert said == [f"Question {number}" for number in range(120)]
        for page in found:
            for turn in page:
                assert all(tool["result"] for tool in tools(turn)) or turn["number"] == 120
        seq = found[2][5]["start_seq"]
        there = pages.get("/sessions/session-many", at=seq).text
        assert f'id="e{seq}"' in there
        assert "Calls 101 to 120" in there
        assert turns(pages, "session-many", page=99)[0]["number"] == 101
    finally:
        pages.close()


@pytest.mark.parametrize(
    "session", ["session-000", "session-005", "session-004", "session-rewritten"]
)
def test_every_event_has_a_place(pages: Pages, session: str) -> None:
    """`#e7` leads to the seventh event, in each of the views that show events."""
    text = pages.get(f"/sessions/{session}").text
    count = pages.json(f"/sessions/{session}")["session"]["events"]
    for seq in range(1, count + 1):
        assert text.count(f'id="e{seq}"') == 1, seq


@pytest.mark.parametrize("view", ["conversation", "timeline", "events", "findings", "pii", "info"])
def test_all_views_of_all_sessions(pages: Pages, view: str) -> None:
    """None fails, and the JSON of each has its part."""
    for row in pages.json("/sessions", limit=200)["rows"][::5]:
        path = f"/sessions/{row['public_id']}"
        assert pages.get(path, view=view).status_code == 200
        assert pages.json(path, view=view)["view"] == view


def test_previous_and_next_follow_the_list(pages: Pages) -> None:
    """In its order and with its filters."""
    listed = [
        row["public_id"] for row in pages.json("/sessions", q="agent:planner", sort="-cost")["rows"]
    ]
    for place, session in enumerate(listed):
        found = pages.json(f"/sessions/{session}", q="agent:planner", sort="-cost")
        assert found["above"] == (listed[place - 1] if place else "")
        assert found["below"] == (listed[place + 1] if place + 1 < len(listed) else "")


def test_raw_events_are_all_there(pages: Pages) -> None:
    """In order, or those of a kind."""
    found = pages.json("/sessions/session-000", view="events")
    assert [row["seq"] for row in found["events"]["rows"]] == list(
        range(1, found["session"]["events"] + 1)
    )
    some = pages.json("/sessions/session-000", view="events", kind="llm.call.finish")["events"][
        "rows"
    ]
    assert {row["kind"] for row in some} == {"llm.call.finish"}


def test_headers_are_masked(pages: Pages) -> None:
    """The key that a client sent is nowhere."""
    text = pages.get("/sessions/session-000", view="info").text
    assert "authorization" in text
    assert "x" * 20 not in text


def test_a_giant_session_stays_small(tmp_path: Path) -> None:
    """5,000 events and 20 MB: pages are bounded, and nothing is read that is not shown."""
    factory.build(tmp_path / "giant.db", "giant")
    pages = Pages(tmp_path / "giant.db")
    try:
        for view in ("conversation", "timeline", "events"):
            assert len(pages.get("/sessions/session-giant", view=view).content) < 700_000
        assert len(pages.get("/sessions/session-large").content) < 1_200_000
        assert len(pages.get("/sessions/session-json").content) < 400_000
        assert len(pages.json("/sessions/session-giant/map")["items"]) <= 6_000
    finally:
        pages.close()


def test_turns_after_an_event(pages: Pages) -> None:
    """Those that something happened in, and the one before, whose tools may have got results."""
    row = pages.reader.one(Session.select().where(Session.public_id == "session-038"))
    every = turns(pages, "session-038")
    found = list(conversation.find_turns(pages.reader, row, every[5]["end_seq"], pages.now_us))
    assert [turn.number for turn in found] == [turn["number"] for turn in every[5:]]
    assert not list(conversation.find_turns(pages.reader, row, row.last_seq, pages.now_us))


def test_no_session(pages: Pages) -> None:
    """An address that is wrong says so, as a page and as JSON."""
    assert pages.get("/sessions/none-such").status_code == 404
    answer = pages.get("/sessions/none-such.json")
    assert answer.status_code == 404
    assert json.loads(answer.text)["error"]
