"""What is counted, under which names, and in which formats it is written."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from perimeter import Block, Exchange, Outcome, Request, Respond, Response, Rewrite, Stop
from perimeter.dialects import RAW
from perimeter.dispatch import Bound
from perimeter.metrics import Metrics, PluginInfo
from perimeter.worker import Worker


NAMES = {
    "perimeter_requests_total",
    "perimeter_request_duration_seconds",
    "perimeter_time_to_first_byte_seconds",
    "perimeter_overhead_seconds",
    "perimeter_tokens_total",
    "perimeter_cost_usd_total",
    "perimeter_time_to_first_token_seconds",
    "perimeter_parse_errors_total",
    "perimeter_sessions_active",
    "perimeter_sessions_created_total",
    "perimeter_sessions_expired_total",
    "perimeter_session_lookups_total",
    "perimeter_session_fuzzy_total",
    "perimeter_session_fuzzy_score",
    "perimeter_session_store_timeouts_total",
    "perimeter_requests_in_flight",
    "perimeter_upstream_connections",
    "perimeter_hook_seconds",
    "perimeter_hook_failures_total",
    "perimeter_guard_verdicts_total",
    "perimeter_worker_queue_depth",
    "perimeter_worker_dropped_total",
    "perimeter_build_info",
    "perimeter_plugin_info",
}
"""What is promised to be there; dashboards are built on it."""


@pytest.fixture
def metrics() -> Metrics:
    """Metrics of an application of its own."""
    return Metrics()


def exchange(**more: Any) -> Exchange:
    """An exchange that took two seconds, of which half a second was the proxy's own."""
    request = Request("POST", "/v1/chat/completions", "", ())
    made = Exchange("ex-1", request, request, "main", RAW, 1_700_000_000.0, 100.0)
    made.ended = 102.0
    made.first_byte_at = 101.0
    made.upstream_wait = 1.25
    made.client_wait = 0.25
    made.response = Response(200, ())
    made.outcome = Outcome.COMPLETED
    for name, value in more.items():
        setattr(made, name, value)
    return made


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one sample."""
    return metrics.registry.get_sample_value(name, labels)


def test_all_names_are_there(metrics):
    """Every promised metric is announced before anything has happened."""
    body, _ = metrics.render("")
    announced = {line.split()[2] for line in body.decode().splitlines() if "# TYPE" in line}

    assert announced >= NAMES


def test_requests_are_counted(metrics):
    """Exchanges that ended are counted by upstream, dialect, status and outcome."""
    metrics.ended(exchange())
    metrics.ended(exchange())
    metrics.ended(exchange(response=None, outcome=Outcome.CLIENT_DISCONNECTED))

    common = {"upstream": "main", "dialect": "raw"}
    total = "perimeter_requests_total"
    assert value(metrics, total, **common, status="200", outcome="completed") == 2
    assert value(metrics, total, **common, status="0", outcome="client_disconnected") == 1


@pytest.mark.parametrize(
    ("name", "seconds", "below", "above"),
    [
        ("perimeter_request_duration_seconds", 2.0, "1.0", "2.5"),
        ("perimeter_time_to_first_byte_seconds", 1.0, "0.5", "1.0"),
        ("perimeter_overhead_seconds", 0.5, "0.25", "0.5"),
    ],
)
def test_times_are_distributed(name, seconds, below, above, metrics):
    """Times are summed up and sorted into buckets whose upper bound is included."""
    metrics.ended(exchange())

    labels = {"upstream": "main", "dialect": "raw"}
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(seconds)
    assert value(metrics, f"{name}_count", **labels) == 1
    assert value(metrics, f"{name}_bucket", **labels, le=below) == 0
    assert value(metrics, f"{name}_bucket", **labels, le=above) == 1
    assert value(metrics, f"{name}_bucket", **labels, le="+Inf") == 1


def test_times_that_are_unknown_are_left_out(metrics):
    """An exchange without one byte of a response has no time to first byte, and no zero."""
    metrics.ended(exchange(first_byte_at=None, response=None))

    labels = {"upstream": "main", "dialect": "raw"}
    assert value(metrics, "perimeter_time_to_first_byte_seconds_count", **labels) == 0
    assert value(metrics, "perimeter_request_duration_seconds_count", **labels) == 1


def test_gauges_are_read_when_asked(metrics):
    """What is under way is looked at when the metrics are written, not kept in step."""
    in_flight = [3]
    metrics.bind(in_flight=lambda: in_flight[0], connections=lambda: {"main": 7})
    assert value(metrics, "perimeter_requests_in_flight") == 3
    in_flight[0] = 4

    assert value(metrics, "perimeter_requests_in_flight") == 4
    assert value(metrics, "perimeter_upstream_connections", upstream="main") == 7


def test_hooks_and_plugins_are_read_when_asked(metrics):
    """Numbers that hooks, workers and plugins keep themselves are shown."""
    bound = Bound("printer", "on_chunk", print, calls=5, seconds=0.25, failures=2)
    worker: Worker[int] = Worker(print, queue=1)
    for number in range(3):
        worker.put(number)
    metrics.watch(
        bound=lambda: [bound],
        workers=lambda: [("printer", worker), ("printer", worker)],
        plugins=lambda: [PluginInfo("printer", "1.2", "loaded")],
    )

    hook = {"plugin": "printer", "hook": "on_chunk"}
    assert value(metrics, "perimeter_hook_seconds_count", **hook) == 5
    assert value(metrics, "perimeter_hook_seconds_sum", **hook) == 0.25
    assert value(metrics, "perimeter_hook_failures_total", **hook) == 2
    assert value(metrics, "perimeter_worker_queue_depth", plugin="printer") == 2
    assert value(metrics, "perimeter_worker_dropped_total", plugin="printer") == 4
    info = {"plugin": "printer", "version": "1.2", "state": "loaded"}
    assert value(metrics, "perimeter_plugin_info", **info) == 1


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        (Block("no"), "block"),
        (Respond(b""), "respond"),
        (Rewrite(), "rewrite"),
        (Stop("no"), "stop"),
    ],
)
def test_verdicts_are_counted(verdict, name, metrics):
    """What guards decide is counted by plugin and kind, without its reason."""
    metrics.verdict("security", verdict)

    labels = {"plugin": "security", "verdict": name}
    assert value(metrics, "perimeter_guard_verdicts_total", **labels) == 1


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain; version=0.0.4", prometheus),
        ("*/*", "text/plain; version=0.0.4", prometheus),
        ("text/html", "text/plain; version=0.0.4", prometheus),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text", openmetrics),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text",
            openmetrics,
        ),
        ("application/openmetrics-text;version=nonsense", "", None),
        ("application/openmetrics-text;version=;q=;;,,", "", None),
    ],
)
def test_formats_are_negotiated(accept, content_type, parse, metrics):
    """Prometheus text is the rule, OpenMetrics where it is asked for; nonsense breaks nothing."""
    metrics.ended(exchange())
    body, said = metrics.render(accept)

    assert said.startswith(content_type)
    if parse is not None:
        families = {family.name: family for family in parse(body.decode())}
        assert families["perimeter_requests"].type == "counter"
    assert body.endswith(b"# EOF\n") == said.startswith("application/openmetrics-text")


def test_applications_count_apart():
    """Two applications in one process do not add to each other."""
    one, other = Metrics(), Metrics()
    one.ended(exchange())
    one.plugin("printer").counter("lines", "Lines.").inc()

    assert b'outcome="completed"' in one.render("")[0]
    assert b'outcome="completed"' not in other.render("")[0]
    assert b"perimeter_printer_lines" not in other.render("")[0]


def test_plugins_have_their_own_names(metrics):
    """A plugin's metrics begin with its name, and are labelled."""
    own = metrics.plugin("event_recorder")
    own.counter("records", "Records written.", ["kind"]).labels("call").inc(3)
    own.gauge("files", "Open files.").set(2)
    own.histogram("bytes", "Size of records.", buckets=(10, 100)).observe(50)

    assert value(metrics, "perimeter_event_recorder_records_total", kind="call") == 3
    assert value(metrics, "perimeter_event_recorder_files") == 2
    assert value(metrics, "perimeter_event_recorder_bytes_bucket", le="10.0") == 0
    assert value(metrics, "perimeter_event_recorder_bytes_bucket", le="100.0") == 1


