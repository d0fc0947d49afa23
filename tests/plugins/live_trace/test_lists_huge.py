"""
A session of 100,000 events: all of it can be reached, and nothing grows with it.

No statement may take longer than a second: `Reader` ends it, and the page would not be there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.queries.timeline import MOST_ITEMS


sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import live_trace_data


EVENTS = 100_000
LARGEST = 400_000
"""Bytes of a page."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    path = tmp_path_factory.mktemp("huge") / "huge.db"
    live_trace_data.build(path, sessions=1, events=EVENTS, now=factory.NOW)
    made = Pages(path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def session(pages: Pages) -> str:
    """The address of the session."""
    (row,) = pages.json("/sessions")["rows"]
    assert row["events"] == EVENTS
    return f"/sessions/{row['public_id']}"


@pytest.mark.parametrize("at", [0, EVENTS // 2, EVENTS])
@pytest.mark.parametrize("view", ["conversation", "timeline", "events", "findings", "pii", "info"])
def test_it_opens_everywhere(pages: Pages, session: str, view: str, at: int) -> None:
    """Each view at its begin, in its middle and at its end, for people and as JSON."""
    for path in (session, f"{session}.json"):
        answer = pages.get(path, view=view, at=at)
        assert answer.status_code == 200
        assert 0 < len(answer.content) < LARGEST


@pytest.mark.parametrize("path", ["/cache", "/cache.json", "/more?after=0"])
def test_what_belongs_to_it(pages: Pages, session: str, path: str) -> None:
    """What its prompts cost, and what is asked for when very much is new."""
    answer = pages.get(session + path)
    assert answer.status_code == 200
    assert len(answer.content) < LARGEST


@pytest.mark.parametrize(("view", "part"), [("timeline", "timeline"), ("events", "events")])
def test_its_pages_follow_each_other(pages: Pages, session: str, view: str, part: str) -> None:
    """From a page near the end the next ones lead to the last event, and no further."""
    found = pages.json(session, view=view, at=EVENTS - 1_000)[part]
    seen = [row["seq"] for row in found["rows"]]
    while found["next"]:
        found = pages.json(session, view=view, after=found["next"])[part]
        assert len(found["rows"]) <= 200
        seen += [row["seq"] for row in found["rows"]]
    assert seen == sorted(set(seen))
    assert seen[-1] == EVENTS


def test_the_conversation_is_paged(pages: Pages, session: str) -> None:
    """Its last page has the last turn."""
    first = pages.json(session)
    last: Any = pages.json(session, at=EVENTS)["conversation"]
    assert last["page"] == first["conversation"]["pages"] > 100
    assert last["turns"][-1]["number"] == first["session"]["turns"]


def test_its_map_is_that_of_all(pages: Pages, session: str) -> None:
    """Things of every kind, from the begin to the end, but not all of them."""
    found = pages.json(f"{session}/map")
    numbers = sorted(seq for *_, seq in found["items"])
    assert len(numbers) < 2 * MOST_ITEMS
    assert found["every"] > 1
    assert {(EVENTS - seq) % 5 for seq in numbers} == {0}  # no more than 20,000 are read
    parts = {seq * 100 // EVENTS for seq in numbers}
    assert parts == set(range(101))
    assert {lane for _, _, lane, _, _ in found["items"]} == {0, 1, 2}


def test_that_findings_are_left_out_is_told(pages: Pages, session: str) -> None:
    """The worst are shown, and how many there are."""
    view = pages.json(session, view="findings")
    assert len(view["findings"]) == 200 < view["session"]["findings"]
    said = f"the worst 200 of {view['session']['findings']}"
    assert said in pages.get(session, view="findings").text


def test_it_is_deleted(pages: Pages, session: str) -> None:
    """With everything that is only its own; the last test, because nothing is left afterwards."""
    answer = pages.post(f"{session}/delete", page=session, confirm="delete")
    assert answer.status_code == 303
    assert pages.get(session).status_code == 404
    for table in ("sessions", "events", "calls", "nodes", "texts", "findings", "session_tools"):
        assert pages.reader.sql(f"SELECT count(*) FROM {table}") == [(0,)], table
    # Prompts of agents are left, and what the builder made in advance and did not use.
    assert pages.reader.sql("SELECT count(*) FROM blobs")[0][0] < 100
