"""What is counted about models and sessions, and the statistics made of it."""

from __future__ import annotations

import json
import math
import re

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from documents import DOCS
from perimeter import application
from perimeter.calls import Usage
from perimeter.metrics import Metrics, Rate, SessionNumbers
from perimeter.settings import Settings, UpstreamSettings
from perimeter.testing import serve


SECONDS = st.integers(0, 8000).map(lambda eighths: eighths / 8)
"""Exact in binary, so that the naive model adds up to the same times."""
SMALL = st.integers(0, 10**6)
NUMBERS = st.builds(
    SessionNumbers,
    **{
        each.name: SMALL if each.type == "int" else SMALL.map(float)
        for each in attrs.fields(SessionNumbers)
    },
)


class Time:
    """A clock that is set by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    """The time by which rates are measured."""
    return Time()


@pytest.fixture
def metrics(time) -> Metrics:
    """Metrics of an application of its own."""
    return Metrics(time)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one sample."""
    return metrics.registry.get_sample_value(name, labels)


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """Return the labels of every sample of a metric, read from what is written."""
    text = metrics.render("")[0].decode()
    families = text_string_to_metric_families(text)
    return [each.labels for family in families for each in family.samples if each.name == name]


def document(metrics: Metrics) -> dict:
    """Return the statistics as a client gets them."""
    body, content_type = metrics.render("application/json")
    assert content_type == "application/json"
    return json.loads(body)


def test_tokens_are_counted_by_kind(metrics):
    """Each kind of tokens is a series of its own, added up over the calls of a model."""
    for _ in range(2):
        metrics.tokens("main", "gpt-x", Usage(100, 20, 60, 10, 5))
    metrics.tokens("main", "gpt-y", Usage(1, 1))

    labels = {"upstream": "main", "model": "gpt-x"}
    expected = {"input": 200, "output": 40, "cache_read": 120, "cache_write": 20, "reasoning": 10}
    for kind, count in expected.items():
        assert value(metrics, "perimeter_tokens_total", **labels, kind=kind) == count
    assert value(metrics, "perimeter_cost_usd_total", **labels) is None


def test_costs_are_counted(metrics):
    """Known costs are added up, and make no tokens or times where there were none."""
    metrics.cost("main", "gpt-x", 0.25)
    metrics.cost("main", "gpt-x", 0.5)
    metrics.cost("other", "gpt-x", 0.0)

    name = "perimeter_cost_usd_total"
    assert value(metrics, name, upstream="main", model="gpt-x") == 0.75
    assert value(metrics, name, upstream="other", model="gpt-x") == 0
    assert series(metrics, "perimeter_time_to_first_token_seconds_count") == []


def test_first_tokens_are_timed(metrics):
    """The time to the first token is sorted into the same buckets as other times of calls."""
    metrics.first_token("main", "gpt-x", 0.5)
    metrics.first_token("main", "gpt-x", 0.75)

    name, labels = "perimeter_time_to_first_token_seconds", {"upstream": "main", "model": "gpt-x"}
    assert value(metrics, f"{name}_bucket", **labels, le="0.25") == 0
    assert value(metrics, f"{name}_bucket", **labels, le="0.5") == 1
    assert value(metrics, f"{name}_count", **labels) == 2
    assert value(metrics, f"{name}_sum", **labels) == 1.25


def test_models_are_bounded(metrics):
    """A hundred models have series of their own, in whatever way they are first seen."""
    for number in range(150):
        metrics.tokens("main", f"m-{number}", Usage(1))
        metrics.cost("main", f"m-{number}", 1.0)
        metrics.first_token("main", f"m-{number}", 1.0)
    metrics.tokens("second", "m-7", Usage(1))

    named = {f"m-{number}" for number in range(100)} | {"other"}
    for name in ("perimeter_cost_usd_total", "perimeter_time_to_first_token_seconds_count"):
        assert {each["model"] for each in series(metrics, name)} == named
    tokens = {
        (each["upstream"], each["model"]) for each in series(metrics, "perimeter_tokens_total")
    }
    assert tokens == {("main", each) for each in named} | {("second", "m-7")}
    assert value(metrics, "perimeter_cost_usd_total", upstream="main", model="other") == 50


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("m" * 100, "m" * 100),
        ("m" * 101, "other"),
        ("", "unknown"),
        ("half a \ud800 character", "other"),
        ("two\nlines", "other"),
        ('a "model" \\ é', 'a "model" \\ é'),
    ],
)
def test_odd_names_of_models(model, shown, metrics):
    """Names that are too long or can't be written are others', and never break a scrape."""
    metrics.tokens("main", model, Usage(1))

    assert {each["model"] for each in series(metrics, "perimeter_tokens_total")} == {shown}


