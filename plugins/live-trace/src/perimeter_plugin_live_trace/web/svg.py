"""
Charts as pure functions: numbers in, coordinates and paths out; templates write them down.

`line_chart`, `bar_chart` and `stacked` return a `Chart` for `ui.chart(...)`, `spark` the little
line of `ui.spark(...)`. Every one says what it shows in a sentence, and as a table, for those who
can't look. A value that is None is a gap: nothing is known of that time. The last bucket may be
`open`: its time is not over yet, so it is hatched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs

from perimeter_plugin_live_trace.web.charts import (
    BOTTOM,
    TOP,
    Bar,
    Buckets,
    Chart,
    Column,
    Legend,
    Line,
    Series,
)
from perimeter_plugin_live_trace.web.formats import si
from perimeter_plugin_live_trace.web.scales import time_ticks, top_of, value_ticks


MOST_SERIES = 5
"""Colours there are; further series are added up as "other"."""


def bar_chart(
    title: str,
    series: Sequence[Series],
    buckets: Buckets,
    *,
    write: Callable[[float | None], str] = si,
    total: bool = True,
) -> Chart:
    """
    Return bars, the series on top of each other.

    Args:
        title: What it shows, with the unit.
        series: What each bar is made of, from below.
        buckets: Their times.
        write: How values are written.
        total: Whether the legend and the summary say sums; else the highest values.
    """
    series = limited(series)
    sums = [
        added(one.values[i] for one in series if i < len(one.values)) for i in range(buckets.count)
    ]
    top = top_of(max((value for value in sums if value), default=0), least=_least(series, write))
    bars = [bar for i in range(buckets.count) for bar in _bars(series, buckets, top, i)]
    chart = _frame(title, series, buckets, top, write)
    measure = added if total else _highest
    told = [measure(one.values) for one in series]
    return attrs.evolve(
        chart,
        bars=bars,
        empty=not any(sums),
        legend=[_entry(one, i, write(told[i])) for i, one in enumerate(series)],
        summary=_summary(title, series, write, told, "in total" if total else "at most"),
    )


stacked = bar_chart
"""Bars of several series are always stacked."""


def line_chart(
    title: str,
    series: Sequence[Series],
    buckets: Buckets,
    *,
    write: Callable[[float | None], str] = si,
    area: bool = False,
    wholes: Sequence[float | None] = (),
) -> Chart:
    """
    Return lines with gaps where nothing is known, each with its last value or that of all.

    Args:
        title: What it shows, with the unit.
        series: The lines.
        buckets: Their times.
        write: How values are written.
        area: Whether the first one is filled.
        wholes: What each line is over all buckets, where that is told instead of its last value.
    """
    series = list(series)[:MOST_SERIES]
    highest = max((value for one in series for value in one.values if value), default=0)
    top = top_of(highest, least=_least(series, write))
    lines = [_line(one, i, buckets, top, area and i == 0) for i, one in enumerate(series)]
    told = wholes or [_last(one.values) for one in series]
    return attrs.evolve(
        _frame(title, series, buckets, top, write),
        lines=lines,
        empty=not any(line.path or line.dots for line in lines),
        legend=[_entry(one, i, write(told[i])) for i, one in enumerate(series)],
        summary=_summary(title, series, write, told, "over all" if wholes else "at last"),
    )


def limited(series: Sequence[Series]) -> list[Series]:
    """Return as many series as there are colours; the last ones added up as "other"."""
    if len(series) <= MOST_SERIES:
        return list(series)
    first, rest = list(series[: MOST_SERIES - 1]), series[MOST_SERIES - 1 :]
    length = max(len(one.values) for one in rest)
    values = [added(one.values[i] for one in rest if i < len(one.values)) for i in range(length)]
    return [*first, Series("other", values, "muted")]


def _bars(series: Sequence[Series], buckets: Buckets, top: float, i: int) -> Iterable[Bar]:
    step = 100 / buckets.count
    x, width = round(step * (i + 0.1), 3), round(step * 0.8, 3)
    is_open = buckets.open and i == buckets.count - 1
    base = 0.0
    for number, one in enumerate(series):
        value = one.values[i] if i < len(one.values) else None
        if value and value > 0:
            low, high = _y(base, top), _y(base + value, top)
            height = round(max(low - high, 1), 1)  # what is there can be seen
            yield Bar(x, round(low - height, 1), width, height, _tone(one, number), is_open)
            base += value


def _tone(one: Series, number: int) -> str:
    return one.tone or f"s{number + 1}"


def _line(one: Series, number: int, buckets: Buckets, top: float, filled: bool) -> Line:
    step = 1000 / max(buckets.count, 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(one.values[: buckets.count]):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((round((i + 0.5) * step, 1), round(_y(value, top), 1)))
    drawn = [run for run in runs if len(run) > 1]
    area = [f"{_path(run)}L{run[-1][0]:g} {BOTTOM}L{run[0][0]:g} {BOTTOM}Z" for run in drawn]
    return Line(
        "".join(map(_path, drawn)),
        "".join(area) if filled else "",
        _tone(one, number),
        one.name,
        [(run[0][0] / 10, run[0][1]) for run in runs if len(run) == 1],
    )


def _frame(
    title: str,
    series: Sequence[Series],
    buckets: Buckets,
    top: float,
    write: Callable[[float | None], str],
) -> Chart:
    ys = value_ticks(top, BOTTOM - TOP, write, least=_least(series, write))
    rows = [
        [
            label,
            *(write(one.values[i] if i < len(one.values) else None) for one in series),
        ]
        for i, label in enumerate(buckets.labels)
    ]
    return Chart(
        title,
        "",
        columns=_columns(series, buckets, rows),
        xs=time_ticks(buckets.from_us, buckets.to_us, 100, buckets.zone),
        ys=[attrs.evolve(tick, at=round(tick.at + TOP, 1)) for tick in ys],
        head=["Time", *(one.name for one in series)],
        table=rows,
    )


def _least(series: Sequence[Series], write: Callable[[float | None], str]) -> float:
    """Return 1 where things are counted, of which there is no half; else 0."""
    counted = all(isinstance(value, int | None) for one in series for value in one.values)
    return 1.0 if counted and write is si else 0.0


def _columns(
    series: Sequence[Series], buckets: Buckets, rows: Sequence[Sequence[str]]
) -> list[Column]:
    step = 100 / max(buckets.count, 1)
    found = []
    for i, row in enumerate(rows):
        told = ", ".join(f"{one.name} {value}" for one, value in zip(series, row[1:], strict=False))
        state = " (not over yet)" if buckets.open and i == buckets.count - 1 else ""
        href = buckets.hrefs[i] if i < len(buckets.hrefs) else ""
        found.append(Column(round(i * step, 3), round(step, 3), href, f"{row[0]}: {told}{state}"))
    return found


def _summary(
    title: str,
    series: Sequence[Series],
    write: Callable[[float | None], str],
    values: Sequence[float | None],
    how: str,
) -> str:
    told = ", ".join(
        f"{one.name} {write(value)}" for one, value in zip(series, values, strict=True)
    )
    return f"{title}: {told} {how}." if told else f"{title}: nothing."


def _entry(one: Series, number: int, value: str) -> Legend:
    return Legend(one.name, _tone(one, number), value)


def _y(value: float, top: float) -> float:
    return BOTTOM - value / top * (BOTTOM - TOP)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def added(values: Iterable[float | None]) -> float | None:
    """Return the sum of the values that are known, None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


@attrs.frozen
class Spark:
    """A line without axes: the path of the line and of the area below it."""

    path: str
    area: str


def spark(values: Sequence[float | None], width: int = 96, height: int = 24) -> Spark:
    """Return a small line; None is a gap."""
    top = max((value for value in values if value), default=0) or 1
    step = width / max(len(values) - 1, 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            y = height - 1.5 - min(max(value / top, 0), 1) * (height - 3)
            runs[-1].append((round(i * step, 1), round(y, 1)))
    drawn = [run for run in runs if len(run) > 1]
    area = [f"{_path(run)}L{run[-1][0]:g} {height}L{run[0][0]:g} {height}Z" for run in drawn]
    return Spark("".join(map(_path, drawn)), "".join(area))


__all__ = ["Bar", "Buckets", "Chart", "Series", "bar_chart", "line_chart", "spark", "stacked"]
