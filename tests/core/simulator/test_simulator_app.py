"""The simulator as a whole: pace, keys, records, routes."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import anthropic
import attrs
import httpx
import openai
import pytest

from perimeter.simulator import Simulator, SimulatorSettings
from perimeter.testing import serve


CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Count to 9"}]}


@attrs.define
class Waits:
    """Takes the place of sleeping and notes for how long."""

    seconds: list[float] = attrs.field(factory=list)

    async def __call__(self, seconds: float) -> None:
        """Note the time."""
        self.seconds.append(seconds)


async def _ask(simulator: Simulator, body: dict[str, Any], **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(simulator)
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
        return await client.post("/v1/chat/completions", json=body, headers=headers)


async def test_pace_of_streams() -> None:
    """A stream waits for the first token and between tokens, a plain answer as long at once."""
    waits = Waits()
    simulator = Simulator(tokens_per_second=10, first_token_delay=0.5, jitter=0, sleep=waits)
    usage = (await _ask(simulator, CHAT)).json()["usage"]
    assert waits.seconds == pytest.approx([0.5, usage["completion_tokens"] / 10])
    waits.seconds.clear()
    await _ask(simulator, CHAT | {"stream": True})
    assert waits.seconds == pytest.approx([0.5, *[0.1] * usage["completion_tokens"]])


async def test_jitter_is_repeatable() -> None:
    """Pauses differ from each other within bounds, and are the same under the same seed."""
    pauses = []
    for _ in range(2):
        waits = Waits()
        simulator = Simulator(tokens_per_second=10, jitter=0.5, seed=3, sleep=waits)
        await _ask(simulator, CHAT | {"stream": True})
        pauses.append(waits.seconds)
    assert pauses[0] == pauses[1]
    assert len(set(pauses[0])) > 5
    assert all(0.05 <= pause <= 0.15 for pause in pauses[0])


async def test_faults_that_slow_down() -> None:
    """`slow-head` waits once, `delay` before every event or before a plain body."""
    waits = Waits()
    simulator = Simulator(sleep=waits)
    fault = {"x-simulate": "slow-head=3; delay=2"}
    await _ask(simulator, CHAT, **fault)
    assert waits.seconds == [3, 2]
    waits.seconds.clear()
    events = (await _ask(simulator, CHAT | {"stream": True}, **fault)).text.count("\n\n")
    assert waits.seconds == [3, *[2] * events]


async def test_seed_makes_answers_repeatable() -> None:
    """Under a seed and a clock the very bytes are the same; without a seed ids differ."""
    seeded = [await _ask(Simulator(seed=5, clock=lambda: 9.5), CHAT) for _ in range(2)]
    assert seeded[0].content == seeded[1].content
    assert seeded[0].json()["created"] == 9
    free = [(await _ask(Simulator(), CHAT)).json()["id"] for _ in range(2)]
    assert free[0] != free[1]


async def test_requests_are_recorded() -> None:
    """The newest requests are kept as they came."""
    simulator = Simulator(max_recorded=2)
    for name in ("a", "b", "c"):
        await _ask(simulator, CHAT | {"model": name}, **{"X-Name": name})
    assert [record.header("x-name") for record in simulator.requests] == ["b", "c"]
    record = simulator.requests[-1]
    assert (record.method, record.path, record.outcome) == (
        "POST",
        "/v1/chat/completions",
        "answered",
    )
    assert b'"model":"c"' in record.body
    assert record.header("none") is None


async def test_body_limit() -> None:
    """A larger body is refused."""
    response = await _ask(Simulator(max_body_size=10), CHAT)
    assert response.status_code == 413


async def test_own_skills() -> None:
    """Tests may give the model other skills."""
    simulator = Simulator(skills=[lambda conversation: conversation.question[::-1]])
    answer = (await _ask(simulator, CHAT)).json()["choices"][0]["message"]["content"]
    assert answer == "9 ot tnuoC"


def test_keys() -> None:
    """With keys configured, other ones and none get a 401 in the provider's shape."""
    key = "sk-" + "x" * 20
    with serve(Simulator(api_keys=[key])) as url:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": key}):
            response = httpx.get(f"{url}/v1/models", headers=headers, trust_env=False)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        with (
            anthropic.Anthropic(base_url=url, api_key="wrong") as claude,
            pytest.raises(anthropic.AuthenticationError, match="authentication_error"),
        ):
            claude.models.list()
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key) as gpt:
            assert list(gpt.models.list())
        with anthropic.Anthropic(base_url=url, api_key=key) as claude:
            assert list(claude.models.list())
        with anthropic.Anthropic(base_url=url, auth_token=key) as claude:
            assert list(claude.models.list())
        headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
        assert httpx.get(f"{url}/v1/models", headers=headers, trust_env=False).is_success


def test_models(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """Both providers list the same models, each in its own shape."""
    names = [model.id for model in gpt.models.list()]
    assert names == [model.id for model in claude.models.list()]
    assert names == list(SimulatorSettings().models)
    assert gpt.models.retrieve(names[0]).id == names[0]
    with pytest.raises(openai.NotFoundError):
        gpt.models.retrieve("none")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("POST", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405)],
)
def test_other_paths(http: httpx.Client, method: str, path: str, status: int) -> None:
    """What is not there is an error in the provider's shape with a request id."""
    response = http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "change",
    [
        {"tokens_per_second": 0},
        {"tokens_per_second": math.nan},
        {"first_token_delay": -1},
        {"jitter": 2},
        {"max_responses": 0},
        {"faults": None},
    ],
)
def test_senseless_settings(change: dict[str, Any]) -> None:
    """Settings that make no sense are refused when the simulator is made."""
    with pytest.raises((ValueError, TypeError)):
        Simulator(**change)
    with pytest.raises(TypeError):
        Simulator(colour="red")


def test_core_does_not_import_the_simulator() -> None:
    """`import perimeter` leaves the simulator and the demo alone."""
    script = "import sys, perimeter; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "perimeter" in modules
    assert not [name for name in modules if "simulator" in name or "demo" in name]
