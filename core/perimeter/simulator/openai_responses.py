"""
OpenAI Responses: `POST /v1/responses` and `GET /v1/responses/{id}`.

A response is remembered unless `store` is false, so that `previous_response_id` continues it;
`instructions` are not carried over, as the real API has it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter.simulator.conversation import Answer, Call, Conversation, Result, Tool, Turn
from perimeter.simulator.desk import Desk, StoredResponse
from perimeter.simulator.openai_chat import tool_choice
from perimeter.simulator.parsing import Content, arguments_of, parse, refuse_orphans, text_of
from perimeter.simulator.providers import Refusal
from perimeter.simulator.responses_stream import failure, stream
from perimeter.simulator.tokens import arguments_json, input_tokens, output_tokens
from perimeter.simulator.wire import Query, Reply


ORPHAN = "No tool call found for function call output with call_id {id}."


class _Item(msgspec.Struct):
    """An input item. Of other types than messages, calls and outputs nothing is understood."""

    type: str = "message"
    role: str | None = None
    content: Any = None
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    output: Content = None


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Request(msgspec.Struct):
    model: str
    input: str | list[_Item] = ""
    instructions: str | None = None
    stream: bool | None = False
    previous_response_id: str | None = None
    store: bool | None = True
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = True
    max_output_tokens: int | None = None
    metadata: dict[str, str] | None = None


def respond(query: Query, desk: Desk) -> Reply:
    """Answer a Responses request."""
    request = parse(query.body, _Request)
    said = _earlier(request.previous_response_id, desk) + _turns(request.input)
    conversation = _conversation(request, said)
    refuse_orphans(conversation, ORPHAN, "input")
    limit = request.max_output_tokens
    answer = desk.answer(conversation, limit=limit, call_prefix="call_")
    opening = _opening(request, query, desk)
    final = opening | _ending(conversation, answer, desk)
    if request.store is not False:
        desk.remember(final["id"], StoredResponse((*said, answer.turn()), final))
    if request.stream:
        return Reply(events=stream(opening, final), failure=failure)
    return Reply(final, tokens=output_tokens(answer))


def get_response(query: Query, desk: Desk) -> Reply:
    """Answer with a response that is remembered."""
    response_id = query.path.rpartition("/")[2]
    stored = desk.responses.get(response_id)
    if stored is None:
        raise Refusal(404, f"Response with id '{response_id}' not found.")
    return Reply(stored.payload)


def _earlier(response_id: str | None, desk: Desk) -> tuple[Turn, ...]:
    if response_id is None:
        return ()
    stored = desk.responses.get(response_id)
    if stored is None:
        message = f"Previous response with id '{response_id}' not found."
        raise Refusal(
            400, message, param="previous_response_id", code="previous_response_not_found"
        )
    return stored.turns


def _conversation(request: _Request, said: tuple[Turn, ...]) -> Conversation:
    system = (Turn("system", request.instructions),) if request.instructions else ()
    tools = [tool for tool in request.tools or () if tool.type == "function"]
    return Conversation(
        system + said,
        tuple(Tool(tool.name, tool.description or "", tool.parameters or {}) for tool in tools),
        tool_choice(request.tool_choice, parallel=request.parallel_tool_calls is not False),
    )


def _turns(given: str | list[_Item]) -> tuple[Turn, ...]:
    if isinstance(given, str):
        return (Turn("user", given),)
    return tuple(turn for item in given if (turn := _turn(item)) is not None)


def _turn(item: _Item) -> Turn | None:
    if item.type == "function_call":
        return Turn(
            "assistant", calls=(Call(item.name, arguments_of(item.arguments), item.call_id),)
        )
    if item.type == "function_call_output":
        return Turn("tool", results=(Result(item.call_id, text_of(item.output)),))
    return _message(item) if item.type == "message" else None


def _message(item: _Item) -> Turn:
    try:
        text = text_of(msgspec.convert(item.content, Content))
    except msgspec.ValidationError as error:
        raise Refusal(400, f"input.content: {error}", param="input") from None
    match item.role:
        case "user" | "assistant" | "system":
            return Turn(item.role, text)
        case "developer":
            return Turn("system", text)
    raise Refusal(400, f"Invalid value: {item.role!r}.", param="input.role")


def _opening(request: _Request, query: Query, desk: Desk) -> dict[str, Any]:
    """Return the response object as it is before anything has been said."""
    return {
        "id": desk.new_id("resp_"),
        "object": "response",
        "created_at": desk.now(),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": request.store is not False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": request.tool_choice or "auto",
        "tools": arguments_of(query.body.decode()).get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": request.metadata or {},
    }


def _ending(conversation: Conversation, answer: Answer, desk: Desk) -> dict[str, Any]:
    """Return what is different about the response object once everything has been said."""
    short = answer.finish == "length"
    return {
        "status": "incomplete" if short else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if short else None,
        "output": _output(answer, desk),
        "usage": _usage(input_tokens(conversation), output_tokens(answer)),
    }


def _output(answer: Answer, desk: Desk) -> list[dict[str, Any]]:
    status = "incomplete" if answer.finish == "length" else "completed"
    if not answer.calls:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
        item = {"id": desk.new_id("msg_"), "type": "message", "status": status}
        return [item | {"content": [part], "role": "assistant"}]
    return [
        {
            "id": desk.new_id("fc_"),
            "type": "function_call",
            "status": status,
            "arguments": arguments_json(call),
            "call_id": call.id,
            "name": call.name,
        }
        for call in answer.calls
    ]


def _usage(read: int, written: int) -> dict[str, Any]:
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
