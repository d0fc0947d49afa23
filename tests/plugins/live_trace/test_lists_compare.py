"""Two sessions side by side."""

from __future__ import annotations

from typing import Any

import factory
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages_site import Pages

from perimeter_plugin_live_trace.queries import compare
from perimeter_plugin_live_trace.queries.compare import Entry


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("compare") / "small.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


def entry(role: str, text: str) -> Entry:
    return Entry(1, 1, role, text)


def test_sessions_are_compared(pages: Pages) -> None:
    """Message by message, with figures; chosen by `a` and `b` or in the list."""
    found = pages.json("/compare", a="session-000", b="session-006")
    assert found["a"]["public_id"] == "session-000"
    assert found["same"] > 0
    assert {row["kind"] for row in found["rows"]} > {"same"}
    assert (
        pages.client.get("/compare.json?s=session-000&s=session-006").json()["rows"]
        == found["rows"]
    )
    only = pages.json("/compare", a="session-000", b="session-006", only=1)
    assert [row for row in found["rows"] if row["kind"] != "same"] == only["rows"]


def test_a_session_is_like_itself(pages: Pages) -> None:
    """There is nothing to show."""
    assert pages.json("/compare", a="session-000", b="session-000", only=1)["rows"] == []
    assert "No differences" in pages.get("/compare", a="session-000", b="session-000", only=1).text


def test_one_session_is_offered_others(pages: Pages) -> None:
    """Of the same agent."""
    found = pages.json("/compare", a="session-000")["suggestions"]
    assert found
    assert {row["agent"]["key"] for row in found} == {"support-triage"}
    assert pages.get("/compare", a="session-000", b="nothing").status_code == 404


def test_changed_messages_stand_side_by_side() -> None:
    """With the words that differ."""
    rows = compare.align(
        [entry("user", "Hello big world"), entry("assistant", "Yes")],
        [entry("user", "Hello small world"), entry("assistant", "Yes"), entry("tool", "x()")],
    )
    assert [row.kind for row in rows] == ["changed", "same", "right"]
    assert rows[0].left is not None
    assert [piece.text for piece in rows[0].left.pieces if piece.differs] == ["big"]


_ENTRIES = st.lists(
    st.builds(entry, st.sampled_from(["user", "assistant", "tool"]), st.text(max_size=8)),
    max_size=8,
)


@given(_ENTRIES, _ENTRIES)
def test_alignment_loses_nothing(left: list[Entry], right: list[Entry]) -> None:
    """Each side is there whole and in order, and its pieces are its text."""
    rows = compare.align(left, right)
    assert [row.left.text for row in rows if row.left] == [each.text for each in left]
    assert [row.right.text for row in rows if row.right] == [each.text for each in right]
    for row in rows:
        for side in (row.left, row.right):
            if side is not None and row.kind == "changed":
                assert "".join(piece.text for piece in side.pieces) == side.text
