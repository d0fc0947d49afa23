"""How SQLite runs the queries of lists: along an index, never through a whole table."""

from __future__ import annotations

from typing import Any

import factory
import peewee
import pytest

from perimeter_plugin_live_trace.queries import events, sessions, timeline
from perimeter_plugin_live_trace.queries.language import parse
from perimeter_plugin_live_trace.queries.paging import Place, ordered
from perimeter_plugin_live_trace.queries.sessions import SORTS, Filter
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Event, Session


NOW_US = int(factory.NOW * 1e6)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return factory.build(tmp_path_factory.mktemp("plans") / "small.db").reader()


def plan(reader: Reader, query: Any) -> list[str]:
    """Return the steps that SQLite takes for a query."""
    text, params = peewee.SqliteDatabase(None).get_sql_context().sql(query).query()
    return [row[3] for row in reader.sql(f"EXPLAIN QUERY PLAN {text}", params)]


def check(steps: list[str], *, sorts: bool = False) -> None:
    """Fail where a whole table is read, or where rows are sorted that an index could sort."""
    for step in steps:
        scanned = step.startswith("SCAN") and "USING" not in step and "VIRTUAL" not in step
        assert not scanned, steps
        assert sorts or "TEMP B-TREE" not in step, steps


PLACES = [None, Place((NOW_US, 7)), Place((NOW_US, 7), back=True)]
FILTERS = [
    Filter(),
    Filter(from_us=NOW_US - 10**9),
    Filter(from_us=1, to_us=NOW_US),
    Filter(agent="support-triage"),
    Filter(agent="support-triage", from_us=NOW_US - 10**9),
    Filter(status="error"),
    Filter(status="stalled"),
    Filter(status="active"),
    Filter(sev=3),
]


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize("wanted", FILTERS)
def test_the_list_of_sessions(reader: Reader, wanted: Filter, at: Place | None) -> None:
    """Its usual order comes from an index, whatever the selects are set to."""
    query = sessions.filtered(reader, wanted, NOW_US)
    check(plan(reader, ordered(query, SORTS["last"], at, down=True)))


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("down", [True, False])
def test_every_order_is_an_index(reader: Reader, sort: str, down: bool) -> None:
    """All columns that can be sorted by."""
    keys = SORTS[sort]
    for at in (None, Place(tuple(range(len(keys))))):
        query = sessions.filtered(reader, Filter(from_us=5), NOW_US)
        check(plan(reader, ordered(query, keys, at, down=down)))


@pytest.mark.parametrize(
    "text",
    [
        "histogram",
        '"in time" -nothing',
        "東京",
        "tool:web_search",
        "model:gpt-4.1",
        "tag:team=blue",
        "owasp:LLM01",
        "has:pii",
        "id:session-000",
        "cost:>0.1 tokens:>1k",
        "status:stalled",
        "-agent:planner",
    ],
)
def test_queries_of_the_language(reader: Reader, text: str) -> None:
    """Rows that words or tags find may be sorted, since they are few; no table is read whole."""
    query = sessions.filtered(reader, Filter(query=parse(text)), NOW_US)
    check(plan(reader, ordered(query, SORTS["last"], None, down=True)), sorts=True)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"kind": "llm.call.error"}, {"from_us": 5}, {"kind": "tool.result", "from_us": 5}],
)
def test_the_tail_of_events(reader: Reader, arguments: dict[str, Any]) -> None:
    """Also one kind alone, which may be rare."""
    query = events.tail_query(reader, **arguments)
    for at in (None, Place((300,)), Place((3,), back=True)):
        steps = plan(reader, ordered(query, (Event.id,), at, down=True))
        # Along the ids is the table itself, in order: no more than a page of it is read.
        check([step for step in steps if step != "SCAN t1"])


@pytest.mark.parametrize("show", timeline.SHOWS)
def test_parts_of_a_session(reader: Reader, show: str) -> None:
    """A page of its timeline, its calls."""
    row = reader.one(Session.select().limit(1))
    check(plan(reader, ordered(timeline._query(row, show), (Event.seq,), Place((5,)), down=False)))
    calls = Call.select().where((Call.session_id == row.id) & Call.number.between(1, 50))
    check(plan(reader, calls.order_by(Call.number)))
