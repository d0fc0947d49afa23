"""Pages of lists: each row once, whatever is sorted by, and cursors that anybody may forge."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from pathlib import Path

import factory
import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.queries import paging, sessions
from perimeter_plugin_live_trace.queries.paging import Place, cursor, read_cursor
from perimeter_plugin_live_trace.queries.sessions import SORTS, Filter
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Session
from perimeter_plugin_live_trace.web.page import Params


NOW_US = int(factory.NOW * 1e6)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return factory.build(tmp_path_factory.mktemp("paging") / "small.db").reader()


def walk(reader: Reader, sort: str, size: int, *, back: bool = False) -> list[int]:
    """Return the ids of all pages, from the first to the last or the other way round."""
    kinds = [int] * len(SORTS[sort.removeprefix("-")])
    at: Place | None = None
    found: list[list[int]] = []
    while True:
        page = sessions.sessions_page(reader, Filter(), sort, at, size, now_us=NOW_US)
        found.append([row.id for row in page.rows])
        text = page.prev if back and at is not None else page.next
        if back and at is None:  # begin at the end
            last = sessions.sessions_page(reader, Filter(), sort, None, 1000, now_us=NOW_US).rows[
                -1
            ]
            keys = [getattr(last, key.column_name) for key in SORTS[sort.removeprefix("-")]]
            at, found = Place(tuple(keys), back=True), [[last.id]]
            continue
        if not text:
            return [each for rows in (reversed(found) if back else found) for each in rows]
        values = read_cursor(text, kinds)
        assert values is not None
        at = Place(values, back)


@pytest.mark.parametrize("sort", [mark + name for name in SORTS for mark in ("-", "")])
@pytest.mark.parametrize("size", [1, 7, 50])
def test_all_pages_have_every_row_once(reader: Reader, sort: str, size: int) -> None:
    """Also where many rows have the same value, and in the same order as without pages."""
    everything = walk(reader, sort, 1000)
    assert walk(reader, sort, size) == everything
    assert (
        len(set(everything))
        == len(everything)
        == reader.value(Session.select(peewee.fn.COUNT(Session.id)))
    )


def test_the_way_back_has_the_same_rows(reader: Reader) -> None:
    """The pages before, down to a first one that is full."""
    everything = walk(reader, "-errors", 1000)
    assert walk(reader, "-errors", 7, back=True)[-len(everything) + 3 :] == everything[3:]


def test_rows_that_come_and_change_meanwhile(tmp_path: Path) -> None:
    """What was not touched is seen once, whatever else happens while somebody turns pages."""
    database = factory.build(tmp_path / "a.db")
    reader = database.reader()
    seen: list[int] = []
    at: Place | None = None
    import sqlite3

    writer = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    for step in range(100):
        page = sessions.sessions_page(reader, Filter(), "-last", at, 9, now_us=NOW_US)
        seen += [row.id for row in page.rows]
        if not page.next:
            break
        values = read_cursor(page.next, [int, int])
        assert values is not None
        at = Place(values)
        writer.execute("UPDATE sessions SET last_us = ? WHERE id = ?", (NOW_US + step, seen[step]))
    writer.close()
    assert sorted(seen) == sorted(set(seen))
    assert len(seen) == 50


@given(st.lists(st.integers(-(2**53), 2**53) | st.text(max_size=20), min_size=1, max_size=4))
def test_cursors_are_read_as_written(values: list[int | str]) -> None:
    """A cursor is the place that it was made of."""
    assert read_cursor(cursor(values), [type(each) for each in values]) == tuple(values)


@given(st.text() | st.binary().map(lambda data: urlsafe_b64encode(data).decode()))
def test_forged_cursors_are_none(text: str) -> None:
    """Whatever somebody writes is read as a place of the right columns, or as none."""
    found = read_cursor(text, [int, int])
    assert found is None or all(isinstance(each, int) for each in found)


@pytest.mark.parametrize(
    "text", ["x", "W10", cursor([1]), cursor(["a", 1]), cursor([2**63, 1]), cursor([1, 2, 3])]
)
def test_a_forged_cursor_shows_the_first_page(text: str) -> None:
    """And the page says so."""
    params = Params([("after", text)])
    assert paging.place(params, [int, int]) is None
    assert "after" in params.problems[0]


def test_counts_are_capped(reader: Reader) -> None:
    """Counting ends somewhere."""
    query = Session.select()
    assert paging.capped_count(reader, query).text == "50"
    assert paging.capped_count(reader, query, 10).text == "10+"
    assert paging.capped_count(reader, query.where(Session.id < 0)).number == 0
