"""Plain numbers turned into metrics, at the moment somebody asks."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from perimeter import __version__
from perimeter.metrics.models import KINDS
from perimeter.metrics.numbers import Distribution


if TYPE_CHECKING:
    from perimeter.metrics.counting import Metrics

K = TypeVar("K", bound=tuple[str, ...])


class NumbersCollector(Collector):
    """Turns plain numbers into metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every metric that is not prometheus-client's own."""
        yield self._requests()
        yield from self._timings()
        yield from self._models()
        yield from self._sessions()
        yield from self._hooks()
        yield from self._workers()
        yield from self._gauges()

    def _requests(self) -> Metric:
        labels = ("upstream", "dialect", "status", "outcome")
        return _counter("requests", "Exchanges that ended.", labels, self._metrics.requests)

    def _timings(self) -> Iterator[Metric]:
        for name, text, attribute in _HISTOGRAMS:
            family = HistogramMetricFamily(name, text, labels=("upstream", "dialect"))
            for labels, timings in self._metrics.timings.items():
                numbers: Distribution = getattr(timings, attribute)
                family.add_metric(labels, numbers.buckets(), numbers.total)
            yield family

    def _models(self) -> Iterator[Metric]:
        metrics, labels = self._metrics, ("upstream", "model")
        tokens = CounterMetricFamily("perimeter_tokens", "Tokens.", labels=(*labels, "kind"))
        cost = CounterMetricFamily("perimeter_cost_usd", "Cost of calls.", labels=labels)
        first_token = HistogramMetricFamily(
            "perimeter_time_to_first_token_seconds",
            "From a request's head to the first token of a stream.",
            labels=labels,
        )
        for key, numbers in metrics.models.numbers.items():
            for kind in KINDS:
                tokens.add_metric((*key, kind), getattr(numbers, kind))
            if numbers.cost is not None:
                cost.add_metric(key, numbers.cost)
            if (timing := numbers.first_token) is not None:
                first_token.add_metric(key, timing.buckets(), timing.total)
        yield from (tokens, cost, first_token)
        unread = {(dialect,): count for dialect, count in metrics.parse_errors.items()}
        yield _counter("parse_errors", "What could not be read.", ("dialect",), unread)

    def _sessions(self) -> Iterator[Metric]:
        sessions = self._metrics.sessions
        active = self._metrics.source.sessions()
        yield _gauge("sessions_active", "Sessions that have not ended.", (), {(): active})
        yield _counter("sessions_created", "Sessions that began.", (), {(): sessions.created})
        ended = {(reason,): count for reason, count in sessions.expired.items()}
        yield _counter("sessions_expired", "Sessions that ended.", ("reason",), ended)
        labels = ("result", "method")
        yield _counter("session_lookups", "Calls placed in sessions.", labels, sessions.lookups)
        compared = {(result,): count for result, count in sessions.fuzzy.items()}
        yield _counter("session_fuzzy", "Comparisons by likeness.", ("result",), compared)
        scores = HistogramMetricFamily(
            "perimeter_session_fuzzy_score", "The best score of each comparison.", labels=()
        )
        scores.add_metric((), sessions.scores.buckets(), sessions.scores.total)
        yield scores
        late = {(): sessions.store_timeouts}
        yield _counter("session_store_timeouts", "Sessions not known in time.", (), late)

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


def _counter(name: str, help: str, labels: Sequence[str], values: Mapping[K, float]) -> Metric:
    family = CounterMetricFamily(f"perimeter_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, help: str, labels: Sequence[str], values: Mapping[K, float]) -> Metric:
    family = GaugeMetricFamily(f"perimeter_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
