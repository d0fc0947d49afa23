"""The events of a streamed response of OpenAI's Responses API, made from its beginning and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perimeter.simulator.tokens import PER_MESSAGE, count, tokens
from perimeter.simulator.wire import StreamEvent, named_event


_Raw = tuple[str, dict[str, Any], int]
"""An event before it is numbered: type, fields, tokens."""


def stream(opening: dict[str, Any], final: dict[str, Any]) -> Iterator[StreamEvent]:
    """
    Yield all events of a response.

    Args:
        opening: The response object as it is before anything has been said.
        final: The response object as it is when everything has been said.
    """
    for number, (kind, fields, cost) in enumerate(_raw(opening, final)):
        event = {"type": kind, "sequence_number": number, **fields}
        yield StreamEvent(named_event(event), cost)


def failure(message: str, number: int) -> bytes:
    """Return the event with which a stream reports an error."""
    event = {"type": "error", "sequence_number": number, "code": "server_error"}
    return named_event(event | {"message": message, "param": None})


def _raw(opening: dict[str, Any], final: dict[str, Any]) -> Iterator[_Raw]:
    yield "response.created", {"response": opening}, 0
    yield "response.in_progress", {"response": opening}, 0
    for index, item in enumerate(final["output"]):
        events = _message(item) if item["type"] == "message" else _call(item)
        for kind, fields, cost in events:
            yield kind, {"output_index": index, **fields}, cost
    yield f"response.{final['status']}", {"response": final}, 0


def _message(item: dict[str, Any]) -> Iterator[_Raw]:
    part = item["content"][0]
    text = part["text"]
    place = {"item_id": item["id"], "content_index": 0}
    yield "response.output_item.added", {"item": _begun(item, content=[])}, 0
    yield "response.content_part.added", {**place, "part": part | {"text": ""}}, 0
    for token in tokens(text):
        yield "response.output_text.delta", {**place, "delta": token, "logprobs": []}, 1
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}, 0
    yield "response.content_part.done", {**place, "part": part}, 0
    yield "response.output_item.done", {"item": item}, 0


def _call(item: dict[str, Any]) -> Iterator[_Raw]:
    place = {"item_id": item["id"]}
    cost = PER_MESSAGE + count(item["name"])
    yield "response.output_item.added", {"item": _begun(item, arguments="")}, cost
    for piece in tokens(item["arguments"]):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}, 1
    done = {**place, "name": item["name"], "arguments": item["arguments"]}
    yield "response.function_call_arguments.done", done, 0
    yield "response.output_item.done", {"item": item}, 0


def _begun(item: dict[str, Any], **empty: Any) -> dict[str, Any]:
    return {**item, "status": "in_progress", **empty}
