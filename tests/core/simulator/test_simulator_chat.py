"""The simulator's OpenAI chat completions, through the official SDK and byte by byte."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest


WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SUM: Any = [{"role": "user", "content": "What is 17 * 23?"}]
TWO_CITIES: Any = [{"role": "user", "content": "What is the weather in Paris and New York?"}]


def test_answer_is_computed(gpt: openai.OpenAI) -> None:
    """The SDK gets an answer that depends on the question, and its cost."""
    completion = gpt.chat.completions.create(model="m", messages=SUM)
    assert completion.choices[0].message.content == "17 * 23 = 391."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == (
        completion.usage.prompt_tokens + completion.usage.completion_tokens
    )


def test_streamed_answer_is_the_same(gpt: openai.OpenAI) -> None:
    """Streamed and whole, the text, the finish reason and the usage are equal."""
    whole = gpt.chat.completions.create(model="m", messages=SUM)
    chunks = list(
        gpt.chat.completions.create(
            model="m", messages=SUM, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage == whole.usage
    assert len({c.id for c in chunks}) == 1


def test_stream_has_the_providers_shape(http: httpx.Client) -> None:
    """Role first, then content, the finish in a chunk of its own, and [DONE]."""
    body = {"model": "m", "messages": SUM, "stream": True}
    response = http.post("/v1/chat/completions", json=body)
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert all(set(delta) == {"content"} for delta in deltas[1:-1])
    assert deltas[-1] == {}
    assert "usage" not in chunks[0]
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"


def test_tool_loop(gpt: openai.OpenAI) -> None:
    """Two cities make two parallel calls, whose results the final answer quotes."""
    first = gpt.chat.completions.create(model="m", messages=TWO_CITIES, tools=[WEATHER])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    calls: Any = message.tool_calls
    cities = [json.loads(call.function.arguments)["city"] for call in calls]
    assert cities == ["Paris", "New York"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"{20 + i} degrees"}
        for i, call in enumerate(calls)
    ]
    history: Any = [*TWO_CITIES, message.to_dict(), *results]
    final = gpt.chat.completions.create(model="m", messages=history, tools=[WEATHER])
    assert final.choices[0].message.content == (
        "get_weather(city=Paris) returned: 20 degrees\n"
        "get_weather(city=New York) returned: 21 degrees"
    )


def test_streamed_tool_calls(gpt: openai.OpenAI) -> None:
    """The SDK's accumulator puts streamed calls together to what comes whole."""
    with gpt.chat.completions.stream(model="m", messages=TWO_CITIES, tools=[WEATHER]) as stream:
        message: Any = stream.get_final_completion().choices[0].message
    arguments = [json.loads(call.function.arguments) for call in message.tool_calls]
    assert arguments == [{"city": "Paris"}, {"city": "New York"}]
    assert len({call.id for call in message.tool_calls}) == 2


def test_calls_come_one_by_one_where_parallel_ones_are_not_allowed(gpt: openai.OpenAI) -> None:
    """Without parallel calls the second city follows the first one's result."""
    history: Any = list(TWO_CITIES)
    cities = []
    for _ in range(2):
        completion = gpt.chat.completions.create(
            model="m", messages=history, tools=[WEATHER], parallel_tool_calls=False
        )
        message: Any = completion.choices[0].message
        (call,) = message.tool_calls
        cities.append(json.loads(call.function.arguments)["city"])
        history += [
            message.to_dict(),
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ]
    assert cities == ["Paris", "New York"]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", None),
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "other"}}, "other"),
    ],
)
def test_tool_choice(gpt: openai.OpenAI, choice: Any, called: str | None) -> None:
    """`tool_choice` forbids, forces and names tools."""
    other: Any = {"type": "function", "function": {"name": "other"}}
    completion = gpt.chat.completions.create(
        model="m", messages=TWO_CITIES, tools=[WEATHER, other], tool_choice=choice
    )
    calls: Any = completion.choices[0].message.tool_calls
    assert (calls[0].function.name if calls else None) == called


def test_limit_and_stop(gpt: openai.OpenAI) -> None:
    """`max_tokens` and `stop` end the answer, each with its finish reason."""
    count: Any = [{"role": "user", "content": "Count to 9"}]
    short = gpt.chat.completions.create(model="m", messages=count, max_tokens=4).choices[0]
    assert (short.message.content, short.finish_reason) == ("1, 2,", "length")
    stopped = gpt.chat.completions.create(model="m", messages=count, stop=", 3").choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("1, 2", "stop")


def test_the_whole_history_counts(gpt: openai.OpenAI) -> None:
    """What was said in earlier turns is known, and what was not sent is not."""
    question = {"role": "user", "content": "What is my name?"}
    told = {"role": "user", "content": "My name is Ada."}
    history: Any = [told, {"role": "assistant", "content": "Noted."}, question]
    forgotten: Any = [question]
    known = gpt.chat.completions.create(model="m", messages=history)
    unknown = gpt.chat.completions.create(model="m", messages=forgotten)
    assert known.choices[0].message.content == "Your name is Ada."
    assert unknown.choices[0].message.content == "You have not told me your name."


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[" * 100_000, None),
        (b"[]", None),
        (b'{"messages": []}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": 5, "messages": []}', "model"),
        (b'{"model": "m", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"model": "m", "messages": [{"role": "king"}]}', "messages[0].role"),
        (b'{"model": "m", "messages": [{"role": "user"}], "n": 2}', "n"),
        (b'{"model": "m", "messages": [{"role": "user"}], "tool_choice": "x"}', "tool_choice"),
        (b'{"model": "m", "messages": [{"role": "tool", "tool_call_id": "x"}]}', "messages"),
    ],
)
def test_bad_requests(http: httpx.Client, body: bytes, param: str | None) -> None:
    """What is malformed or wrong is a 400 in OpenAI's shape that names the parameter."""
    response = http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
