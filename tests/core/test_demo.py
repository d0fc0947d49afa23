"""The demo's round, straight against the simulated provider, and the comparison with metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as Metric

from perimeter.demo import Step, Traffic, check_metrics, play_round
from perimeter.simulator import Simulator
from perimeter.testing import serve


@attrs.define
class Front:
    """Stands where the proxy will be: takes the workflow prefix off, may change the answers."""

    simulator: Simulator
    replacement: tuple[bytes, bytes] = (b"\0", b"\0")
    statuses: dict[int, int] = attrs.field(factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve as the simulator does."""

        async def changed(message: Any) -> None:
            if "body" in message:
                message = message | {"body": message["body"].replace(*self.replacement)}
            else:
                status = message["status"]
                message = message | {"status": self.statuses.get(status, status)}
            await send(message)

        if scope["type"] == "http":
            scope = scope | {"path": scope["path"].removeprefix("/agent-workflow/demo")}
        await self.simulator(scope, receive, changed)


def _ignore(_: Step) -> None:
    """Take a step and show nothing."""


@pytest.fixture
def simulator() -> Simulator:
    """A simulator as fast as it can be."""
    return Simulator(seed=1)


@pytest.fixture
def base_url(simulator: Simulator) -> Iterator[str]:
    """Where it listens."""
    with serve(Front(simulator)) as url:
        yield url


async def test_every_answer_is_right(simulator: Simulator, base_url: str) -> None:
    """A round makes every kind of call, and what it expects is what the provider got."""
    steps: list[Step] = []
    result = await play_round(base_url, report=steps.append)
    assert result.failures == []
    assert result.ok
    assert result.calls == len(steps) == len(simulator.requests)
    assert result.expected == Counter(
        {
            Traffic("openai", "openai.chat", 200): 8,
            Traffic("openai", "openai.chat", 429): 1,
            Traffic("openai", "openai.responses", 200): 3,
            Traffic("openai", "openai.embeddings", 200): 1,
            Traffic("anthropic", "anthropic.messages", 200): 2,
        }
    )
    assert (result.conversations, result.tool_calls) == (5, 2)
    assert result.input_tokens > result.output_tokens > 100
    names = {record.header("x-cylestio-agent-id") for record in simulator.requests}
    assert len(names) == 6


@pytest.mark.parametrize(
    ("replacement", "failing"),
    [
        ((b"Ada", b"Bob"), {"support-chat"}),
        ((b"4711", b"4712"), {"support-chat"}),
        ((b"Oslo", b"Rome"), {"weather-agent"}),
        ((b"snowing", b"sunny"), {"weather-agent"}),
        ((b"900 euros", b"9 euros"), {"planner"}),
        ((b"Too many", b"Very many"), {"unlucky-agent"}),
        ((b"408", b"409"), {"tutor"}),
        ((b'"embedding":', b'"vector":'), {"librarian"}),
    ],
)
async def test_wrong_answers_are_seen(
    simulator: Simulator, replacement: tuple[bytes, bytes], failing: set[str]
) -> None:
    """Whatever is changed on the way is a failure of the agent it concerns, and of no other."""
    with serve(Front(simulator, replacement)) as url:
        result = await play_round(url, report=_ignore)
    assert {failure.split(":")[0] for failure in result.failures} == failing


async def test_wrong_status_is_seen(simulator: Simulator) -> None:
    """A status that is not the provider's is a failure, and is what the proxy should count."""
    with serve(Front(simulator, statuses={429: 503})) as url:
        result = await play_round(url, report=_ignore)
    assert result.failures == ["unlucky-agent: status 503, not 429"]
    assert result.expected[Traffic("openai", "openai.chat", 503)] == 1


async def test_unreachable_proxy_is_a_failure() -> None:
    """Where nothing listens, every agent fails and no call counts."""
    with serve(Simulator()) as url:
        pass
    result = await play_round(url, report=_ignore)
    assert len(result.failures) == 6
    assert result.calls == 0


@attrs.define
class MetricsPage:
    """Serves a page of metrics."""

    page: bytes
    status: int = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer every request with the page."""
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.page})


def _page(**numbers: int) -> bytes:
    registry = CollectorRegistry()
    labels = ["upstream", "dialect", "status", "outcome"]
    metric = Metric("perimeter_requests", "Requests", labels, registry=registry)
    for outcome, number in numbers.items():
        metric.labels("openai", "openai.chat", "200", outcome).inc(number)
    return generate_latest(registry)


async def test_metrics_are_compared() -> None:
    """Completed calls count, others do not, and a difference is named."""
    kind = Traffic("openai", "openai.chat", 200)
    with serve(MetricsPage(_page(completed=3, truncated=2)), lifespan="off") as url:
        assert await check_metrics(url, {kind: 3}) == []
        assert await check_metrics(url, {kind: 5}, tries=1) == [
            "/metrics has 3 calls to openai (openai.chat) with status 200, not 5"
        ]


async def test_missing_metrics_are_a_problem() -> None:
    """A page that can't be had is named."""
    with serve(MetricsPage(b"", status=503), lifespan="off") as url:
        assert await check_metrics(url, {}) == ["/metrics answered 503"]
