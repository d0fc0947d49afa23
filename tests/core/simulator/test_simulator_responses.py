"""The simulator's OpenAI Responses API, through the official SDK."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from perimeter.simulator import Simulator
from perimeter.testing import serve


WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "strict": False,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


def test_previous_response_carries_the_history(gpt: openai.OpenAI) -> None:
    """A response continues the one it names, any number of times."""
    first = gpt.responses.create(model="m", input="My name is Ada.")
    second = gpt.responses.create(model="m", input="Hi", previous_response_id=first.id)
    third = gpt.responses.create(
        model="m", input="What is my name?", previous_response_id=second.id
    )
    assert third.output_text == "Your name is Ada."
    assert third.previous_response_id == second.id
    assert gpt.responses.retrieve(third.id).output_text == "Your name is Ada."


def test_instructions_are_not_carried(gpt: openai.OpenAI) -> None:
    """Instructions hold for one response only."""
    question = "What are your instructions?"
    first = gpt.responses.create(model="m", input=question, instructions="Be kind.")
    second = gpt.responses.create(model="m", input=question, previous_response_id=first.id)
    assert first.output_text == "My instructions are: Be kind."
    assert second.output_text == "I have no instructions."


def test_stream_ends_with_what_comes_whole(gpt: openai.OpenAI) -> None:
    """The events are the real API's, numbered, and their deltas make the whole text."""
    events = list(gpt.responses.create(model="m", input="Count to 3", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    last: Any = events[-1]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == last.response.output_text == "1, 2, 3."
    whole = gpt.responses.create(model="m", input="Count to 3")
    assert last.response.usage == whole.usage


@pytest.mark.parametrize("streamed", [False, True])
def test_tool_loop(gpt: openai.OpenAI, *, streamed: bool) -> None:
    """Calls come as items; their outputs, sent with the previous id, are quoted."""
    asked: Any = {"model": "m", "input": "Weather in Paris and Rome?", "tools": [WEATHER]}
    if streamed:
        with gpt.responses.stream(**asked) as stream:
            first: Any = stream.get_final_response()
    else:
        first = gpt.responses.create(**asked)
    assert [json.loads(item.arguments) for item in first.output] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    outputs: Any = [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
        for item in first.output
    ]
    final = gpt.responses.create(model="m", input=outputs, previous_response_id=first.id)
    assert final.output_text.splitlines() == [
        "get_weather(city=Paris) returned: sunny",
        "get_weather(city=Rome) returned: sunny",
    ]


def test_history_may_be_sent_as_items(gpt: openai.OpenAI) -> None:
    """A conversation also works as a list of items, calls and outputs included."""
    items: Any = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Weather in Rome?"}]},
        {
            "type": "function_call",
            "call_id": "c1",
            "name": "get_weather",
            "arguments": '{"city":"Rome"}',
        },
        {"type": "function_call_output", "call_id": "c1", "output": "hail"},
    ]
    answer = gpt.responses.create(model="m", input=items, store=False)
    assert answer.output_text == "get_weather(city=Rome) returned: hail"
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(answer.id)


def test_limit(gpt: openai.OpenAI) -> None:
    """Too few tokens make the response incomplete, also as the stream's last event."""
    asked: Any = {"model": "m", "input": "Count to 9", "max_output_tokens": 16}
    whole = gpt.responses.create(**asked)
    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    events = list(gpt.responses.create(**asked, stream=True))
    assert events[-1].type == "response.incomplete"


def test_unknown_ids(gpt: openai.OpenAI) -> None:
    """Unknown previous ids and outputs without a call are refused as the real API does."""
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.responses.create(model="m", input="Hi", previous_response_id="resp_none")
    assert caught.value.code == "previous_response_not_found"
    output: Any = [{"type": "function_call_output", "call_id": "none", "output": "x"}]
    with pytest.raises(openai.BadRequestError, match="No tool call found"):
        gpt.responses.create(model="m", input=output)


def test_memory_is_bounded() -> None:
    """The oldest responses are forgotten first."""
    with (
        serve(Simulator(max_responses=2)) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="any") as gpt,
    ):
        ids = [gpt.responses.create(model="m", input="Hi").id for _ in range(3)]
        gpt.responses.retrieve(ids[1])
        with pytest.raises(openai.NotFoundError):
            gpt.responses.retrieve(ids[0])
