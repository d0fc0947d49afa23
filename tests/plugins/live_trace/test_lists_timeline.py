"""The timeline and the map of a session, and how much text a page shows."""

from __future__ import annotations

from typing import Any

import factory
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_site import Pages

from perimeter_plugin_live_trace.queries import timeline
from perimeter_plugin_live_trace.queries.turns import LARGEST, Budget


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("timeline") / "small.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


@pytest.mark.parametrize("show", timeline.SHOWS)
def test_the_timeline_filters(pages: Pages, show: str) -> None:
    """Each filter shows its own kinds, inside the axis."""
    rows = pages.json("/sessions/session-038", view="timeline", show=show)["timeline"]["rows"]
    lanes = {row["lane"] for row in rows}
    assert lanes <= {
        "llm": {"llm"},
        "tools": {"tool"},
        "slow": {"llm"},
        "findings": {"finding"},
    }.get(show, {"llm", "tool", "finding", "session"})
    assert all(0 <= row["x"] <= timeline.WIDTH for row in rows)
    assert [row["start_us"] for row in rows] == sorted(row["start_us"] for row in rows)


_SPANS = st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**8)), min_size=1, max_size=40)


@given(_SPANS)
def test_idle_time_is_shortened_and_nothing_changes_places(spans: list[tuple[int, int]]) -> None:
    """What came later is never drawn before what came first, and everything fits on the axis."""
    listed = sorted((start, start + length) for start, length in spans)
    scale = timeline.Scale(listed)
    places = [scale.place(start) for start, _ in listed]
    assert places == sorted(places)
    assert all(0 <= place <= timeline.WIDTH for place in places)
    assert all(each.gap_us > timeline.LEAST_GAP_US for each in scale.breaks)
    assert scale.place(scale.last) <= timeline.WIDTH


def test_true_time_has_no_breaks(pages: Pages) -> None:
    """As somebody wants who looks for the idle time."""
    short = pages.json("/sessions/session-038", view="timeline")["timeline"]
    true = pages.json("/sessions/session-038", view="timeline", true=1)["timeline"]
    assert short["breaks"]
    assert not true["breaks"]
    assert sum(row["width"] for row in short["rows"]) > sum(row["width"] for row in true["rows"])


def test_the_map_has_all_calls(pages: Pages) -> None:
    """And leads to events that are there."""
    found = pages.json("/sessions/session-038/map")
    session = pages.json("/sessions/session-038")["session"]
    assert sum(lane == 0 for _, _, lane, _, _ in found["items"]) == session["turns"]
    assert all(1 <= seq <= session["events"] for *_, seq in found["items"])


@given(st.lists(st.text(max_size=200).map(lambda text: text * 500), max_size=12))
def test_texts_of_a_page_are_bounded(texts: list[str]) -> None:
    """Each is cut at a character, and says how much there is."""
    budget = Budget(10_000)
    for text in texts:
        found = budget.excerpt(text)
        assert text.startswith(found.text)
        assert found.size == len(text.encode("utf-8", "surrogatepass"))
        assert found.shown <= LARGEST
        assert found.cut == (found.text != text)
