"""The metrics of several processes, put together."""

from __future__ import annotations

from perimeter.calls import Usage
from perimeter.metrics import Metrics
from perimeter.metrics.snapshot import Snapshot, remains, snapshot, together


class Clock:
    """A clock that is set."""

    now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def counted(clock: Clock, sessions: int) -> Metrics:
    """Return the metrics of a process in which so many sessions began, each with a call."""
    metrics = Metrics(clock)
    metrics.bind(in_flight=lambda: sessions, connections=lambda: {"a": sessions})
    metrics.bind_sessions(lambda: 7)
    for _ in range(sessions):
        metrics.session_created()
        metrics.lookup("new", None, tried_fuzzy=False, hit=False)
        metrics.tokens("a", "m", Usage(input=10))
        metrics.first_token("a", "m", 0.2)
    return metrics


def shown(metrics: Metrics, whole: Snapshot) -> dict[str, float]:
    """Return what a process shows."""
    lines = metrics.render("", whole)[0].decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_one_snapshot_is_what_its_process_shows() -> None:
    """Nothing is added, lost or moved to another place on the way, in both formats."""
    clock = Clock()
    metrics = counted(clock, 3)
    metrics.plugin("p").histogram("sizes", "Sizes.", ["kind"]).labels("x").observe(3)

    for accept in ("", "application/openmetrics-text"):
        own = metrics.render(accept)
        whole = together([snapshot(metrics)], Snapshot(), clock, None)

        assert heads(metrics.render(accept, whole)[0]) == heads(own[0])
        assert metrics.render(accept, whole)[1] == own[1]


def heads(text: bytes) -> list[str]:
    """Return all lines, without the values of the process's own, which change all the time."""
    lines = text.decode().splitlines()
    return [
        line.rpartition(" ")[0] if line.startswith(("process_", "python_")) else line
        for line in lines
    ]


def test_sums_and_what_is_shared() -> None:
    """Counters, histograms and gauges are summed; what is about all of them is shown once."""
    clock = Clock()
    one, other = counted(clock, 2), counted(clock, 3)

    whole = together([snapshot(one), snapshot(other)], Snapshot(), clock, 4)
    metrics = shown(one, whole)

    assert metrics['perimeter_tokens_total{kind="input",model="m",upstream="a"}'] == 50
    labels = '{model="m",upstream="a"}'
    assert metrics["perimeter_time_to_first_token_seconds_count" + labels] == 5
    assert metrics["perimeter_requests_in_flight"] == 5
    assert metrics["perimeter_sessions_active"] == 4
    assert [value for name, value in metrics.items() if name.startswith("perimeter_build")] == [1]
    assert whole.numbers.active == 4
    assert whole.numbers.input == 50


def test_nobody_knows_of_all_sessions() -> None:
    """Where a store is shared without the supervisor, the sessions are not added up."""
    clock = Clock()
    whole = together([snapshot(counted(clock, n)) for n in (1, 2)], Snapshot(), clock, None)

    assert shown(counted(clock, 0), whole)["perimeter_sessions_active"] == 7
    assert whole.numbers.active == 7


def test_what_is_left_of_processes() -> None:
    """Of processes that are gone, counts go on and gauges do not; rates forget by themselves."""
    clock = Clock()
    gone = Snapshot()
    for sessions in (2, 3):
        gone = remains(gone, snapshot(counted(clock, sessions)), clock)
    clock.now += 30
    living = counted(clock, 1)

    first = together([snapshot(living)], gone, clock, 1)
    clock.now += 40
    later = together([snapshot(living)], gone, clock, 1)
    clock.now += 900
    last = together([snapshot(living)], gone, clock, 1)

    assert shown(living, first)["perimeter_sessions_created_total"] == 6
    assert shown(living, first)["perimeter_requests_in_flight"] == 1
    assert first.numbers.requests_in_flight == 1
    assert [each.numbers.created for each in (first, later, last)] == [6, 6, 6]
    assert [each.numbers.created_1m for each in (first, later, last)] == [6, 1, 0]
    assert [each.numbers.created_15m for each in (first, later, last)] == [6, 6, 0]
