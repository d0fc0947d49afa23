"""
The timeline of a session: what happened when, one row a call or tool, idle time shortened.

An agent waits for people longer than for models: on a true scale nothing could be told apart. So a
gap longer than `max(5 s, 3 * the median step)` is drawn as a short break that says how long it is;
a step is a call or a tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import msgspec
from peewee import OP, Expression

from perimeter_plugin_live_trace.queries.paging import Place, page
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Call, Event


ROWS = 200
"""On a page."""
WIDTH = 1000.0
"""Units of the axis."""
SHOWS = ("all", "llm", "tools", "errors", "findings", "slow")
LEAST_GAP_US = 5_000_000
MOST_ITEMS = 5_000
"""Of the map of a session."""
_BREAK = 24.0
_ENDS = ("llm.call.finish", "llm.call.error")
_TOOLS = ("tool.result",)
_SILENT = ("llm.call.start", "tool.execution")
"""Told by what they end with."""


class Bar(msgspec.Struct, frozen=True):
    """
    A row of the timeline.

    Attributes:
        lane: `llm`, `tool`, `finding` or `session`.
        start_us: When it began.
        x: Where its bar begins, of `WIDTH`.
        width: How long the bar is.
        gap_us: How long nothing happened before it, where that is drawn as a break, else 0.
    """

    id: int
    seq: int
    lane: str
    kind: str
    name: str
    preview: str
    start_us: int
    dur_us: int | None
    x: float
    width: float
    gap_us: int
    status: str
    tok_in: int | None
    tok_out: int | None
    cost_nano: int | None


class Break(msgspec.Struct, frozen=True):
    """A part of the axis that stands for idle time."""

    x: float
    width: float
    gap_us: int


class Timeline(msgspec.Struct, frozen=True):
    """A page of the timeline."""

    rows: list[Bar]
    breaks: list[Break]
    from_us: int
    to_us: int
    prev: str
    next: str
    show: str


class Minimap(msgspec.Struct, frozen=True):
    """
    All of a session, to be drawn in one go.

    Attributes:
        items: Start and length in ms after `from`, lane (0 calls, 1 tools, 2 the rest), 1 for an
            error and 2 for a finding, and `seq`.
        every: Of how many things one is in it.
    """

    from_: int = msgspec.field(name="from")
    to: int
    items: list[tuple[int, int, int, int, int]]
    every: int = 1


_COLUMNS = (Event.id, Event.seq, Event.ts_us, Event.kind, Event.name, Event.preview, Event.dur_us,
            Event.status, Event.tok_in, Event.tok_out, Event.cost_nano)  # fmt: skip


def timeline(
    reader: Reader,
    session: Any,
    show: str,
    at: Place | None,
    *,
    true_time: bool = False,
    size: int = ROWS,
) -> Timeline:
    """Return a page of the timeline; `show` is one of `SHOWS`."""
    found = page(reader, _query(session, show), (Event.seq,), at=at, size=size, down=False)
    spans = sorted((_start(row), row.ts_us, row) for row in found.rows)
    scale = Scale([(start, end) for start, end, _ in spans], true_time=true_time)
    bars, reached = [], None
    for start, end, row in spans:
        gap = 0 if reached is None or start - reached <= scale.longest else start - reached
        bars.append(_bar(row, start, scale, 0 if true_time else gap))
        reached = end if reached is None else max(reached, end)
    return Timeline(bars, scale.breaks, scale.first, scale.last, found.prev, found.next, show)


def _query(session: Any, show: str) -> Any:
    query = Event.select(*_COLUMNS).where(Event.session_id == session.id)
    if show == "llm":
        return query.where(Event.kind.in_(_ENDS))
    if show == "tools":
        return query.where(Event.kind.in_(_TOOLS))
    if show == "findings":
        return query.where(Event.kind == "security.finding")
    if show == "slow":
        return query.where(Event.kind.in_(_ENDS) & (Event.dur_us > session.p95_us))
    query = query.where(Event.kind.not_in(_SILENT))
    return query.where(Event.status == "error") if show == "errors" else query


def _start(row: Any) -> int:
    # The end of a session tells how long all of it was: that is no span of its own.
    long = row.dur_us if row.kind in {*_ENDS, *_TOOLS} else 0
    return int(row.ts_us - (long or 0))


def _bar(row: Any, start: int, scale: Scale, gap: int) -> Bar:
    x = scale.place(start)
    return Bar(
        id=row.id,
        seq=row.seq,
        lane=_lane(row.kind),
        kind=row.kind,
        name=row.name if _lane(row.kind) in {"llm", "tool"} else row.kind,
        preview=row.preview,
        start_us=start,
        dur_us=row.dur_us if row.kind in {*_ENDS, *_TOOLS} else None,
        x=round(x, 2),
        width=round(max(scale.place(row.ts_us) - x, 3.0), 2),
        gap_us=gap,
        status=row.status,
        tok_in=row.tok_in,
        tok_out=row.tok_out,
        cost_nano=row.cost_nano,
    )


def _lane(kind: str) -> str:
    if kind.startswith("llm."):
        return "llm"
    if kind.startswith("tool."):
        return "tool"
    return "finding" if kind.startswith(("security.", "pii.")) else "session"


class Scale:
    """
    Places moments on the axis.

    Args:
        spans: Start and end of each thing, sorted.
        true_time: Draw idle time as long as it was.
    """

    def __init__(self, spans: Sequence[tuple[int, int]], *, true_time: bool = False) -> None:
        self.first = spans[0][0] if spans else 0
        self.last = max((end for _, end in spans), default=0)
        self.longest = longest(spans)
        gaps = [] if true_time else _gaps(spans, self.longest)
        room = min(_BREAK, WIDTH / 3 / len(gaps)) if gaps else 0.0
        busy = max(self.last - self.first - sum(end - start for start, end in gaps), 1)
        self._unit = (WIDTH - room * len(gaps)) / busy
        self._marks: list[tuple[int, float, float]] = [(self.first, 0.0, self._unit)]
        self.breaks: list[Break] = []
        for start, end in gaps:
            x = self.place(start)
            self._marks += [(start, x, room / (end - start)), (end, x + room, self._unit)]
            self.breaks.append(Break(round(x, 2), round(room, 2), end - start))

    def place(self, us: int) -> float:
        """Return where a moment is, from 0 to `WIDTH`."""
        low, high = 0, len(self._marks)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._marks[middle][0] <= us else (low, middle)
        at, x, unit = self._marks[low]
        return min(max(x + (us - at) * unit, 0.0), WIDTH)


def longest(spans: Sequence[tuple[int, int]]) -> int:
    """Return how long a gap may be that is drawn as long as it is, in microseconds."""
    steps = [end - start for start, end in spans if end > start]
    return max(LEAST_GAP_US, 3 * int(median(steps)) if steps else 0)


def _gaps(spans: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    gaps = []
    reached = spans[0][1] if spans else 0
    for start, end in spans[1:]:
        if start - reached > limit:
            gaps.append((reached, start))
        reached = max(reached, end)
    return gaps


def minimap(reader: Reader, session: Any) -> Minimap:
    """Return a map of all of a session; of a very long one every few events."""
    # Odd, because begins and ends, calls and tools alternate: else some kind would be missing.
    every = -(-session.last_seq // (4 * MOST_ITEMS)) | 1
    query = Event.select(Event.seq, Event.ts_us, Event.kind, Event.dur_us, Event.status).where(
        (Event.session_id == session.id)
        & (Expression(session.last_seq - Event.seq, OP.MOD, every) == 0)
        & Event.kind.not_in(_SILENT)
    )
    rows = reader.rows(query.order_by(Event.seq.desc()))
    step = -(-len(rows) // MOST_ITEMS) or 1
    chosen = [row for place, row in enumerate(rows) if place % step == 0 or row.status == "error"]
    running = reader.rows(
        Call.select(Call.start_seq, Call.started_us).where(
            (Call.session_id == session.id) & (Call.state == "running")
        ).limit(50)
    )  # fmt: skip
    spans = sorted((_start(row), row.ts_us) for row in chosen)
    scale = Scale(spans)
    items = [_item(row, scale) for row in chosen]
    items += [(round(scale.place(at) * 10), 30, 0, 0, seq) for seq, at in running]
    return Minimap(0, round(WIDTH * 10), sorted(items), every * step)


def _item(row: Any, scale: Scale) -> tuple[int, int, int, int, int]:
    x, end = scale.place(_start(row)), scale.place(row.ts_us)
    lane = {"llm": 0, "tool": 1}.get(_lane(row.kind), 2)
    flag = 1 if row.status == "error" else 2 if row.kind == "security.finding" else 0
    return round(x * 10), max(round((end - x) * 10), 1), lane, flag, row.seq
