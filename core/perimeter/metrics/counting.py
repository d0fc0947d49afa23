"""What is counted, and how it is asked for."""

from __future__ import annotations

import re
import time
from collections import Counter as Tally
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import msgspec
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder

from perimeter.metrics.collector import NumbersCollector
from perimeter.metrics.models import KINDS, Models
from perimeter.metrics.negotiation import wants_json
from perimeter.metrics.numbers import PluginInfo, Source, Timings
from perimeter.metrics.sessions import MINUTE, QUARTER, SessionNumbers, Sessions
from perimeter.metrics.snapshot import Collected, Snapshot


if TYPE_CHECKING:
    from perimeter.calls import Usage
    from perimeter.dispatch import Bound
    from perimeter.model import Exchange
    from perimeter.verdicts import Verdict
    from perimeter.worker import Worker

M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """
    Everything that one application counts. Each has a registry of its own.

    Attributes:
        whole: Gives what all workers have counted; None where there is only this one.

    Args:
        clock: Gives seconds that never go back; rates are measured by it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests: Tally[tuple[str, str, str, str]] = Tally()
        self.timings: dict[tuple[str, str], Timings] = {}
        self.verdicts: Tally[tuple[str, str]] = Tally()
        self.models = Models()
        self.parse_errors: Tally[str] = Tally()
        self.sessions = Sessions(clock)
        self.source = Source()
        self.whole: Callable[[], Awaitable[Snapshot | None]] | None = None
        self._own: dict[str, tuple[Counter | Gauge | Histogram, tuple[str, ...]]] = {}
        self.registry.register(NumbersCollector(self))
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def bind(
        self, *, in_flight: Callable[[], int], connections: Callable[[], Mapping[str, int]]
    ) -> None:
        """
        Say where the data path's gauges come from.

        Args:
            in_flight: Gives the number of exchanges under way.
            connections: Gives the number of open connections by upstream.
        """
        self.source = attrs.evolve(self.source, in_flight=in_flight, connections=connections)

    def bind_sessions(self, active: Callable[[], int]) -> None:
        """
        Say where the number of sessions comes from.

        Args:
            active: Gives the number of sessions that have not ended. The numbers of several
                workers are added up, so of those who share a store only one may bind it.
        """
        self.source = attrs.evolve(self.source, sessions=active)

    def watch(
        self,
        *,
        bound: Callable[[], Iterable[Bound]],
        workers: Callable[[], Iterable[tuple[str, Worker[Any]]]],
        plugins: Callable[[], Iterable[PluginInfo]],
    ) -> None:
        """
        Say where the plugins' numbers come from.

        Args:
            bound: Gives their hooks.
            workers: Gives their workers, each with its plugin's name.
            plugins: Gives the plugins themselves.
        """
        self.source = attrs.evolve(self.source, bound=bound, workers=workers, plugins=plugins)

    def ended(self, exchange: Exchange) -> None:
        """Count an exchange that is over."""
        response = exchange.response
        dialect = exchange.dialect.name
        status = "0" if response is None else str(response.status)
        self.requests[exchange.upstream, dialect, status, str(exchange.outcome)] += 1
        timings = self.timings.get((exchange.upstream, dialect))
        if timings is None:
            timings = self.timings[exchange.upstream, dialect] = Timings()
        if (duration := exchange.duration) is not None:
            timings.duration.add(duration)
        if (first_byte := exchange.time_to_first_byte) is not None:
            timings.first_byte.add(first_byte)
        if (overhead := exchange.overhead) is not None:
            timings.overhead.add(overhead)

    def verdict(self, plugin: str, verdict: Verdict) -> None:
        """Count what a guard decided."""
        self.verdicts[plugin, type(verdict).__name__.lower()] += 1

    def tokens(self, upstream: str, model: str, usage: Usage) -> None:
        """Count the tokens that a call used up."""
        self.models.tokens(upstream, model, usage)

    def cost(self, upstream: str, model: str, usd: float) -> None:
        """Count what a call cost, in US dollars; only where it is known."""
        self.models.cost(upstream, model, usd)

    def first_token(self, upstream: str, model: str, seconds: float) -> None:
        """Count how long a stream's first token took, from the request's head on."""
        self.models.first_token(upstream, model, seconds)

    def parse_error(self, dialect: str) -> None:
        """Count something of a dialect that could not be read."""
        self.parse_errors[dialect] += 1

    def session_created(self) -> None:
        """Count a session that began."""
        self.sessions.create()

    def session_expired(self, reason: str) -> None:
        """Count a session that ended: `idle`, `expired`, `evicted` or `shutdown`."""
        self.sessions.expired[reason] += 1

    def session_store_timeout(self) -> None:
        """Count a call whose session was not known in time."""
        self.sessions.store_timeouts += 1

    def lookup(self, method: str, score: float | None, tried_fuzzy: bool, hit: bool) -> None:
        """
        Count a call that was placed in a session.

        Args:
            method: What decided, as `perimeter.sessions.evidence.Method` lists it.
            score: The best likeness that was found, from 0 to 1.
            tried_fuzzy: Whether likeness was looked at, whatever decided in the end.
            hit: Whether the session was there already.
        """
        self.sessions.lookup(method, score, tried_fuzzy, hit)

    def plugin(self, name: str) -> PluginMetrics:
        """Return what a plugin makes its own metrics with."""
        return PluginMetrics(self, f"perimeter_{_word(name)}_")

    def render(self, accept: str, whole: Snapshot | None = None) -> tuple[bytes, str]:
        """
        Write all metrics, or the statistics of sessions for who asks for JSON.

        Args:
            accept: The request's Accept header.
            whole: What to write, where that is more than this application's own.

        Returns:
            The body, as Prometheus text, OpenMetrics or JSON, and its content type.
        """
        if wants_json(accept):
            numbers = self.session_numbers() if whole is None else whole.numbers
            return msgspec.json.encode(numbers.document()), "application/json"
        try:
            encoder, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no version
            encoder, content_type = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
        return encoder(self.registry if whole is None else Collected(whole)), content_type

    def session_numbers(self) -> SessionNumbers:
        """Return what the statistics of sessions are made of, as it is now."""
        sessions = self.sessions
        return SessionNumbers(
            active=self.source.sessions(),
            created=sessions.created,
            created_1m=sessions.recent.last(MINUTE),
            created_15m=sessions.recent.last(QUARTER),
            expired=sessions.expired.total(),
            hits=sessions.found("hit"),
            misses=sessions.found("miss"),
            fuzzy_matched=sessions.fuzzy["matched"],
            fuzzy_rejected=sessions.fuzzy["rejected"],
            score_sum=sessions.scores.total,
            requests_in_flight=self.source.in_flight(),
            cost_usd=self.models.total_cost,
            **{kind: self.models.total(kind) for kind in KINDS},
        )

    def own(self, kind: type[M], name: str, help: str, labels: Sequence[str], **more: Any) -> M:
        """
        Return a metric of a plugin; the same one each time it is asked for.

        Raises:
            ValueError: There is one of that name already that is different, or the name is none.
        """
        known = self._own.get(name)
        if known is None:
            made = kind(name, help, tuple(labels), registry=self.registry, **more)
            self._own[name] = (made, tuple(labels))
            return made
        if not isinstance(known[0], kind) or known[1] != tuple(labels):
            message = f"there is a metric {name} already, of another kind or with other labels"
            raise ValueError(message)
        return known[0]


@attrs.frozen
class PluginMetrics:
    """Makes a plugin's metrics; they are called `perimeter_<plugin>_<name>`."""

    _metrics: Metrics
    _prefix: str

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
        """Return a counter; `_total` is added to its name."""
        return self._metrics.own(Counter, self._prefix + name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a gauge."""
        return self._metrics.own(Gauge, self._prefix + name, help, labels)

    def histogram(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = Histogram.DEFAULT_BUCKETS,
    ) -> Histogram:
        """Return a histogram with these upper bounds of buckets."""
        return self._metrics.own(Histogram, self._prefix + name, help, labels, buckets=buckets)


def _word(name: str) -> str:
    """Make a plugin's name fit into a metric's."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)
