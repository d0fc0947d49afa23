"""The plain numbers that metrics are made of, and where those come from that others keep."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import attrs


if TYPE_CHECKING:
    from perimeter.dispatch import Bound
    from perimeter.worker import Worker

CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
"""Seconds; model calls take from milliseconds (an error) to many minutes."""
OVERHEAD_BUCKETS = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
"""Seconds; the proxy itself takes well below a millisecond, its guards may take longer."""


@attrs.frozen
class PluginInfo:
    """What is shown of a plugin: its name, version and state."""

    name: str
    version: str
    state: str


@attrs.define(eq=False)
class Source:
    """
    Where the numbers come from that somebody else keeps.

    Attributes:
        in_flight: Gives the number of exchanges under way.
        connections: Gives the number of open connections by upstream.
        bound: Gives the plugins' hooks.
        workers: Gives the workers, each with its plugin's name.
        plugins: Gives the plugins.
        sessions: Gives the number of sessions that have not ended.
    """

    in_flight: Callable[[], int] = lambda: 0
    connections: Callable[[], Mapping[str, int]] = dict
    bound: Callable[[], Iterable[Bound]] = tuple
    workers: Callable[[], Iterable[tuple[str, Worker[Any]]]] = tuple
    plugins: Callable[[], Iterable[PluginInfo]] = tuple
    sessions: Callable[[], int] = lambda: 0


@attrs.define(eq=False)
class Distribution:
    """A histogram's numbers for one set of labels; used from the event loop only."""

    bounds: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Add a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return cumulative counts by upper bound, as Prometheus writes it."""
        bounds = [*(str(float(bound)) for bound in self.bounds), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


@attrs.define(eq=False)
class Timings:
    """How long the exchanges of one upstream and dialect took, in seconds."""

    duration: Distribution = attrs.field(factory=lambda: Distribution(CALL_BUCKETS))
    first_byte: Distribution = attrs.field(factory=lambda: Distribution(CALL_BUCKETS))
    overhead: Distribution = attrs.field(factory=lambda: Distribution(OVERHEAD_BUCKETS))
