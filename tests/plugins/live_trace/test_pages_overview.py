"""The figures of the overview, the agents, models and tools against what the events say."""

from __future__ import annotations

import itertools
import re
import sqlite3
import statistics

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.queries import attention, latencies
from perimeter_plugin_live_trace.queries.overview import course, figures, span_for
from perimeter_plugin_live_trace.queries.rollups import Of, total
from perimeter_plugin_live_trace.queries.spans import DAY, HOUR, MINUTE, pieces, span_of
from perimeter_plugin_live_trace.store import Histogram
from perimeter_plugin_live_trace.web.formats import NOTHING


TABLES = ("rollups", "rollups_of_all")
RANGES = ("1h", "24h", "7d", "30d", "all")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    path = tmp_path_factory.mktemp("overview") / "a.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


def ended(pages, start, end):
    """Return what the events say of the calls that ended in a span of time."""
    return pages.reader.sql(
        "SELECT count(*), coalesce(sum(status = 'error'), 0), coalesce(sum(tok_in), 0),"
        " coalesce(sum(tok_out), 0), coalesce(sum(tok_cached), 0), coalesce(sum(cost_nano), 0)"
        " FROM events WHERE kind IN ('llm.call.finish', 'llm.call.error')"
        " AND ts_us >= ? AND ts_us < ?",
        (start, end),
    )[0]


@pytest.mark.parametrize("name", RANGES)
def test_figures_are_sums_of_events(pages, name):
    """Calls, errors, tokens and costs of a span are those of its events, whatever the buckets."""
    lengths = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "all": 0}
    start = pages.now_us - lengths[name] if lengths[name] else 0
    span = span_for(pages.reader, start, pages.now_us, pages.now_us)
    found = course(pages.reader, span, Of("llm"))
    rows, whole = found.buckets, found.figures
    expected = ended(pages, span.from_us, span.to_us)
    names = ("calls", "errors", "tok_in", "tok_out", "tok_cached", "cost_nano")
    assert tuple(getattr(whole, each) for each in names) == expected
    for i, each in enumerate(names):
        assert sum(getattr(row, each) for row in rows) == expected[i]
    assert expected[0], "the factory made nothing for this span"
    if name == "all":
        assert expected == ended(pages, 0, pages.now_us + DAY)


def test_each_bucket(pages):
    """Each bar of a chart counts what ended in its time."""
    span = span_for(pages.reader, pages.now_us - DAY, pages.now_us, pages.now_us)
    rows = course(pages.reader, span, Of("llm")).buckets
    assert [row.calls for row in rows] == [
        ended(pages, at, at + span.step_us)[0] for at in span.starts
    ]


