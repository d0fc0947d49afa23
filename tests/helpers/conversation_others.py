"""Conversations on Anthropic's and on Google's wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs

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


CACHED = {"type": "ephemeral"}


def anthropic_request(step: Step, client: Client) -> dict[str, Any]:
    """Return the body of a request to Anthropic's Messages API."""
    habits = client.habits
    messages: list[dict[str, Any]] = []
    for turn in step.turns:
        messages.extend(_anthropic_messages(turn, habits))
    if habits.toggle_cache:
        messages[-1] = _cached(messages[-1])
    body: dict[str, Any] = {"model": client.model, "max_tokens": 1024, "messages": messages}
    if step.system:
        block = {"type": "text", "text": step.system, "cache_control": CACHED}
        body["system"] = [block] if habits.toggle_cache else step.system
    if client.tools:
        body["tools"] = [
            {"name": name, "input_schema": {"type": "object"}} for name in client.tools
        ]
    if habits.stream:
        body["stream"] = True
    return body


def _cached(message: dict[str, Any]) -> dict[str, Any]:
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    blocks[-1] = {**blocks[-1], "cache_control": CACHED}
    return {**message, "content": blocks}


def _anthropic_messages(turn: Turn, habits: Habits) -> Iterator[dict[str, Any]]:
    match turn:
        case User(text) | Note(text):
            blocks = habits.blocks or habits.toggle_cache
            content: Any = [{"type": "text", "text": text}] if blocks else text
            yield {"role": "user", "content": content}
        case Results(items):
            yield {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": call.id, "content": text}
                    for call, text in items
                ],
            }
        case Said():
            said = echoed(turn, habits)
            if habits.split and said.text and said.calls:
                text_only = attrs.evolve(said, calls=())
                yield {"role": "assistant", "content": _blocks(text_only)}
                said = Said(calls=said.calls)
            blocks_said = _blocks(said)
            plain = habits.drop_thinking and not said.calls and not habits.blocks
            yield {"role": "assistant", "content": said.text if plain else blocks_said}


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thinking:
        signature = "c2lnbmF0dXJl" + said.id[-8:]
        blocks.append({"type": "thinking", "thinking": said.thinking, "signature": signature})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
        for call in said.calls
    ]
    return blocks


def anthropic_reply(said: Said, client: Client) -> bytes:
    """Return a message."""
    message = {
        "id": said.id,
        "type": "message",
        "role": "assistant",
        "model": client.model,
        "content": _blocks(said),
        "stop_reason": "tool_use" if said.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 52, "output_tokens": 18},
    }
    if not client.habits.stream:
        return compact(message).encode()
    return "".join(
        f"event: {event['type']}\ndata: {compact(event)}\n\n" for event in _events(message)
    ).encode()


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = message | {"content": [], "stop_reason": None}
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        empty, deltas = _pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 18}}
    yield {"type": "message_stop"}


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        half = len(block["text"]) // 2
        parts = block["text"][:half], block["text"][half:]
        return block | {"text": ""}, [{"type": "text_delta", "text": part} for part in parts]
    if block["type"] == "thinking":
        return block | {"thinking": "", "signature": ""}, [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    written = json.dumps(block["input"], ensure_ascii=False)
    return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": written}]


def gemini_request(step: Step, client: Client) -> dict[str, Any]:
    """Return the body of a request to Google's generateContent."""
    contents = [_content(turn, client.habits) for turn in step.turns]
    body: dict[str, Any] = {"contents": contents}
    if step.system:
        body["systemInstruction"] = {"parts": [{"text": step.system}]}
    if client.tools:
        declared = [{"name": name} for name in client.tools]
        body["tools"] = [{"functionDeclarations": declared}]
    return body


def _content(turn: Turn, habits: Habits) -> dict[str, Any]:
    match turn:
        case User(text) | Note(text):
            return {"role": "user", "parts": [{"text": text}]}
        case Results(items):
            return {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": call.name, "response": {"result": text}}}
                    for call, text in items
                ],
            }
        case Said():
            return {"role": "model", "parts": _parts(echoed(turn, habits), signed=habits.blocks)}


def _parts(said: Said, *, signed: bool) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if said.thinking:
        parts.append({"text": said.thinking, "thought": True})
    if said.text:
        parts.append({"text": said.text})
    parts += [{"functionCall": {"name": call.name, "args": call.input}} for call in said.calls]
    if signed:
        parts[-1]["thoughtSignature"] = "c2lnbmF0dXJl" + said.id[-8:]
    return parts


def gemini_reply(said: Said, client: Client) -> bytes:
    """Return a generated content."""
    content = {"role": "model", "parts": _parts(said, signed=True)}
    usage = {"promptTokenCount": 52, "candidatesTokenCount": 18, "totalTokenCount": 70}
    return compact(
        {
            "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
            "usageMetadata": usage,
            "modelVersion": client.model,
            "responseId": said.id,
        }
    ).encode()