def test_the_same_metric_may_be_asked_for_again(metrics):
    """Asking twice gives the same metric; asking for another one under its name is a mistake."""
    own = metrics.plugin("printer")
    first = own.counter("lines", "Lines.", ["kind"])

    assert own.counter("lines", "Lines.", ["kind"]) is first
    with pytest.raises(ValueError, match="perimeter_printer_lines"):
        own.counter("lines", "Lines.")
    with pytest.raises(ValueError, match="perimeter_printer_lines"):
        own.gauge("lines", "Lines.", ["kind"])


def test_plugins_cannot_take_cores_names(metrics):
    """A plugin whose names would collide with core's is refused, and core's numbers stay."""
    metrics.ended(exchange())
    with pytest.raises(ValueError, match="perimeter_worker_dropped"):
        metrics.plugin("worker").counter("dropped", "Dropped.")

    assert b"perimeter_requests_total{" in metrics.render("")[0]


def test_labels_are_bounded(metrics):
    """No number of different exchanges makes more series than there are label values."""
    for number in range(50):
        made = exchange(id=f"ex-{number}")
        made.request = attrs.evolve(made.request, path=f"/{number}", query=str(number))
        metrics.ended(made)

    body = metrics.render("")[0].decode()
    series = [line for line in body.splitlines() if line.startswith("perimeter_requests_total{")]
    assert len(series) == 1


def test_the_process_is_measured(metrics):
    """Memory, files and the collector of this process are shown as usual."""
    body = metrics.render("")[0].decode()

    assert "python_info" in body
    assert "python_gc_objects_collected_total" in body