def test_names_that_are_refused_take_no_place(metrics):
    """A client that sends nonsense does not use up the names that are shown."""
    for number in range(200):
        metrics.cost("main", f"{number}" * 101, 1.0)
    metrics.cost("main", "gpt-x", 1.0)

    assert value(metrics, "perimeter_cost_usd_total", upstream="main", model="gpt-x") == 1


def test_parse_errors_are_counted(metrics):
    """What can't be read is counted by dialect."""
    metrics.parse_error("openai.chat")
    metrics.parse_error("openai.chat")

    assert value(metrics, "perimeter_parse_errors_total", dialect="openai.chat") == 2


def test_sessions_are_counted(metrics):
    """Sessions are counted when they begin, while they last, and when they end."""
    active = [3]
    metrics.bind_sessions(lambda: active[0])
    metrics.session_created()
    metrics.session_expired("idle")
    metrics.session_expired("idle")
    metrics.session_expired("evicted")
    metrics.session_store_timeout()

    assert value(metrics, "perimeter_sessions_active") == 3
    active[0] = 2
    assert value(metrics, "perimeter_sessions_active") == 2
    assert value(metrics, "perimeter_sessions_created_total") == 1
    assert value(metrics, "perimeter_sessions_expired_total", reason="idle") == 2
    assert value(metrics, "perimeter_sessions_expired_total", reason="evicted") == 1
    assert value(metrics, "perimeter_session_store_timeouts_total") == 1


def test_lookups_are_counted(metrics):
    """A lookup is counted by what decided, and by whether the session was there."""
    metrics.lookup("header", None, tried_fuzzy=False, hit=True)
    metrics.lookup("header", None, tried_fuzzy=False, hit=False)
    metrics.lookup("prefix", None, tried_fuzzy=False, hit=True)
    metrics.lookup("prefix", None, tried_fuzzy=False, hit=True)

    name = "perimeter_session_lookups_total"
    assert value(metrics, name, result="hit", method="header") == 1
    assert value(metrics, name, result="miss", method="header") == 1
    assert value(metrics, name, result="hit", method="prefix") == 2
    assert value(metrics, "perimeter_session_fuzzy_score_count") == 0


def test_every_fuzzy_comparison_is_seen(metrics):
    """Scores are kept of what matched and of what did not; a score nobody tried for is none."""
    metrics.lookup("fuzzy", 0.9, tried_fuzzy=True, hit=True)
    metrics.lookup("new", 0.3, tried_fuzzy=True, hit=False)
    metrics.lookup("new", None, tried_fuzzy=True, hit=False)
    metrics.lookup("prefix", 0.3, tried_fuzzy=True, hit=True)
    metrics.lookup("prefix", 1.0, tried_fuzzy=False, hit=True)

    assert value(metrics, "perimeter_session_fuzzy_total", result="matched") == 1
    assert value(metrics, "perimeter_session_fuzzy_total", result="rejected") == 3
    buckets = {f"{tenths / 10}": 1 for tenths in range(1, 3)}
    buckets |= {f"{tenths / 10}": 3 for tenths in range(3, 9)}
    buckets |= {"0.9": 4, "1.0": 4, "+Inf": 4}
    for bound, count in buckets.items():
        assert value(metrics, "perimeter_session_fuzzy_score_bucket", le=bound) == count
    assert value(metrics, "perimeter_session_fuzzy_score_sum") == pytest.approx(1.5)


