"""
The sample agents.

Each holds one conversation and knows what a right answer is. What the simulated provider
understands is in `perimeter.simulator.skills`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import msgspec

from perimeter.demo.caller import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, Caller
from perimeter.simulator.providers import OPENAI, Refusal


_WEATHER = {"Paris": "18 °C and sunny", "Oslo": "4 °C and snowing"}
_WEATHER_TOOL = {
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
_SUM_TOOL = {
    "name": "calculate",
    "description": "Works out an expression",
    "input_schema": {
        "type": "object",
        "properties": {"expression": {"type": "string"}},
        "required": ["expression"],
    },
}


async def support_chat(caller: Caller) -> None:
    """Talk about an order over several turns; the answers need the whole history."""
    messages = [{"role": "system", "content": "You help customers of a tea shop."}]
    for question, wanted in (
        ("Hello! My name is Ada and my order number is 4711.", "4711"),
        ("I bought 3 tins. What is 3 * 17?", "51"),
        ("What is my name?", "Ada"),
        ("What is my order number?", "4711"),
        ("How many messages have I sent?", "5 messages"),
    ):
        messages.append({"role": "user", "content": question})
        answer = await _chat(caller, {"messages": messages}, question)
        caller.expect_text(answer["content"] or "", wanted)
        messages.append(answer)


def traveller(question: str, wanted: str) -> Callable[[Caller], Awaitable[None]]:
    """
    Return an agent that begins with the very words of its twin, and goes on with others.

    Only the ids that the provider gave its tool calls tell the twins' first answers apart.
    """

    async def converse(caller: Caller) -> None:
        opening = "What is the weather in Oslo?"
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": "You help travellers pack."},
            {"role": "user", "content": opening},
        ]
        body = {"messages": messages, "tools": [_WEATHER_TOOL]}
        answer = await _chat(caller, body, opening)
        messages.append(answer)
        for call in answer.get("tool_calls") or []:
            caller.expect("Oslo" in call["function"]["arguments"], "another city was asked for")
            result = {"role": "tool", "tool_call_id": call["id"], "content": _WEATHER["Oslo"]}
            messages.append(result)
            caller.result.tool_calls += 1
        messages.append(await _chat(caller, body, "the result for Oslo"))
        messages.append({"role": "user", "content": question})
        answer = await _chat(caller, body, question)
        caller.expect_text(answer["content"] or "", wanted)

    return converse


async def calculator(caller: Caller) -> None:
    """Work out a sum with a tool, streamed, in the protocol of the other provider."""
    question = "Please calculate 15 * 24."
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    system = "You never do sums in your head."
    body = {"max_tokens": 300, "system": system, "messages": messages, "tools": [_SUM_TOOL]}
    response = await caller.ask(MESSAGES, body, asked=question, read=_blocks)
    content = response.json()["content"]
    messages.append({"role": "assistant", "content": content})
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "360"}
        for block in content
        if block["type"] == "tool_use"
    ]
    caller.result.tool_calls += len(results)
    caller.expect(len(results) == 1, f"{len(results)} tools were called")
    messages.append({"role": "user", "content": results})
    asked = "the result of the calculation"
    text = await caller.stream(MESSAGES, {**body, "stream": True}, asked=asked, read=_delta_text)
    caller.expect_text(text, "360")


def _blocks(payload: Any) -> str:
    return " ".join(
        block.get("text") or f"{block['name']}({json.dumps(block['input'])})"
        for block in payload["content"]
    )


async def weather_agent(caller: Caller) -> None:
    """Look up two cities in parallel with a tool, and pass the results back."""
    question = "What is the weather in Paris and Oslo?"
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You report the weather."},
        {"role": "user", "content": question},
    ]
    body = {"messages": messages, "tools": [_WEATHER_TOOL]}
    answer = await _chat(caller, body, question)
    messages.append(answer)
    cities = []
    for call in answer.get("tool_calls") or []:
        city = json.loads(call["function"]["arguments"])["city"]
        cities.append(city)
        result = {"role": "tool", "tool_call_id": call["id"], "content": _WEATHER[city]}
        messages.append(result)
        caller.result.tool_calls += 1
    caller.expect(cities == ["Paris", "Oslo"], f"tools were called for {cities}")
    final = await _chat(caller, body, f"results for {' and '.join(cities)}")
    for weather in _WEATHER.values():
        caller.expect_text(final["content"] or "", weather)


async def _chat(caller: Caller, body: dict[str, Any], asked: str) -> dict[str, Any]:
    response = await caller.ask(CHAT, body, asked=asked, read=_chat_text)
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


def _chat_text(payload: Any) -> str:
    message = payload["choices"][0]["message"]
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return message["content"] or ", ".join(f"{call['name']}({call['arguments']})" for call in calls)


async def tutor(caller: Caller) -> None:
    """Explain a multiplication, streamed, and a second one in the same conversation."""
    messages: list[dict[str, Any]] = []
    for question, wanted in (
        ("Explain how to multiply 12 * 34 step by step.", "12 * 34 = 408"),
        ("Thank you. What did I say first?", "multiply 12 * 34"),
    ):
        messages.append({"role": "user", "content": question})
        system = "You are a patient tutor."
        body = {"max_tokens": 500, "system": system, "messages": messages, "stream": True}
        text = await caller.stream(MESSAGES, body, asked=question, read=_delta_text)
        caller.expect_text(text, wanted)
        messages.append({"role": "assistant", "content": text})


def _delta_text(event: Any) -> str:
    text: str = event.get("delta", {}).get("text", "")
    return text


async def planner(caller: Caller) -> None:
    """Continue a response by its id only; the provider has to remember what was said."""
    previous = None
    for question, wanted in (
        ("My budget is 900 euros. I like mountains.", "900 euros"),
        ("What is my budget?", "900 euros"),
        ("What do I like?", "mountains"),
    ):
        body = {"input": question, "previous_response_id": previous}
        response = await caller.ask(RESPONSES, body, asked=question, read=_response_text)
        payload = response.json()
        previous = payload["id"]
        caller.expect_text(_response_text(payload), wanted)


def _response_text(payload: Any) -> str:
    text: str = payload["output"][0]["content"][0]["text"]
    return text


async def librarian(caller: Caller) -> None:
    """Embed three titles; the two that are alike have to be the closest."""
    titles = ["green tea from Japan", "black tea from Japan", "bicycle repair"]
    body = {"input": titles, "dimensions": 256}
    response = await caller.ask(EMBEDDINGS, body, asked=f"{len(titles)} titles", read=_size)
    tea, other_tea, bicycle = (item["embedding"] for item in response.json()["data"])
    caller.expect(
        _likeness(tea, other_tea) > _likeness(tea, bicycle) + 0.3, "like titles are not close"
    )


def _size(payload: Any) -> str:
    return f"{len(payload['data'])} vectors of {len(payload['data'][0]['embedding'])} numbers"


def _likeness(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


async def unlucky(caller: Caller) -> None:
    """Run into a rate limit, which has to arrive exactly as the provider sent it, and try again."""
    question = "What is 6 * 7?"
    body = {"messages": [{"role": "user", "content": question}]}
    response = await caller.ask(
        CHAT,
        body,
        asked=question,
        read=_chat_text,
        status=429,
        faults="status=429; retry-after=7; message=Too many questions at once.",
    )
    wanted = msgspec.json.encode(OPENAI.error(Refusal(429, "Too many questions at once."), ""))
    caller.expect(response.content == wanted, f"the error came as {response.content!r}")
    caller.expect(response.headers.get("retry-after") == "7", "retry-after did not arrive")
    caller.expect("x-request-id" in response.headers, "the request id did not arrive")
    answer = await _chat(caller, body, f"{question} (again)")
    caller.expect_text(answer["content"] or "", "42")


@attrs.frozen
class Agent:
    """
    An agent of the demo.

    Attributes:
        name: Its name, which the proxy learns from `headers` only.
        converse: What it does.
        workflow: The workflow it belongs to, or None.
        headers: What it says about itself with every call.
    """

    name: str
    converse: Callable[[Caller], Awaitable[None]]
    workflow: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)


AGENTS = (
    Agent(
        "support-chat",
        support_chat,
        workflow="demo",
        headers={
            "x-cylestio-agent-id": "support-chat",
            "x-cylestio-conversation-id": "order-4711",
        },
    ),
    Agent("traveller", traveller("What is 3 * 9?", "27")),
    Agent("her-twin", traveller("What is 5 * 11?", "55")),
    Agent("calculator", calculator),
    Agent("weather-agent", weather_agent),
    Agent("tutor", tutor),
    Agent("planner", planner),
    Agent("librarian", librarian),
    Agent("unlucky-agent", unlucky),
)
"""All of them; the embedding of the librarian is a call, but no conversation."""
