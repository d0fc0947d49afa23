"""OpenAI chat completions: `POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from perimeter.simulator.conversation import (
    Answer,
    Call,
    Conversation,
    Result,
    Tool,
    ToolChoice,
    Turn,
)
from perimeter.simulator.desk import Desk
from perimeter.simulator.parsing import Content, arguments_of, parse, refuse_orphans, text_of
from perimeter.simulator.providers import OPENAI, Refusal
from perimeter.simulator.tokens import (
    PER_MESSAGE,
    arguments_json,
    count,
    input_tokens,
    output_tokens,
    tokens,
)
from perimeter.simulator.wire import DONE, Query, Reply, StreamEvent, data_event


ORPHAN = (
    "messages with role 'tool' must be a response to a preceding message with 'tool_calls' ({id})."
)


class _Function(msgspec.Struct):
    name: str
    arguments: str = "{}"


class _ToolCall(msgspec.Struct):
    id: str
    function: _Function | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


class _Signature(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Signature | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = True
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    n: int | None = 1


def complete(query: Query, desk: Desk) -> Reply:
    """Answer a chat completion request."""
    request = parse(query.body, _Request)
    _check(request)
    conversation = _conversation(request)
    refuse_orphans(conversation, ORPHAN, "messages")
    answer = desk.answer(
        conversation,
        limit=request.max_completion_tokens or request.max_tokens,
        stops=_stops(request.stop),
        call_prefix="call_",
    )
    frame = _frame(request, desk)
    if not request.stream:
        return Reply(_completion(frame, conversation, answer), tokens=output_tokens(answer))
    usage = _usage(conversation, answer) if _wants_usage(request) else None
    return Reply(events=_events(frame, answer, usage), failure=_failure)


def _check(request: _Request) -> None:
    if not request.messages:
        raise Refusal(400, "[] is too short - 'messages'", param="messages")
    if request.n not in (None, 1):
        raise Refusal(400, "Only one choice can be simulated.", param="n")


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _wants_usage(request: _Request) -> bool:
    return request.stream_options is not None and request.stream_options.include_usage


def _conversation(request: _Request) -> Conversation:
    signatures = [tool.function for tool in request.tools or () if tool.function]
    return Conversation(
        tuple(map(_turn, request.messages)),
        tuple(Tool(s.name, s.description or "", s.parameters or {}) for s in signatures),
        tool_choice(request.tool_choice, parallel=request.parallel_tool_calls is not False),
    )


def _turn(message: _Message) -> Turn:
    text = text_of(message.content)
    if message.role == "tool":
        return Turn("tool", results=(Result(message.tool_call_id or "", text),))
    calls = tuple(
        Call(call.function.name, arguments_of(call.function.arguments), call.id)
        for call in message.tool_calls or ()
        if call.function
    )
    return Turn("system" if message.role == "developer" else message.role, text, calls)


def tool_choice(choice: str | dict[str, Any] | None, *, parallel: bool) -> ToolChoice:
    """Read the `tool_choice` of chat completions and Responses, which differ in one level."""
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        return ToolChoice("required", name if isinstance(name, str) else None, parallel)
    match choice:
        case "required" | "none" | "auto":
            return ToolChoice(choice, parallel=parallel)
        case None:
            return ToolChoice(parallel=parallel)
    raise Refusal(400, f"Invalid value: {choice!r}.", param="tool_choice")


def _frame(request: _Request, desk: Desk) -> dict[str, Any]:
    return {
        "id": desk.new_id("chatcmpl-"),
        "object": "chat.completion.chunk" if request.stream else "chat.completion",
        "created": desk.now(),
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _usage(conversation: Conversation, answer: Answer) -> dict[str, Any]:
    read, written = input_tokens(conversation), output_tokens(answer)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _completion(
    frame: dict[str, Any], conversation: Conversation, answer: Answer
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.calls:
        calls = [_call(call, arguments_json(call)) for call in answer.calls]
        message |= {"content": None, "tool_calls": calls}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    return {**frame, "choices": [choice], "usage": _usage(conversation, answer)}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _finish(answer: Answer) -> str:
    return "stop" if answer.finish == "stop_sequence" else answer.finish


def _events(
    frame: dict[str, Any], answer: Answer, usage: dict[str, Any] | None
) -> Iterator[StreamEvent]:
    extra = {} if usage is None else {"usage": None}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_event({**frame, "choices": [choice], **extra})

    content = None if answer.calls else ""
    yield StreamEvent(chunk({"role": "assistant", "content": content, "refusal": None}))
    for delta, cost in _deltas(answer):
        yield StreamEvent(chunk(delta), cost)
    yield StreamEvent(chunk({}, _finish(answer)))
    if usage is not None:
        yield StreamEvent(data_event({**frame, "choices": [], "usage": usage}))
    yield StreamEvent(DONE)


def _deltas(answer: Answer) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the deltas between the role and the finish, each with what it costs to generate."""
    if not answer.calls:
        yield from (({"content": token}, 1) for token in tokens(answer.text))
    for index, call in enumerate(answer.calls):
        opening = {"index": index, **_call(call, "")}
        yield {"tool_calls": [opening]}, PER_MESSAGE + count(call.name)
        for piece in tokens(arguments_json(call)):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, 1


def _failure(message: str, _number: int) -> bytes:
    return data_event(OPENAI.error(Refusal(500, message), ""))