def test_statistics_of_nothing(metrics):
    """Before anything has happened there are counts, but no shares and no mean."""
    assert document(metrics) == {
        "sessions": {
            "active": 0,
            "created_total": 0,
            "expired_total": 0,
            "lookups": 0,
            "hit_rate": None,
            "miss_rate": None,
            "created_per_minute": {"1m": 0.0, "15m": 0.0},
            "fuzzy": {"tried": 0, "matched": 0, "rejected": 0, "mean_score": None},
        },
        "requests_in_flight": 0,
        "tokens": {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0, "reasoning": 0},
        "cost_usd_total": 0.0,
    }


def shape(value: object) -> object:
    """Return the names in a document, without its numbers."""
    return {key: shape(each) for key, each in value.items()} if isinstance(value, dict) else None


def test_statistics_are_described(metrics):
    """docs/operations.md shows the document with exactly its names."""
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (example,) = (each for each in map(json.loads, blocks) if "sessions" in each)

    assert shape(example) == shape(document(metrics))


def test_statistics(metrics, time):
    """The document has the promised numbers, over all upstreams, models, methods and reasons."""
    metrics.bind(in_flight=lambda: 4, connections=dict)
    metrics.bind_sessions(lambda: 2)
    for _ in range(12):
        metrics.session_created()
    time.now += 120
    for _ in range(3):
        metrics.session_created()
    metrics.session_expired("idle")
    metrics.session_expired("shutdown")
    metrics.lookup("header", None, tried_fuzzy=False, hit=True)
    metrics.lookup("prefix", None, tried_fuzzy=False, hit=True)
    metrics.lookup("fuzzy", 0.75, tried_fuzzy=True, hit=True)
    metrics.lookup("new", 0.25, tried_fuzzy=True, hit=False)
    metrics.tokens("a", "x", Usage(100, 20, 60, 10, 5))
    metrics.tokens("b", "y", Usage(1, 2, 3, 4, 5))
    metrics.cost("a", "x", 0.5)
    metrics.cost("b", "x", 0.25)

    assert document(metrics) == {
        "sessions": {
            "active": 2,
            "created_total": 15,
            "expired_total": 2,
            "lookups": 4,
            "hit_rate": 0.75,
            "miss_rate": 0.25,
            "created_per_minute": {"1m": 3.0, "15m": 1.0},
            "fuzzy": {"tried": 2, "matched": 1, "rejected": 1, "mean_score": 0.5},
        },
        "requests_in_flight": 4,
        "tokens": {
            "input": 101,
            "output": 22,
            "cache_read": 63,
            "cache_write": 14,
            "reasoning": 10,
        },
        "cost_usd_total": 0.75,
    }


@pytest.mark.parametrize(
    ("accept", "json_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8", False),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            False,
        ),
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json, */*", True),
        ("application/json, text/plain, */*", True),
        ("text/plain; q=0.5 , application/json ; q = 0.5", True),
        ("text/plain;q=0.5,application/json;q=0.4", False),
        ("text/*;q=0.5,application/json;q=0.4", False),
        ("text/plain;q=0.3,text/*,application/json;q=0.4", True),
        ("*/*,application/json;q=0.9", False),
        ("application/openmetrics-text,application/json;q=0.9", False),
        ("application/json;q=0", False),
        ("application/json;q=0.000", False),
        ("application/json;q=2", False),
        ("application/json;q=nan", False),
        ("application/json;q=1e1", False),
        ("text/plain;q=0.9,text/plain;version=1.0.0;q=0.1,application/json;q=0.5", False),
        ("application/json;q=", False),
        ("application/*", False),
        ("application/jsonl", False),
        (",;,;;q=1,=", False),
    ],
)
def test_json_is_negotiated(accept, json_wanted, metrics):
    """JSON is for those who name it, and want it no less than text; anybody else gets text."""
    body, content_type = metrics.render(accept)

    assert (content_type == "application/json") == json_wanted
    assert body.startswith(b"{") == json_wanted


def test_statistics_over_http(metrics):
    """Accept headers decide, several of them like one; caches are told that it matters."""
    table = {"simulated": UpstreamSettings(base_url="http://127.0.0.1:9", type="openai")}
    json_and_text = [("accept", "text/plain;q=0.5"), ("accept", "application/json")]
    with serve(application.build(Settings(upstreams=table)).asgi) as url:
        statistics = httpx.get(f"{url}/metrics", headers=json_and_text)
        text = httpx.get(f"{url}/metrics")

    assert statistics.headers["content-type"] == "application/json"
    assert statistics.json() == document(metrics)
    assert text.headers["content-type"].startswith("text/plain")
    assert statistics.headers["vary"] == text.headers["vary"] == "accept"


