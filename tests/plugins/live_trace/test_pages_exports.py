"""Exports: the same rows as the lists, in every format, safe for spreadsheets, with flat memory."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.queries import exports
from perimeter_plugin_live_trace.store.models import Event


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "a.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


def rows(pages, name, form, **params):
    """Return an export's rows, read as what it says it is."""
    answer = pages.get(f"/export/{name}.{form}", **params)
    assert answer.status_code == 200, answer.text
    assert f"perimeter-{name}.{form}" in answer.headers["content-disposition"]
    if form == "csv":
        return list(csv.DictReader(io.StringIO(answer.text, newline="")))
    if form == "json":
        return answer.json()
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("form", ["jsonl", "csv", "json"])
@pytest.mark.parametrize(
    ("name", "table"), [("sessions", "sessions"), ("events", "events"), ("findings", "findings")]
)
def test_everything(pages, name, table, form):
    """An export without filters has every row, each once."""
    found = rows(pages, name, form)
    assert len(found) == pages.reader.sql(f"SELECT count(*) FROM {table}")[0][0] > 0
    key = "session" if name == "sessions" else "id"
    assert len({row[key] for row in found}) == len(found)


@pytest.mark.parametrize("name", ["sessions", "events", "findings"])
def test_formats_agree(pages, name):
    """All formats have the same rows in the same order."""
    text = [[exports.cell(value) for value in row.values()] for row in rows(pages, name, "jsonl")]
    assert [list(row.values()) for row in rows(pages, name, "csv")] == text
    assert rows(pages, name, "json") == rows(pages, name, "jsonl")


@pytest.mark.parametrize(
    "params",
    [
        {"status": "error"},
        {"agent": "planner"},
        {"q": "errors:>0"},
        {"sev": "high"},
        {"q": "nothing-like-it"},
    ],
)
def test_sessions_as_the_list_filters_them(pages, params):
    """The export of sessions has as many rows as the list with the same filters."""
    pages.client.cookies.set("lt_prefs", "page_size=200")
    listed = pages.json("/sessions", **params)["rows"]
    found = rows(pages, "sessions", "jsonl", **params)
    assert [row["session"] for row in found] == [row["public_id"] for row in listed]


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        ({"kind": "tool.execution"}, "kind = 'tool.execution'"),
        (
            {"session": "session-003"},
            "session_id = (SELECT id FROM sessions WHERE public_id = 'session-003')",
        ),
        ({"agent": "planner"}, "agent_id = (SELECT id FROM agents WHERE key = 'planner')"),
        ({"agent": "nobody"}, "0"),
    ],
)
def test_events_as_filtered(pages, params, condition):
    """The export of events has exactly those that its filters name."""
    count = pages.reader.sql(f"SELECT count(*) FROM events WHERE {condition}")[0][0]
    assert len(rows(pages, "events", "jsonl", **params)) == count


def test_span_of_time(pages):
    """A span of time leaves out what happened before and after it."""
    span = {"from": "2026-09-20T00:00Z", "to": "2026-09-21T00:00Z"}
    found = rows(pages, "events", "jsonl", **span)
    assert found
    assert all("2026-09-20T" in row["time"] for row in found)


def test_findings_as_filtered(pages):
    """The export of findings has those of the groups that the list shows."""
    groups = pages.json("/findings", owasp="LLM01")["rows"]
    found = rows(pages, "findings", "csv", owasp="LLM01")
    assert len(found) == sum(group["count"] for group in groups) > 0
    assert {row["owasp"] for row in found} == {"LLM01"}
    assert rows(pages, "findings", "csv", state="ignored") == []


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("sessions", {"status": "odd"}),
        ("sessions", {"q": "odd:1"}),
        ("events", {"range": "odd"}),
        ("findings", {"sev": "odd"}),
    ],
)
def test_a_filter_that_is_not_understood_exports_nothing(pages, name, params):
    """Without it there would be more in the file than was asked for."""
    answer = pages.get(f"/export/{name}.csv", **params)
    assert answer.status_code == 409
    assert "Nothing was exported" in answer.text


def test_attributes_on_demand(pages):
    """Events have their attributes only where they are asked for."""
    assert "attributes" not in rows(pages, "events", "jsonl", kind="tool.execution")[0]
    found = rows(pages, "events", "jsonl", kind="tool.execution", attributes="1")
    assert found[0]["attributes"]["tool.name"] == found[0]["name"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_formulas(start):
    """A cell that a spreadsheet would run gets an apostrophe; numbers stay what they are."""
    assert exports.cell(f"{start}1+1") == f"'{start}1+1"
    assert exports.cell(-5) == "-5"
    assert exports.cell("a=b") == "a=b"
    assert exports.cell(None) == ""


def test_hostile_cells(tmp_path):
    """No cell of a CSV of hostile data begins like a formula."""
    factory.build(tmp_path / "a.db", "hostile")
    hostile = Pages(tmp_path / "a.db")
    try:
        for name in ("sessions", "events", "findings"):
            for row in rows(hostile, name, "csv", state="all"):
                for value in row.values():
                    number = value.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
                    assert number or not value.startswith(("=", "+", "-", "@", "\t", "\r"))
    finally:
        hostile.close()


def test_times(pages):
    """Times are ISO 8601 in UTC; what no calendar has is left out."""
    assert exports.iso(1_790_000_000_123_456) == "2026-09-21T14:13:20.123Z"
    assert exports.iso(None) is None
    assert exports.iso(10**18) is None
    assert all(row["started"].endswith("Z") for row in rows(pages, "sessions", "jsonl"))


def test_walk_meets_each_row_once(pages, monkeypatch):
    """However long the steps, and however many rows share a key, each row comes once."""
    query = Event.select(Event.id, Event.ts_us)
    every = [
        row.id for row in pages.reader.rows(query.order_by(Event.ts_us.desc(), Event.id.desc()))
    ]
    for step in (1, 7, 1000):
        monkeypatch.setattr(exports, "STEP", step)
        batches = exports.walk(pages.reader.rows, Event.ts_us, Event.id, query)
        assert [row.id for batch in batches for row in batch] == every


def test_memory_stays_flat():
    """An export holds a batch at a time, not the whole file."""

    def batches():
        for start in range(0, 200_000, 1000):
            yield [{"n": number, "text": "x" * 100} for number in range(start, start + 1000)]

    tracemalloc.start()
    size = sum(len(piece) for piece in exports.written(batches(), "jsonl", ["n", "text"]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 20_000_000
    assert peak < 3_000_000
