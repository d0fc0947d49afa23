"""The demo's round, straight against the simulated provider, and the comparison with metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as Metric

from perimeter.demo import Step, Traffic, Witness, check_metrics, play_round
from perimeter.model import Event
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
            Traffic("openai", "openai.chat", 200): 14,
            Traffic("openai", "openai.chat", 429): 1,
            Traffic("openai", "openai.responses", 200): 3,
            Traffic("openai", "openai.embeddings", 200): 1,
            Traffic("anthropic", "anthropic.messages", 200): 4,
        }
    )
    assert (len(result.conversations), result.tool_calls) == (8, 5)
    assert result.input_tokens > result.output_tokens > 100
    names = {record.header("x-cylestio-agent-id") for record in simulator.requests}
    assert names == {None, "support-chat"}


@pytest.mark.parametrize(
    ("replacement", "failing"),
    [
        ((b"Ada", b"Bob"), {"support-chat"}),
        ((b"4711", b"4712"), {"support-chat"}),
        ((b"Oslo", b"Rome"), {"weather-agent", "traveller", "her-twin"}),
        ((b"snowing", b"sunny"), {"weather-agent", "traveller", "her-twin"}),
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
    assert len(result.failures) == 9
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


def _finished(call: str, session: str | None) -> Event:
    attributes = {
        "call.id": call,
        "llm.usage.input_tokens": 7,
        "llm.usage.output_tokens": 2,
        "llm.cost_usd": 0.5,
    }
    return Event("llm.call.finish", 0.0, session_id=session, agent_id="a", attributes=attributes)


async def test_the_witness_adds_up_a_session() -> None:
    """Calls, tokens, cost, tools and matches of a session come from its events."""
    witness = Witness()
    for match in ("new", "link", "link"):
        start = {"call.id": "x", "session.match": match}
        witness.take(Event("llm.call.start", 0.0, session_id="s", attributes=start))
        witness.take(_finished("x", "s"))
    tool = {"call.id": "x", "tool.name": "f"}
    witness.take(Event("tool.execution", 0.0, session_id="s", attributes=tool))
    seen = witness.sessions["s"]
    assert (seen.agent, seen.calls, seen.input_tokens, seen.output_tokens) == ("a", 3, 21, 6)
    assert (seen.cost, seen.tools, seen.matches) == (1.5, {"f": 1}, {"new": 1, "link": 2})


async def test_the_witness_sees_mixed_and_split_conversations() -> None:
    """One session for two conversations, two for one, and none at all are each named."""
    witness = Witness()
    for call, session in (("1", "s"), ("2", "s"), ("3", "t"), ("4", "u"), ("5", None)):
        witness.take(_finished(call, session))
    assert await witness.check({"a": ["1", "2"], "b": ["3"]}) == []
    assert await witness.check({"a": ["1"], "b": ["2"]}) == ["b got the session of a: s"]
    assert await witness.check({"a": ["3", "4"]}) == ["a: one conversation got 2 sessions"]
    assert await witness.check({"a": ["5"]}) == ["a: one conversation got 0 sessions"]
    assert await witness.check({"a": ["6"]}, tries=1) == ["a: one conversation got 0 sessions"]
