"""Conversations on OpenAI's wire: chat completions and Responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from conversation_turns import (
    Client,
    Habits,
    Note,
    Results,
    Said,
    Step,
    Turn,
    User,
    compact,
    echoed,
)


USAGE = {"prompt_tokens": 52, "completion_tokens": 18, "total_tokens": 70}


def chat_request(step: Step, client: Client) -> dict[str, Any]:
    """Return the body of a request for a chat completion."""
    messages: list[dict[str, Any]] = []
    if step.system:
        messages.append({"role": "system", "content": step.system})
    for turn in step.turns:
        messages.extend(_chat_messages(turn, client.habits))
    body: dict[str, Any] = {"model": client.model, "messages": messages}
    if client.tools:
        body["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
            for name in client.tools
        ]
    if client.habits.stream:
        body["stream"] = True
    return body


def _chat_messages(turn: Turn, habits: Habits) -> Iterator[dict[str, Any]]:
    match turn:
        case User(text):
            content: Any = [{"type": "text", "text": text}] if habits.blocks else text
            yield {"role": "user", "content": content}
        case Note(text):
            yield {"role": "system", "content": text}
        case Results(items):
            for call, text in items:
                yield {"role": "tool", "tool_call_id": call.id, "content": text}
        case Said():
            yield from _chat_echo(echoed(turn, habits), habits)


def _chat_echo(said: Said, habits: Habits) -> Iterator[dict[str, Any]]:
    if habits.split and said.text and said.calls:
        yield _chat_message(Said(said.text, said.thinking), habits)
        said = Said(calls=said.calls)
    yield _chat_message(said, habits)


def _chat_message(said: Said, habits: Habits) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    if habits.name:
        message["name"] = habits.name
    if habits.keep_nulls:
        message |= {"refusal": None, "annotations": [], "audio": None, "function_call": None}
        message["tool_calls"] = None
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.calls:
        message["tool_calls"] = _chat_calls(said)
    return message


def _chat_calls(said: Said) -> list[dict[str, Any]]:
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in said.calls
    ]


def chat_reply(said: Said, client: Client) -> bytes:
    """Return a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    message |= {"refusal": None, "annotations": []}
    if said.thinking:
        message["reasoning_content"] = said.thinking
    if said.calls:
        message["tool_calls"] = _chat_calls(said)
    finish = "tool_calls" if said.calls else "stop"
    if client.habits.stream:
        return _sse(_chat_chunks(said, client, finish)) + b"data: [DONE]\n\n"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return compact(
        _chat_head(said, client, "chat.completion") | {"choices": [choice], "usage": USAGE}
    ).encode()


def _chat_head(said: Said, client: Client, kind: str) -> dict[str, Any]:
    return {"id": said.id, "object": kind, "created": 1741569952, "model": client.model}


def _chat_chunks(said: Said, client: Client, finish: str) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if said.thinking:
        deltas.append({"reasoning_content": said.thinking})
    half = len(said.text) // 2
    deltas += [{"content": text} for text in (said.text[:half], said.text[half:]) if text]
    deltas += [
        {"tool_calls": [{"index": index, **call}]} for index, call in enumerate(_chat_calls(said))
    ]
    head = _chat_head(said, client, "chat.completion.chunk")
    for delta in deltas:
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}


def _sse(events: Iterable[dict[str, Any]]) -> bytes:
    return "".join(
        f"event: {event['type']}\ndata: {compact(event)}\n\n"
        if "type" in event
        else f"data: {compact(event)}\n\n"
        for event in events
    ).encode()


def responses_request(step: Step, client: Client) -> dict[str, Any]:
    """Return the body of a request to the Responses API."""
    items = [item for turn in step.turns for item in _items(turn, client.habits)]
    body: dict[str, Any] = {"model": client.model, "input": items}
    only = step.turns[0]
    if len(step.turns) == 1 and isinstance(only, User) and not client.habits.blocks:
        body["input"] = only.text
    if step.system:
        body["instructions"] = step.system
    if step.previous:
        body["previous_response_id"] = step.previous
    if client.tools:
        body["tools"] = [
            {"type": "function", "name": name, "parameters": {"type": "object"}}
            for name in client.tools
        ]
    if client.habits.stream:
        body["stream"] = True
    return body


def _items(turn: Turn, habits: Habits) -> Iterator[dict[str, Any]]:
    match turn:
        case User(text):
            content: Any = [{"type": "input_text", "text": text}] if habits.blocks else text
            yield {"role": "user", "content": content}
        case Note(text):
            yield {"role": "developer", "content": text}
        case Results(items):
            for call, text in items:
                yield {"type": "function_call_output", "call_id": call.id, "output": text}
        case Said():
            said = echoed(turn, habits)
            # An agent's SDK sends the items back as they came; a chat window only the words.
            yield from _output(said) if habits.keep_nulls else _easy_items(said)


def _easy_items(said: Said) -> Iterator[dict[str, Any]]:
    if said.text:
        yield {"role": "assistant", "content": said.text}
    for call in said.calls:
        yield {
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def _output(said: Said) -> Iterator[dict[str, Any]]:
    tail = said.id.removeprefix("resp_")
    if said.thinking:
        summary = [{"type": "summary_text", "text": said.thinking}]
        yield {"type": "reasoning", "id": f"rs_{tail}", "summary": summary}
    if said.text:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
        yield {
            "id": f"msg_{tail}",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [part],
        }
    for index, call in enumerate(said.calls):
        yield {
            "id": f"fc_{index}{tail}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }


def responses_reply(said: Said, client: Client) -> bytes:
    """Return a response."""
    response = {
        "id": said.id,
        "object": "response",
        "created_at": 1741569952,
        "status": "completed",
        "error": None,
        "model": client.model,
        "output": list(_output(said)),
        "usage": {"input_tokens": 52, "output_tokens": 18, "total_tokens": 70},
    }
    if client.habits.stream:
        return _sse(_response_events(response))
    return compact(response).encode()


def _response_events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = response | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "sequence_number": 0, "response": begun}
    number = 1
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item": item}
        yield {"type": "response.output_item.added", "sequence_number": number, **place}
        yield {"type": "response.output_item.done", "sequence_number": number + 1, **place}
        number += 2
    yield {"type": "response.completed", "sequence_number": number, "response": response}
