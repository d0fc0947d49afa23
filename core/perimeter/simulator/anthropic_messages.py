"""Anthropic Messages: `POST /v1/messages` and `POST /v1/messages/count_tokens`."""

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
from perimeter.simulator.parsing import Content, Part, parse, refuse_orphans, text_of
from perimeter.simulator.providers import Refusal
from perimeter.simulator.tokens import (
    PER_MESSAGE,
    arguments_json,
    count,
    input_tokens,
    output_tokens,
    tokens,
)
from perimeter.simulator.wire import Query, Reply, StreamEvent, named_event


ORPHAN = (
    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must"
    " have a corresponding `tool_use` block in the previous message."
)
_MODES: dict[str, Literal["auto", "required", "none"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
}


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    id: str = ""
    name: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    tool_use_id: str = ""
    content: Any = None
    is_error: bool | None = False


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _Tool(msgspec.Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = False


class _Prompt(msgspec.Struct):
    """What `count_tokens` takes."""

    model: str
    messages: list[_Message]
    system: str | list[Part] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None


class _Request(_Prompt, kw_only=True):
    max_tokens: int
    stream: bool | None = False
    stop_sequences: list[str] | None = None


def create_message(query: Query, desk: Desk) -> Reply:
    """Answer a Messages request."""
    request = parse(query.body, _Request)
    if request.max_tokens < 1:
        raise Refusal(400, "max_tokens: must be greater than or equal to 1")
    if not request.messages:
        raise Refusal(400, "messages: at least one message is required")
    conversation = _conversation(request)
    refuse_orphans(conversation, ORPHAN, "messages")
    answer = desk.answer(
        conversation,
        limit=request.max_tokens,
        stops=tuple(request.stop_sequences or ()),
        call_prefix="toolu_",
    )
    message = _opening(request, conversation, desk)
    if request.stream:
        return Reply(events=_events(message, answer), failure=_failure)
    message["content"] = [_block(call) for call in _contents(answer)]
    message |= _ending(answer)
    message["usage"]["output_tokens"] = output_tokens(answer)
    return Reply(message, tokens=output_tokens(answer))


def count_tokens(query: Query, _desk: Desk) -> Reply:
    """Answer with the number of tokens that a Messages request would have."""
    return Reply({"input_tokens": input_tokens(_conversation(parse(query.body, _Prompt)))})


def _conversation(prompt: _Prompt) -> Conversation:
    system = (Turn("system", text_of(prompt.system)),) if prompt.system else ()
    turns = tuple(turn for message in prompt.messages for turn in _turns(message))
    tools = tuple(
        Tool(tool.name, tool.description or "", tool.input_schema)
        for tool in prompt.tools or ()
        if tool.input_schema is not None
    )
    return Conversation(system + turns, tools, _choice(prompt.tool_choice))


def _choice(choice: _Choice | None) -> ToolChoice:
    if choice is None:
        return ToolChoice()
    return ToolChoice(_MODES[choice.type], choice.name, not choice.disable_parallel_tool_use)


def _turns(message: _Message) -> Iterator[Turn]:
    """Yield a message as turns: results first, then what the user says besides."""
    if isinstance(message.content, str):
        yield Turn(message.role, message.content)
        return
    blocks = message.content
    results = tuple(_result(block) for block in blocks if block.type == "tool_result")
    calls = tuple(Call(b.name, b.input, b.id) for b in blocks if b.type == "tool_use")
    text = "\n".join(_text(b) for b in blocks if b.type not in {"tool_result", "tool_use"})
    if results:
        yield Turn("tool", results=results)
    if text or not results:
        yield Turn(message.role, text, calls)


def _text(block: _Block) -> str:
    return f"[{block.type}]" if block.text is None else block.text


def _result(block: _Block) -> Result:
    try:
        content = msgspec.convert(block.content, Content)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"tool_result.content: {error}") from None
    return Result(block.tool_use_id, text_of(content), bool(block.is_error))


def _opening(prompt: _Prompt, conversation: Conversation, desk: Desk) -> dict[str, Any]:
    """Return the message as it is before anything has been said."""
    return {
        "id": desk.new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": prompt.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": input_tokens(conversation),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 1,
            "service_tier": "standard",
        },
    }


def _ending(answer: Answer) -> dict[str, Any]:
    return {
        "stop_reason": _STOP_REASONS[answer.finish],
        "stop_sequence": answer.stop_sequence,
    }


def _contents(answer: Answer) -> tuple[str | Call, ...]:
    return (*([answer.text] if answer.text else []), *answer.calls)


def _block(content: str | Call) -> dict[str, Any]:
    if isinstance(content, str):
        return {"type": "text", "text": content}
    return {
        "type": "tool_use",
        "id": content.id,
        "name": content.name,
        "input": dict(content.arguments),
    }


def _events(message: dict[str, Any], answer: Answer) -> Iterator[StreamEvent]:
    yield _event("message_start", message=message)
    for index, content in enumerate(_contents(answer)):
        yield _start(index, content)
        if index == 0:
            yield _event("ping")
        for delta, cost in _deltas(content):
            yield _event("content_block_delta", cost, index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    usage = {"output_tokens": output_tokens(answer)}
    yield _event("message_delta", delta=_ending(answer), usage=usage)
    yield _event("message_stop")


def _event(kind: str, cost: int = 0, **fields: Any) -> StreamEvent:
    return StreamEvent(named_event({"type": kind, **fields}), cost)


def _start(index: int, content: str | Call) -> StreamEvent:
    empty: dict[str, Any] = {"text": ""} if isinstance(content, str) else {"input": {}}
    cost = 0 if isinstance(content, str) else PER_MESSAGE + count(content.name)
    return _event("content_block_start", cost, index=index, content_block=_block(content) | empty)


def _deltas(content: str | Call) -> Iterator[tuple[dict[str, Any], int]]:
    if isinstance(content, str):
        yield from (({"type": "text_delta", "text": token}, 1) for token in tokens(content))
        return
    yield {"type": "input_json_delta", "partial_json": ""}, 0
    for piece in tokens(arguments_json(content)):
        yield {"type": "input_json_delta", "partial_json": piece}, 1


def _failure(message: str, _number: int) -> bytes:
    error = {"type": "overloaded_error", "message": message}
    return named_event({"type": "error", "error": error})
