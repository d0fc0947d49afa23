"""The simulator's Anthropic Messages API, through the official SDK and byte by byte."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import pytest


WEATHER: Any = {
    "name": "get_weather",
    "description": "Current weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TWO_CITIES: Any = [{"role": "user", "content": "What is the weather in Paris and Rome?"}]


def _ask(text: str) -> Any:
    return {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": text}]}


def test_streamed_answer_is_the_same(claude: anthropic.Anthropic) -> None:
    """Streamed and whole, the text, the stop reason and the usage are equal."""
    whole: Any = claude.messages.create(**_ask("What is 17 * 23?"))
    with claude.messages.stream(**_ask("What is 17 * 23?")) as stream:
        streamed: Any = stream.get_final_message()
    assert whole.content[0].text == streamed.content[0].text == "17 * 23 = 391."
    assert whole.stop_reason == streamed.stop_reason == "end_turn"
    assert whole.usage == streamed.usage


def test_stream_has_the_providers_shape(http: httpx.Client) -> None:
    """The events come in the real API's order and are named after their type."""
    headers = {"anthropic-version": "2023-06-01"}
    response = http.post("/v1/messages", json=_ask("Say hi") | {"stream": True}, headers=headers)
    events = [event.split("\n") for event in response.text.split("\n\n")[:-1]]
    payloads = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert [name.removeprefix("event: ") for name, _ in events] == [p["type"] for p in payloads]
    assert [payload["type"] for payload in payloads] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert payloads[0]["message"]["content"] == []
    assert payloads[3]["delta"] == {"type": "text_delta", "text": "hi"}
    assert response.headers["request-id"].startswith("req_")


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_loop(claude: anthropic.Anthropic, *, streamed: bool) -> None:
    """Calls follow an announcement; their results are quoted, failures as such."""
    asked: Any = {"model": "m", "max_tokens": 99, "tools": [WEATHER]}
    if streamed:
        with claude.messages.stream(**asked, messages=TWO_CITIES) as stream:
            first: Any = stream.get_final_message()
    else:
        first = claude.messages.create(**asked, messages=TWO_CITIES)
    assert first.stop_reason == "tool_use"
    text, paris, rome = first.content
    assert text.text == "Let me call get_weather(city=Paris), get_weather(city=Rome)."
    assert (paris.input, rome.input) == ({"city": "Paris"}, {"city": "Rome"})
    results = [
        {"type": "tool_result", "tool_use_id": paris.id, "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": rome.id,
            "content": [{"type": "text", "text": "no such city"}],
            "is_error": True,
        },
    ]
    history: Any = [*TWO_CITIES, {"role": "assistant", "content": first.content}]
    history.append({"role": "user", "content": results})
    final: Any = claude.messages.create(**asked, messages=history)
    assert final.content[0].text == (
        "get_weather(city=Paris) returned: sunny\nget_weather(city=Rome) failed: no such city"
    )


def test_system_prompt_as_text_and_as_blocks(claude: anthropic.Anthropic) -> None:
    """Both forms of the system prompt are read."""
    for system in ("Be kind.", [{"type": "text", "text": "Be kind."}]):
        asked: Any = _ask("What are your instructions?") | {"system": system}
        answer: Any = claude.messages.create(**asked)
        assert answer.content[0].text == "My instructions are: Be kind."


def test_limit_and_stop(claude: anthropic.Anthropic) -> None:
    """`max_tokens` and stop sequences end the answer, each with its stop reason."""
    short: Any = claude.messages.create(**(_ask("Count to 9") | {"max_tokens": 4}))
    assert (short.content[0].text, short.stop_reason) == ("1, 2,", "max_tokens")
    stopped: Any = claude.messages.create(**_ask("Count to 9"), stop_sequences=[", 5", ", 3"])
    assert stopped.content[0].text == "1, 2"
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", ", 3")


def test_count_tokens_agrees_with_usage(claude: anthropic.Anthropic) -> None:
    """The count of a request is what its answer then reports as input."""
    asked = _ask("What is 17 * 23?") | {"tools": [WEATHER], "system": "Be kind."}
    counted = claude.messages.count_tokens(**{k: v for k, v in asked.items() if k != "max_tokens"})
    assert counted.input_tokens == claude.messages.create(**asked).usage.input_tokens > 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"system": 5}, "system"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, "role"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}
                ]
            },
            "tool_use_id",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": 5}]}]},
            "tool_result.content",
        ),
    ],
)
def test_bad_requests(claude: anthropic.Anthropic, change: dict[str, Any], message: str) -> None:
    """What is wrong is a 400 in Anthropic's shape that says where."""
    with pytest.raises(anthropic.BadRequestError, match=message) as caught:
        claude.messages.create(**(_ask("Hi") | change))
    body: Any = caught.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["request_id"] == caught.value.request_id


def test_version_header_is_needed(http: httpx.Client) -> None:
    """A request that lost its version header on the way is refused."""
    response = http.post("/v1/messages", json=_ask("Hi"))
    assert response.status_code == 400
    assert "anthropic-version" in response.json()["error"]["message"]
