"""Faults on request."""

from __future__ import annotations

import gzip
import json
from typing import Any

import anthropic
import httpx
import openai
import pytest

from perimeter.simulator import Faults, Simulator
from perimeter.simulator.providers import Refusal
from perimeter.testing import serve


CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Count to 9"}]}
STREAM = CHAT | {"stream": True}
ANSWER = "1, 2, 3, 4, 5, 6, 7, 8, 9."


def _post(http: httpx.Client, faults: str, body: dict[str, Any]) -> httpx.Response:
    return http.post("/v1/chat/completions", json=body, headers={"x-simulate": faults})


def test_openai_errors(gpt: openai.OpenAI) -> None:
    """The SDK sees the error that its provider would send, with its headers."""
    with pytest.raises(openai.RateLimitError) as caught:
        gpt.chat.completions.create(
            **CHAT, extra_headers={"x-simulate": "status=429; retry-after=2; message=slow down"}
        )
    assert caught.value.code == "rate_limit_exceeded"
    assert "slow down" in caught.value.message
    assert caught.value.response.headers["retry-after"] == "2"
    assert caught.value.request_id
    with pytest.raises(openai.InternalServerError):
        gpt.chat.completions.create(**STREAM, extra_headers={"x-simulate": "status=500"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error"), (418, "invalid_")],
)
def test_anthropic_errors(claude: anthropic.Anthropic, status: int, kind: str) -> None:
    """Every status has Anthropic's type for it."""
    with pytest.raises(anthropic.APIStatusError, match=kind) as caught:
        claude.messages.create(
            **CHAT, max_tokens=9, extra_headers={"x-simulate": f"status={status}"}
        )
    assert caught.value.status_code == status


def test_sdk_retries_until_the_fault_is_over(simulator: Simulator, base_url: str) -> None:
    """With `times`, only the first requests fail, so that retries can be tested."""
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="any", max_retries=2) as gpt:
        before = len(simulator.requests)
        completion = gpt.chat.completions.create(
            **CHAT, extra_headers={"x-simulate": "status=503; retry-after=0.01; times=2"}
        )
    assert completion.choices[0].message.content == ANSWER
    assert len(simulator.requests) - before == 3


@pytest.mark.parametrize("after", [0, 1, 5])
def test_stream_is_cut(http: httpx.Client, simulator: Simulator, after: int) -> None:
    """After so many whole events the connection ends without the end of the body."""
    headers = {"x-simulate": f"cut={after}"}
    parts: list[bytes] = []
    with (
        http.stream("POST", "/v1/chat/completions", json=STREAM, headers=headers) as response,
        pytest.raises(httpx.RemoteProtocolError, match="incomplete"),
    ):
        parts.extend(response.iter_bytes())
    received = b"".join(parts)
    assert received.count(b"\n\n") == after
    assert received.endswith(b"\n\n" if after else b"")
    assert simulator.requests[-1].outcome == "cut"


def test_plain_body_is_cut(http: httpx.Client) -> None:
    """A plain body ends before its announced length."""
    with pytest.raises(httpx.RemoteProtocolError, match="received 10 bytes"):
        _post(http, "cut=10", CHAT)


@pytest.mark.parametrize(("faults", "body"), [("hang", CHAT), ("hang=2", STREAM), ("hang=9", CHAT)])
def test_silence_ends_when_the_client_leaves(
    base_url: str, faults: str, body: dict[str, Any]
) -> None:
    """A hanging answer never comes, and nothing of it is left once the client has gone."""
    simulator = Simulator()
    with serve(simulator) as url:
        timeout = httpx.Timeout(30, read=0.2)
        with (
            httpx.Client(base_url=url, trust_env=False, timeout=timeout) as http,
            pytest.raises(httpx.ReadTimeout),
        ):
            _post(http, faults, body)
    assert simulator.requests[-1].outcome == "disconnected"


def test_malformed_events(http: httpx.Client) -> None:
    """The second event is broken JSON, the others are as they were."""
    events = _post(http, "malformed", STREAM).text.split("\n\n")
    whole = _post(http, "", STREAM).text.split("\n\n")
    assert len(events) == len(whole)
    json.loads(events[0].removeprefix("data: "))
    with pytest.raises(json.JSONDecodeError):
        json.loads(events[1].removeprefix("data: "))
    json.loads(events[2].removeprefix("data: "))
    with pytest.raises(json.JSONDecodeError):
        _post(http, "malformed", CHAT).json()


@pytest.mark.parametrize("body", [CHAT, STREAM])
def test_gzip(http: httpx.Client, body: dict[str, Any]) -> None:
    """A compressed body is the same once it is decompressed."""
    response = _post(http, "gzip", body)
    assert response.headers["content-encoding"] == "gzip"
    assert "9" in response.text
    with http.stream(
        "POST", "/v1/chat/completions", json=body, headers={"x-simulate": "gzip"}
    ) as raw:
        compressed = b"".join(raw.iter_raw())
    assert b'"model":"m"' in gzip.decompress(compressed)


def test_errors_inside_streams(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    """Both SDKs see an error that comes in the middle of a stream."""
    headers = {"x-simulate": "error=4"}
    with pytest.raises(openai.APIError, match="server had an error"):
        list(gpt.chat.completions.create(**STREAM, extra_headers=headers))
    events: Any = list(
        gpt.responses.create(model="m", input="Hi", stream=True, extra_headers=headers)
    )
    assert (events[-1].type, events[-1].sequence_number) == ("error", 4)
    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        list(claude.messages.create(**STREAM, max_tokens=9, extra_headers=headers))


def test_faults_of_all_requests() -> None:
    """A simulator's own faults hold for requests that say nothing themselves."""
    with (
        serve(Simulator(faults="status=500")) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        assert http.post("/v1/chat/completions", json=CHAT).status_code == 500
        assert _post(http, "", CHAT).status_code == 200
        assert _post(http, "status=503", CHAT).status_code == 503


@pytest.mark.parametrize(
    "text",
    ["explode", "status", "status=200", "status=x", "cut", "cut=-1", "slow-head=nan", "gzip=1"],
)
def test_unknown_faults_are_refused(http: httpx.Client, text: str) -> None:
    """What can't be simulated is a 400 that quotes it, and an error where a simulator is made."""
    response = _post(http, text, CHAT)
    assert response.status_code == 400
    assert repr(text) in response.json()["error"]["message"]
    with pytest.raises(Refusal):
        Simulator(faults=text)


def test_terms_combine() -> None:
    """Terms are read in any order, with any spaces."""
    assert Faults.parse(" gzip ;slow-head = 0.5;cut=3; ") == Faults(gzip=True, slow_head=0.5, cut=3)
