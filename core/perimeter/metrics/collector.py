"""Plain numbers turned into metrics, at the moment somebody asks."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from perimeter import __version__
from perimeter.metrics.numbers import Distribution


if TYPE_CHECKING:
    from perimeter.metrics.counting import Metrics


class NumbersCollector(Collector):
    """Turns plain numbers into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that is not prometheus-client's own."""
        yield self._requests()
        yield from self._timings()
        yield from self._hooks()
        yield from self._workers()
        yield from self._gauges()

    def _requests(self) -> Metric:
        labels = ("upstream", "dialect", "status", "outcome")
        family = CounterMetricFamily("perimeter_requests", "Exchanges that ended.", labels=labels)
        for values, count in self._metrics.requests.items():
            family.add_metric(values, count)
        return family

    def _timings(self) -> Iterator[Metric]:
        for name, text, attribute in _HISTOGRAMS:
            family = HistogramMetricFamily(name, text, labels=("upstream", "dialect"))
            for labels, timings in self._metrics.timings.items():
                numbers: Distribution = getattr(timings, attribute)
                family.add_metric(labels, numbers.buckets(), numbers.total)
            yield family

    def _hooks(self) -> Iterator[Metric]:
        labels = ("plugin", "hook")
        seconds = SummaryMetricFamily("perimeter_hook_seconds", "Time in hooks.", labels=labels)
        failures = CounterMetricFamily("perimeter_hook_failures", "Failed hooks.", labels=labels)
        for bound in self._metrics.source.bound():
            seconds.add_metric((bound.plugin, bound.hook), bound.calls, bound.seconds)
            failures.add_metric((bound.plugin, bound.hook), bound.failures)
        verdicts = CounterMetricFamily(
            "perimeter_guard_verdicts", "What guards decided.", labels=("plugin", "verdict")
        )
        for values, count in self._metrics.verdicts.items():
            verdicts.add_metric(values, count)
        yield from (seconds, failures, verdicts)

    def _workers(self) -> Iterator[Metric]:
        """Sum up over each plugin's workers."""
        numbers: dict[str, tuple[int, int, int]] = {}
        for plugin, worker in self._metrics.source.workers():
            depth, dropped, failures = numbers.get(plugin, (0, 0, 0))
            numbers[plugin] = (
                depth + worker.depth,
                dropped + worker.dropped,
                failures + worker.failures,
            )
        waiting = GaugeMetricFamily(
            "perimeter_worker_queue_depth", "Waiting items.", labels=["plugin"]
        )
        lost = CounterMetricFamily("perimeter_worker_dropped", "Lost items.", labels=["plugin"])
        failed = CounterMetricFamily(
            "perimeter_worker_failures", "Failed batches.", labels=["plugin"]
        )
        for plugin, (depth, dropped, failures) in numbers.items():
            waiting.add_metric((plugin,), depth)
            lost.add_metric((plugin,), dropped)
            failed.add_metric((plugin,), failures)
        yield from (waiting, lost, failed)

    def _gauges(self) -> Iterator[Metric]:
        source = self._metrics.source
        yield _gauge("requests_in_flight", "Exchanges under way.", (), {(): source.in_flight()})
        yield _gauge(
            "upstream_connections",
            "Open connections.",
            ("upstream",),
            {(name,): count for name, count in source.connections().items()},
        )
        yield _gauge(
            "plugin_info",
            "Installed plugins.",
            ("plugin", "version", "state"),
            {(each.name, each.version, each.state): 1 for each in source.plugins()},
        )
        version = (__version__, platform.python_version())
        yield _gauge("build_info", "What runs here.", ("version", "python"), {version: 1})


_HISTOGRAMS = (
    ("perimeter_request_duration_seconds", "From a request's head to its end.", "duration"),
    (
        "perimeter_time_to_first_byte_seconds",
        "From a request's head to the first body byte passed on.",
        "first_byte",
    ),
    ("perimeter_overhead_seconds", "What the proxy and its guards added.", "overhead"),
)


def _gauge(
    name: str, help: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
) -> Metric:
    family = GaugeMetricFamily(f"perimeter_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