def test_span_before(pages):
    """The time before is as long as this one has come, to the minute."""
    span = span_for(pages.reader, pages.now_us - DAY, pages.now_us, pages.now_us)
    start, end = span.before()
    assert end - start == pages.now_us - span.from_us
    found = figures(pages.reader, start, end)
    expected = ended(pages, start // MINUTE * MINUTE, -(-end // MINUTE) * MINUTE)
    assert (found.calls, found.errors, found.cost_nano) == (expected[0], expected[1], expected[5])
    assert expected[0]


def test_latencies(pages):
    """Quantiles from histograms are within a bucket's width of the exact ones."""
    durations = sorted(
        row[0]
        for row in pages.reader.sql(
            "SELECT dur_us FROM events WHERE dur_us IS NOT NULL"
            " AND kind IN ('llm.call.finish', 'llm.call.error')"
        )
    )
    span = span_for(pages.reader, 0, pages.now_us, pages.now_us)
    found = latencies.latency(pages.reader, Of("llm"), span.from_us, span.to_us)
    assert len(found) == len(durations)
    assert found.quantile(0.5) == pytest.approx(statistics.median_high(durations), rel=0.15)


def test_merged_latencies_are_kept_and_renewed(pages):
    """A bucket's merged latencies are used again only as long as its calls stay the same."""
    span = span_for(pages.reader, 0, pages.now_us, pages.now_us)
    first = latencies.latency_series(pages.reader, Of("llm"), span)
    assert latencies.latency_series(pages.reader, Of("llm"), span) == first
    key = ("path", "h", 0, Of("llm"))
    latencies._merged.put(key, 3, first[0])
    assert latencies._merged.get(key, 3) is first[0]
    assert latencies._merged.get(key, 4) is None


def test_agents_models_tools_add_up(pages):
    """What agents, models and tools are said to have done adds up to the whole."""
    whole = pages.json("/overview")["figures"]
    agents = pages.json("/agents")["rows"]
    unnamed = total(pages.reader, Of("llm", 0), 0, pages.now_us + DAY)
    assert sum(row["calls"] for row in agents) + unnamed.calls == whole["calls"]
    models = pages.json("/models")["table"]
    assert sum(row["cost_nano"] for row in models["rows"]) == whole["cost_nano"]
    uses = pages.reader.sql("SELECT count(*) FROM events WHERE kind = 'tool.execution'")[0][0]
    tools = pages.json("/tools")["table"]
    assert tools["whole"]["calls"] == sum(row["calls"] for row in tools["rows"])
    assert 0 < tools["whole"]["calls"] <= uses


def test_one_agent(pages):
    """With an agent chosen, all figures are of that agent."""
    row = pages.json("/agents")["rows"][0]
    view = pages.json("/overview", agent=row["agent"]["key"])
    assert view["figures"]["calls"] == row["calls"]
    assert view["figures"]["cost_nano"] == row["cost_nano"]
    told = pages.get("/overview", agent="nobody").text
    assert "There is no agent “nobody”" in told


def test_sorting_of_models(pages):
    """Tables can be sorted by any of their figures, both ways."""
    for key, name in (("cost", "cost_nano"), ("calls", "calls"), ("p95", "p95_us")):
        rows = pages.json("/models", sort=f"-{key}")["table"]["rows"]
        values = [row[name] or 0 for row in rows]
        assert values == sorted(values, reverse=True)
        assert [
            row[name] or 0 for row in pages.json("/models", sort=key)["table"]["rows"]
        ] == sorted(values)


@pytest.mark.parametrize("sort", ["-last", "last", "-cost", "name", "-sessions"])
def test_agents_page_by_page(pages, sort):
    """All pages of the agents together are all agents, each once."""
    pages.client.cookies.set("lt_prefs", "page_size=25")
    every = [row["agent"]["key"] for row in pages.json("/agents", sort=sort)["rows"]]
    assert len(every) == len(set(every)) == pages.json("/agents")["all"]


def test_attention_finds_loops_and_errors(pages):
    """A tool that is called over and over with the same arguments needs attention."""
    span = span_for(pages.reader, 0, pages.now_us, pages.now_us)
    items = attention.attention(pages.reader, span)
    assert len(items) <= attention.MOST
    assert [item.rank for item in items] == sorted((item.rank for item in items), reverse=True)
    assert {item.kind for item in items} >= {"finding"}


def test_attention_to_loops(tmp_path):
    """The same arguments over and over in one session are a loop; different ones are none."""
    factory.build(tmp_path / "a.db")
    pages = Pages(tmp_path / "a.db")
    try:
        session = pages.reader.sql("SELECT id FROM sessions ORDER BY id LIMIT 2")
        for (row,), same in zip(session, (True, False), strict=True):
            for number in range(attention.LOOP):
                preview = '{"q": "again"}' if same else f'{{"q": "{number}"}}'
                values = (row, pages.now_us - 1000 + number, "search_again", preview)
                pages.changes.change(
                    lambda work, values=values: work.sql(
                        "INSERT INTO events (session_id, ts_us, kind, name, preview, seq, span,"
                        " parent_span, status, finish, size)"
                        " VALUES (?, ?, 'tool.execution', ?, ?, 0, '', '', 'ok', '', 9)",
                        values,
                    )
                )
        loops = [each for each in pages.json("/overview")["attention"] if each["kind"] == "loop"]
        assert len([each for each in loops if each["title"].startswith("search_again")]) == 1
    finally:
        pages.close()


@pytest.mark.parametrize("length", [MINUTE, HOUR, 5 * HOUR, DAY, 6 * DAY, 40 * DAY, 400 * DAY])
@pytest.mark.parametrize("offset", [0, 1, 59 * MINUTE, 23 * HOUR + 7 * MINUTE])
def test_pieces_cover_a_span_once(length, offset):
    """The parts that a time is cut into follow each other without a gap, in whole rollups."""
    start = 1_000 * DAY + offset
    parts = list(pieces(start, start + length))
    assert parts[0][1] == start // MINUTE * MINUTE
    assert parts[-1][2] == -(-(start + length) // MINUTE) * MINUTE
    assert all(before[2] == after[1] for before, after in itertools.pairwise(parts))
    widths = {"m": MINUTE, "h": HOUR, "d": DAY}
    assert all(first % widths[size] == last % widths[size] == 0 for size, first, last in parts)


@pytest.mark.parametrize("length", [1, HOUR, 2 * HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY])
def test_spans_have_few_buckets(length):
    """However long a span is, a chart has some bars and not too many, the last one with now."""
    end = 20_000 * DAY + 13 * HOUR + 7 * MINUTE
    span = span_of(end - length, end, end)
    assert 1 <= len(span.starts) <= 61
    assert span.from_us <= end <= span.to_us
    assert span.from_us % span.step_us == 0


@pytest.fixture
def changed(tmp_path):
    """A dashboard of which the rollups were changed by some statements."""

    def open_(*statements):
        path = tmp_path / "a.db"
        factory.build(path)
        with sqlite3.connect(path) as db:
            for table, (statement, *params) in itertools.product(TABLES, statements):
                db.execute(statement.format(table=table), params)
        db.close()
        made.append(Pages(path))
        return made[0]

    made = []
    yield open_
    for each in made:
        each.close()


@pytest.mark.parametrize("path", ["/overview", "/agents/support-triage"])
def test_one_latency_for_card_and_legend(changed, path):
    """The card of the p95 and the legend of its chart tell of the same time, not of its end."""
    slow = Histogram()
    slow.add(60_000_000)
    last = "bucket_us = (SELECT max(bucket_us) FROM {table} AS o WHERE o.size = {table}.size)"
    pages = changed(("UPDATE {table} SET hist = ? WHERE " + last, slow.to_bytes()))
    text = pages.get(path).text
    card = re.search(r"Latency p95</span>\s*<span class=\"value\">([^<]+)", text)
    legend = re.search(r"</svg>p95 <b>([^<]+)", text)
    assert card[1] == legend[1] != NOTHING


@pytest.mark.parametrize("path", ["/overview", "/models", "/agents"])
def test_what_is_not_known_is_no_zero(changed, path):
    """A model or an agent of no known price has a dash for its cost."""
    text = changed(("UPDATE {table} SET cost_nano = 0",)).get(path).text
    assert "calls told no tokens" in text
    assert not re.search(r">\s*\$0\s*<", text)


def test_times_without_uses_are_gaps(pages):
    """The tables of charts of tools have a dash where none was used, 0 where none failed."""
    text = pages.get("/tools", range="all").text
    uses, errors = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL)[:2]
    table = pages.json("/tools", range="all")["table"]["rows"]
    idle = sum(not any(each) for each in zip(*(row["trend"] for row in table), strict=True))
    assert idle
    rows = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in uses.split("<tr>")[1:]]
    assert sum(set(row) == {NOTHING} for row in rows) == idle
    assert ">0<" in errors
