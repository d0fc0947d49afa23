"""
What charts are made of, ready to be written down by `parts/chart.html`.

Across, places are percent of the drawing's width, so that it stretches and its letters do not; from
top to bottom they are pixels. Paths of lines count a tenth of a percent as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, tzinfo
from functools import cached_property

import attrs
from markupsafe import Markup

from perimeter_plugin_live_trace.web.scales import Tick, time_label


HEIGHT = 160
"""Pixels of a drawing."""
BOTTOM = 140
"""Where 0 is: below it is room for the times."""
TOP = 10
"""Where the highest tick is: above it is room for half a letter."""
_DAY_US = 86_400_000_000


@attrs.frozen
class Series:
    """
    A row of values.

    Attributes:
        name: What they are.
        values: One per bucket; None where nothing is known.
        tone: A colour such as `critical`, or "" for the next colour of the palette.
    """

    name: str
    values: Sequence[float | None]
    tone: str = ""


@attrs.frozen
class Buckets:
    """
    The spans of time that values belong to.

    Attributes:
        from_us: Where the first one starts.
        step_us: How long each is.
        count: How many there are.
        hrefs: Where a click on each leads; empty for nowhere.
        open: Whether the last one is not over yet.
        zone: The zone that times are written in.
    """

    from_us: int
    step_us: int
    count: int
    hrefs: Sequence[str] = ()
    open: bool = False
    zone: tzinfo = UTC

    @property
    def to_us(self) -> int:
        """Where the last one ends."""
        return self.from_us + self.step_us * self.count

    @cached_property
    def labels(self) -> list[str]:
        """The times of the buckets for people."""
        return [self._label(i) for i in range(self.count)]

    def _label(self, i: int) -> str:
        us = self.from_us + i * self.step_us
        time = time_label(us, min(self.step_us, _DAY_US - 1), self.zone)
        if self.step_us * self.count <= _DAY_US:
            return time
        day = time_label(us, _DAY_US, self.zone)
        return day if self.step_us >= _DAY_US else f"{day} {time}"


@attrs.frozen
class Bar:
    """A part of a bar: a rectangle and its colour; `open` is hatched."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    open: bool = False

    @property
    def place(self) -> Markup:
        """Its attributes: a page has hundreds of bars, and to escape numbers takes a while."""
        across = f'x="{self.x}%" y="{self.y}" width="{self.width}%" height="{self.height}"'
        return Markup(across)  # noqa: S704 - numbers only


@attrs.frozen
class Line:
    """A line: its path with gaps, the area below it, its colour, and single points."""

    path: str
    area: str
    tone: str
    name: str
    dots: Sequence[tuple[float, float]] = ()


@attrs.frozen
class Column:
    """All of one bucket: where it is, where a click leads, and what a reader is told of it."""

    x: float
    width: float
    href: str
    title: str

    @property
    def place(self) -> Markup:
        """Its attributes, see `Bar.place`."""
        return Markup(f'x="{self.x}%" width="{self.width}%"')  # noqa: S704 - numbers only


@attrs.frozen
class Legend:
    """An entry of the legend: the last or the total value beside its name."""

    name: str
    tone: str
    value: str


@attrs.frozen
class Chart:
    """
    A chart, ready to be written down.

    Attributes:
        title: What it shows, with the unit.
        summary: The same as a sentence, with the most important numbers.
        bars: Rectangles.
        lines: Lines.
        columns: Buckets that can be clicked or looked at.
        xs: Ticks of time.
        ys: Ticks of values.
        legend: The series.
        head: Head of the table of the same numbers.
        table: Its rows.
        empty: Whether there is nothing to draw.
        height: Pixels of the drawing.
        bottom: Where 0 is.
    """

    title: str
    summary: str
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()
    columns: Sequence[Column] = ()
    xs: Sequence[Tick] = ()
    ys: Sequence[Tick] = ()
    legend: Sequence[Legend] = ()
    head: Sequence[str] = ()
    table: Sequence[Sequence[str]] = ()
    empty: bool = False
    height: int = HEIGHT
    bottom: int = BOTTOM