@given(NUMBERS, st.lists(NUMBERS, max_size=4))
def test_workers_are_merged(first, others):
    """Merged numbers are sums, so that shares and means are weighted by what they are made of."""
    merged = first.merge(others)

    everyone = [first, *others]
    for name in attrs.fields_dict(SessionNumbers):
        assert getattr(merged, name) == sum(getattr(each, name) for each in everyone)
    shown, apart = merged.document()["sessions"], [each.document()["sessions"] for each in everyone]
    for span in ("1m", "15m"):
        rates = [each["created_per_minute"][span] for each in apart]
        assert shown["created_per_minute"][span] == pytest.approx(sum(rates))
    if shown["lookups"]:
        hits = sum((each["hit_rate"] or 0) * each["lookups"] for each in apart)
        assert shown["hit_rate"] == pytest.approx(hits / shown["lookups"])
        assert shown["hit_rate"] + shown["miss_rate"] == pytest.approx(1)
    if shown["fuzzy"]["tried"]:
        tried = [(each["fuzzy"]["mean_score"] or 0) * each["fuzzy"]["tried"] for each in apart]
        mean = math.fsum(tried) / shown["fuzzy"]["tried"]
        assert shown["fuzzy"]["mean_score"] == pytest.approx(mean)


def test_workers_that_share_the_calls_count_as_one(time):
    """What happens in two workers gives the same statistics as if it had happened in one."""
    alone, pair = Metrics(time), (Metrics(time), Metrics(time))
    for number in range(40):
        time.now += 5.0
        for each in (alone, pair[number % 3 == 0]):
            each.session_created()
            each.lookup("fuzzy", number / 64, tried_fuzzy=True, hit=True)
            each.lookup("new", None, tried_fuzzy=False, hit=number % 5 == 0)
            each.tokens("main", "gpt-x", Usage(number, 1))
            each.cost("main", "gpt-x", 0.125)

    one, other = (each.session_numbers() for each in pair)
    assert one.merge([other]) == alone.session_numbers()
    assert one.merge([other]) == other.merge([one])


def test_numbers_pass_between_processes(metrics):
    """Numbers are plain: they can be written as JSON by one process and read by another."""
    metrics.session_created()
    metrics.cost("main", "gpt-x", 0.5)
    numbers = metrics.session_numbers()

    assert SessionNumbers(**json.loads(json.dumps(attrs.asdict(numbers)))) == numbers


@given(
    start=st.integers(0, 4000),
    gaps=st.lists(st.one_of(st.just(0.0), SECONDS, st.sampled_from([1.0, 60.0, 900.0, 1e6]))),
    silence=SECONDS,
)
def test_rates_agree_with_a_list_of_times(start, gaps, silence):
    """The ring has what a list of all times would have, after any gaps."""
    time, happened = Time(float(start)), []
    rate = Rate(time)
    for gap in gaps:
        time.now += gap
        rate.add()
        happened.append(math.floor(time.now))
        check(rate, happened, time.now)
    time.now += silence
    check(rate, happened, time.now)


def check(rate: Rate, happened: list[int], now: float) -> None:
    """Compare a rate with the seconds of all events."""
    for span in (1, 60, 900):
        expected = sum(math.floor(now) - span < second for second in happened)
        assert rate.last(span) == expected


def test_rates_forget_by_themselves():
    """What happened counts for its minute and not longer, without anything being done."""
    time = Time(7.5)
    rate = Rate(time)
    rate.add()

    time.now = 66.9
    assert rate.last(60) == 1
    time.now = 67.0
    assert (rate.last(60), rate.last(900)) == (0, 1)
    time.now = 907.0
    assert rate.last(900) == 0


def test_rates_take_no_room():
    """However much happens, nothing grows."""
    time = Time()
    rate = Rate(time, span=4)
    for _ in range(1000):
        time.now += 0.5
        rate.add()

    assert rate.last(4) == 7  # two in each second, and one in the one that runs
    assert len(rate._counts) == len(rate._seconds) == 4
