"""Charts: scales for people, gaps that stay gaps, and numbers for those who can't look."""

from __future__ import annotations

import math
import re
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.web.charts import BOTTOM, TOP
from perimeter_plugin_live_trace.web.formats import si, usd
from perimeter_plugin_live_trace.web.scales import nice_step, time_ticks, top_of, value_ticks
from perimeter_plugin_live_trace.web.svg import (
    Buckets,
    Series,
    bar_chart,
    limited,
    line_chart,
    spark,
)


HOUR = 3_600_000_000
values = st.lists(
    st.none() | st.floats(0, 1e12, allow_nan=False) | st.integers(0, 10**9), min_size=1, max_size=60
)


def buckets(count: int, **more: object) -> Buckets:
    return Buckets(0, HOUR, count, **more)  # type: ignore[arg-type]


@given(st.floats(1e-9, 1e15), st.integers(1, 10))
def test_steps_are_round_and_few(span: float, most: int) -> None:
    """1, 2, 2.5 or 5 times a power of ten."""
    step = nice_step(span, most)
    assert span / step <= most * (1 + 1e-6)
    digits = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert any(math.isclose(digits, factor) for factor in (1, 2, 2.5, 5, 10))


@given(st.floats(0, 1e15))
def test_an_axis_ends_above_everything(highest: float) -> None:
    """And its first tick is 0."""
    top = top_of(highest)
    assert top >= highest * (1 - 1e-9)
    ticks = value_ticks(top, 100, si)
    assert math.isclose(ticks[0].at, 100)
    assert math.isclose(ticks[-1].at, 0, abs_tol=1e-6)


def test_labels_have_no_needless_zeros() -> None:
    """$0.2 and not $0.2000."""
    assert [tick.label for tick in value_ticks(0.6e9, 100, usd)] == ["$0", "$0.2", "$0.4", "$0.6"]


def test_what_is_counted_has_whole_ticks() -> None:
    """There is no half call."""
    for highest in (1, 2, 3, 5, 9, 10, 11):
        chart = bar_chart("Calls", [Series("a", [highest])], buckets(1))
        assert not [tick.label for tick in chart.ys if "." in tick.label]


@given(st.integers(0, 2 * 10**15), st.integers(1, 10**14), st.sampled_from(["UTC", "Asia/Tokyo"]))
def test_times_are_round_and_inside(start: int, span: int, zone: str) -> None:
    """At most a few, in order, between the ends."""
    ticks = time_ticks(start, start + span, 100, ZoneInfo(zone))
    places = [tick.at for tick in ticks]
    assert places == sorted(places)
    assert all(0 <= at <= 100 for at in places)
    assert len(ticks) <= 24


def test_days_begin_where_the_reader_is() -> None:
    """Midnight of a zone, not of UTC."""
    ticks = time_ticks(0, 24 * HOUR, 24, ZoneInfo("Asia/Tokyo"))
    assert (ticks[0].at, ticks[0].label) == (0, "09:00") or ticks[0].label.endswith(":00")
    assert [tick.label for tick in time_ticks(0, 24 * HOUR, 24, UTC)][:2] == ["00:00", "06:00"]


@given(st.lists(values, min_size=1, max_size=8), st.booleans())
def test_bars_stay_inside(rows: list[list[float | None]], is_open: bool) -> None:
    """None is higher than the chart or beside it; a bucket of which nothing is known has none."""
    count = max(map(len, rows))
    series = [Series(f"s{i}", row) for i, row in enumerate(rows)]
    chart = bar_chart("Calls", series, buckets(count, open=is_open))
    for bar in chart.bars:
        assert 0 <= bar.x <= bar.x + bar.width <= 100.001
        assert TOP - len(rows) - 1 <= bar.y <= bar.y + bar.height <= BOTTOM + 0.2
        assert bar.height >= 1
    assert len(chart.columns) == len(chart.table) == count
    assert len(chart.legend) <= 5
    assert all(len(row) == len(chart.head) for row in chart.table)
    assert chart.empty == (not chart.bars)
    assert chart.summary.startswith("Calls: ")


@given(values)
def test_lines_have_gaps_where_nothing_is_known(row: list[float | None]) -> None:
    """A run of values is a piece of the path, a single one a dot."""
    line = line_chart("Latency", [Series("p95", row)], buckets(len(row)), area=True).lines[0]
    runs = re.findall("x+", "".join("-" if value is None else "x" for value in row))
    assert line.path.count("M") == len([run for run in runs if len(run) > 1])
    assert len(line.dots) == len([run for run in runs if len(run) == 1])
    assert line.area.count("Z") == line.path.count("M")
    assert "nan" not in line.path


@given(values)
def test_small_lines_stay_inside(row: list[float | None]) -> None:
    """A little line never leaves its box."""
    drawn = spark(row, 96, 24)
    for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn.path):
        assert 0 <= float(x) <= 96.05
        assert 0 <= float(y) <= 24


def test_nothing_is_nothing() -> None:
    """No values, no drawing."""
    assert spark([]).path == ""
    chart = bar_chart("Calls", [Series("a", [None, 0])], buckets(2))
    assert chart.empty
    assert line_chart("Calls", [Series("a", [None])], buckets(1)).empty


def test_the_running_bucket_is_marked() -> None:
    """Its time is not over: it is hatched, and says so."""
    chart = bar_chart("Calls", [Series("a", [1, 2])], buckets(2, open=True))
    assert [bar.open for bar in chart.bars] == [False, True]
    assert chart.columns[-1].title.endswith("(not over yet)")


def test_every_bucket_may_lead_somewhere() -> None:
    """Links are given per bucket; those that are missing lead nowhere."""
    chart = bar_chart("Calls", [Series("a", [1, 2])], buckets(2, hrefs=["/sessions?from=1"]))
    assert [column.href for column in chart.columns] == ["/sessions?from=1", ""]


def test_too_many_series_are_added_up() -> None:
    """Five colours can be told apart; the rest is "other"."""
    kept = limited([Series(str(i), [i, None]) for i in range(9)])
    assert [one.name for one in kept] == ["0", "1", "2", "3", "other"]
    assert list(kept[-1].values) == [4 + 5 + 6 + 7 + 8, None]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_none_do_no_harm(value: float) -> None:
    """An axis still ends somewhere."""
    assert top_of(value) == 1.0
    assert nice_step(value, 4) == 1.0
