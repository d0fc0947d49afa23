"""The metrics of a process as plain data, and those of several processes put together."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
from prometheus_client.core import Metric
from prometheus_client.registry import CollectorRegistry

from perimeter.metrics.sessions import MINUTE, QUARTER, SessionNumbers


if TYPE_CHECKING:
    from perimeter.metrics.counting import Metrics

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and labels."""

ACTIVE = "perimeter_sessions_active"
_SAME = frozenset({"perimeter_build_info", "perimeter_plugin_info", "python_info", ACTIVE})
"""Gauges about what all processes have in common."""
_OLDEST = frozenset({"process_start_time_seconds"})
_LASTING = frozenset({"counter", "histogram", "summary"})
"""Types of metrics that count on when a process is gone."""


@attrs.frozen
class Family:
    """A metric: its name, type, help and unit, and its samples."""

    name: str
    type: str
    help: str
    unit: str
    samples: Mapping[Key, float]


@attrs.frozen
class Snapshot:
    """
    What one process, or several, have counted.

    Attributes:
        families: All metrics.
        numbers: What the statistics of sessions are made of.
        recent: Seconds of the clock that all processes share, each with the sessions begun in it.
    """

    families: Sequence[Family] = ()
    numbers: SessionNumbers = SessionNumbers()
    recent: Mapping[int, int] = attrs.Factory(dict)


class Collected(CollectorRegistry):
    """Shows a snapshot where prometheus-client wants a registry."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for family in self._snapshot.families:
            metric = Metric(family.name, family.help, family.type, family.unit)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def snapshot(metrics: Metrics) -> Snapshot:
    """Return what an application has counted."""
    families = [_family(metric) for metric in metrics.registry.collect()]
    return Snapshot(families, metrics.session_numbers(), metrics.sessions.recent.counted())


def together(
    living: Iterable[Snapshot], gone: Snapshot, clock: Callable[[], float], active: int | None
) -> Snapshot:
    """
    Put the figures of several processes together.

    Args:
        living: Those of processes that run.
        gone: What is left of others, as `remains` gives it.
        clock: What their rates were measured by.
        active: Sessions that have not ended; None to believe who knows of most.
    """
    everyone = [*living, gone]
    recent = _recent(everyone, int(clock() // 1))
    if active is None:
        active = max(each.numbers.active for each in everyone)
    numbers = attrs.evolve(
        SessionNumbers().merge(each.numbers for each in everyone),
        active=active,
        created_1m=_last(recent, MINUTE, clock),
        created_15m=_last(recent, QUARTER, clock),
    )
    return Snapshot(_families(everyone, {ACTIVE: float(active)}), numbers, recent)


def remains(before: Snapshot, ended: Snapshot, clock: Callable[[], float]) -> Snapshot:
    """
    Return what is to be counted on with of a process that is gone.

    Args:
        before: What is left of earlier ones.
        ended: The last that is known of this one.
        clock: What rates are measured by.
    """
    families = [each for each in ended.families if each.type in _LASTING]
    numbers = attrs.evolve(ended.numbers, active=0, requests_in_flight=0)
    return together([attrs.evolve(ended, families=families, numbers=numbers)], before, clock, 0)


def _family(metric: Metric) -> Family:
    samples = {(each.name, tuple(each.labels.items())): each.value for each in metric.samples}
    return Family(metric.name, metric.type, metric.documentation, metric.unit, samples)


def _families(everyone: Iterable[Snapshot], known: Mapping[str, float]) -> list[Family]:
    grouped: dict[str, list[Family]] = {}
    for each in everyone:
        for family in each.families:
            grouped.setdefault(family.name, []).append(family)
    return [_merged(families, known.get(name)) for name, families in grouped.items()]


def _merged(families: Sequence[Family], known: float | None) -> Family:
    values: dict[Key, list[float]] = {}
    for family in families:
        for key, value in family.samples.items():
            values.setdefault(key, []).append(value)
    first = families[0]
    samples = {
        key: _value(first.name, key[0], found) if known is None else known
        for key, found in values.items()
    }
    return attrs.evolve(first, samples=samples)


def _value(family: str, sample: str, values: Sequence[float]) -> float:
    if family in _SAME:
        return max(values)
    if family in _OLDEST or sample.endswith("_created"):
        return min(values)
    return sum(values)


def _recent(everyone: Iterable[Snapshot], now: int) -> dict[int, int]:
    counts: Tally[int] = Tally()
    for each in everyone:
        counts.update(each.recent)
    return {second: count for second, count in counts.items() if second > now - QUARTER}


def _last(recent: Mapping[int, int], seconds: int, clock: Callable[[], float]) -> int:
    before = int(clock() // 1) - seconds
    return sum(count for second, count in recent.items() if second > before)
