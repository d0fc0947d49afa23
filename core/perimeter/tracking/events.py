"""
What happened in a call, as events.

Names of attributes are those of the Cylestio platform where it has one. An attribute that there is
nothing to say about is left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from perimeter.calls import LLMReply, Message, ToolCall, ToolResult, Usage
from perimeter.model import Event
from perimeter.sessions.evidence import AskedTool, Ended, Resolution
from perimeter.sessions.headers import NOTHING, Labels
from perimeter.sessions.wording import numbered


if TYPE_CHECKING:
    from perimeter.tracking.call import TrackedCall

Attributes = dict[str, Any]

_decode = msgspec.json.Decoder().decode


def new_span() -> str:
    """Return a span id: 16 hexadecimal digits, not all of them 0 (W3C Trace Context)."""
    return f"{random.getrandbits(64) or 1:016x}"


def session_start(call: TrackedCall, *, resumed: bool) -> Event:
    """A conversation begins, or goes on after it had ended."""
    request = call.request
    attributes: Attributes = {"client.type": "gateway", "llm.vendor": call.vendor}
    if request is not None:
        _put(attributes, "llm.model", request.model)
        _put(attributes, "tools", list(request.tools))
        _put(attributes, "prompt", request.system)
    if call.resolution is not None:
        _put_match(attributes, call.resolution)
    _put(attributes, "session.resumed", resumed)
    _put_labels(attributes, call.labels)
    _put(attributes, "agent_workflow.id", call.exchange.workflow_id)
    return call.event("session.start", attributes)


def call_start(call: TrackedCall, messages: list[Message]) -> Event:
    """
    A call goes upstream.

    Args:
        call: The call.
        messages: The new ones of its request.
    """
    attributes = _about(call, call.model)
    attributes["llm.operation"] = call.dialect.operation
    request, resolution = call.request, call.resolution
    if request is not None:
        attributes["llm.request.stream"] = request.stream
        attributes["llm.request.total_messages"] = len(request.messages)
        if request.params:
            attributes["llm.request.params"] = request.params
        if messages:
            attributes["llm.request.messages"] = messages
    else:
        _put(attributes, "llm.request.problem", call.request_problem)
    if resolution is not None:
        _put_match(attributes, resolution)
        if resolution.retry_of:
            attributes["call.retry_of"] = resolution.retry_of
    if call.labels is not NOTHING:
        _put_labels(attributes, call.labels)
        _put(attributes, "label.problems", list(call.labels.problems))
        _put(attributes, "parent_span_id", call.parent_span_id)
    return call.event("llm.call.start", attributes)


def tool_results(call: TrackedCall, messages: Iterable[Message]) -> Iterator[Event]:
    """
    Results of tools that a request brings.

    Args:
        call: The call.
        messages: The new ones of its request.
    """
    parts = [part for message in messages for part in message.parts]
    results = [part for part in parts if type(part) is ToolResult]
    if not results:
        return
    asked = dict(call.resolution.tools) if call.resolution is not None else {}
    retold = call.resolution.retold if call.resolution is not None else ()
    for key, part in zip(numbered(part.call_id for part in results), results, strict=True):
        if key not in retold:
            yield _tool_result(call, part, asked.get(key))


def _tool_result(call: TrackedCall, result: ToolResult, tool: AskedTool | None) -> Event:
    name = tool.name if tool else _name_in_history(call, result.call_id)
    attributes: Attributes = {
        "call.id": call.exchange.id,
        "tool.name": name or "unknown",
        "tool.status": "error" if result.is_error else "success",
        "tool.result": result.text,
    }
    if result.call_id != name:  # some APIs have no ids, and refer to tools by their names
        _put(attributes, "tool.call_id", result.call_id)
    if tool is not None:
        seconds = max(0.0, call.exchange.started_at - tool.at)
        attributes["tool.execution_time_ms"] = round(seconds * 1000, 3)
        attributes["parent_span_id"] = tool.call_span_id
    if result.is_error:
        attributes["error.message"] = result.text
    _put(attributes, "agent_workflow.id", call.exchange.workflow_id)
    return call.event("tool.result", attributes, span_id=tool.span_id if tool else new_span())


def _name_in_history(call: TrackedCall, call_id: str) -> str:
    """Return the name of the tool that the request's own history calls, "" if it does not."""
    for message in reversed(call.request.messages if call.request is not None else ()):
        for part in message.parts:
            if type(part) is ToolCall and call_id in {part.id, part.name}:
                return part.name
    return ""


def call_finish(call: TrackedCall, reply: LLMReply | None) -> Event:
    """A call was answered."""
    attributes = _outcome(call, reply)
    if (seconds := call.time_to_first_token) is not None:
        attributes["llm.response.time_to_first_token_ms"] = round(seconds * 1000, 3)
    if reply is not None:
        if reply.id:
            attributes["llm.response.id"] = reply.id
        if reply.finish_reason:
            attributes["llm.response.finish_reason"] = reply.finish_reason
    return call.event("llm.call.finish", attributes)


def call_error(call: TrackedCall, reply: LLMReply | None, error: tuple[str, str]) -> Event:
    """A call failed, perhaps after a part of its answer."""
    attributes = _outcome(call, reply)
    attributes["error.type"], attributes["error.message"] = error
    return call.event("llm.call.error", attributes, level="ERROR")


def tool_executions(
    call: TrackedCall, tools: Iterable[tuple[ToolCall, AskedTool]]
) -> Iterator[Event]:
    """Tools that a reply asks for; those that the provider runs itself are none of the client's."""
    for part, tool in tools:
        attributes: Attributes = {
            "call.id": call.exchange.id,
            "tool.name": part.name,
            "tool.params": tool_params(part.arguments),
            "parent_span_id": call.span_id,
        }
        _put(attributes, "tool.call_id", part.id)
        _put(attributes, "agent_workflow.id", call.exchange.workflow_id)
        yield call.event("tool.execution", attributes, span_id=tool.span_id)


def tool_params(arguments: str) -> dict[str, Any]:
    """Return a tool's arguments as an object; what is none as `raw_arguments`."""
    if not arguments.strip():
        return {}
    try:
        value = _decode(arguments)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return {"raw_arguments": arguments}
    return value if isinstance(value, dict) else {"raw_arguments": arguments}


def session_end(ended: Ended, timestamp: float, trace_id: str) -> Event:
    """A conversation is over."""
    attributes: Attributes = {
        "session.duration_ms": round((ended.last_at - ended.started_at) * 1000, 3),
        "session.events_count": ended.events,
        "session.end_reason": ended.reason,
    }
    _put(attributes, "agent_workflow.id", ended.workflow_id)
    return Event(
        "session.end",
        timestamp,
        trace_id,
        new_span(),
        agent_id=ended.agent_id,
        session_id=ended.session_id,
        attributes=attributes,
    )


def _about(call: TrackedCall, model: str) -> Attributes:
    exchange = call.exchange
    attributes: Attributes = {"call.id": exchange.id, "llm.vendor": call.vendor}
    if model:
        attributes["llm.model"] = model
    if exchange.workflow_id:
        attributes["agent_workflow.id"] = exchange.workflow_id
    return attributes


def _outcome(call: TrackedCall, reply: LLMReply | None) -> Attributes:
    """What is said of calls that were answered and of those that failed."""
    exchange = call.exchange
    attributes = _about(call, (reply.model if reply is not None else "") or call.model)
    if exchange.response is not None:
        attributes["http.status_code"] = exchange.response.status
    attributes["llm.response.duration_ms"] = round((exchange.duration or 0.0) * 1000, 3)
    if reply is not None:
        if reply.message is not None:
            attributes["llm.response.content"] = reply.message
        if reply.usage is not None:
            _put_usage(attributes, reply.usage)
    if call.cost is not None:
        attributes["llm.cost_usd"] = call.cost
    if call.reply_problem:
        attributes["llm.response.problem"] = call.reply_problem
    return attributes


def _put_usage(attributes: Attributes, usage: Usage) -> None:
    attributes["llm.usage.input_tokens"] = usage.input
    attributes["llm.usage.output_tokens"] = usage.output
    attributes["llm.usage.total_tokens"] = usage.input + usage.output
    if usage.cache_read:
        attributes["llm.usage.cache_read_tokens"] = usage.cache_read
    if usage.cache_write:
        attributes["llm.usage.cache_write_tokens"] = usage.cache_write
    if usage.reasoning:
        attributes["llm.usage.reasoning_tokens"] = usage.reasoning


def _put_match(attributes: Attributes, resolution: Resolution) -> None:
    attributes["session.match"] = resolution.method
    if resolution.method == "fuzzy":
        _put(attributes, "session.score", resolution.score)


def _put_labels(attributes: Attributes, labels: Labels) -> None:
    _put(attributes, "session.tags", dict(labels.tags))
    _put(attributes, "run.id", labels.run_id)


def _put(attributes: Attributes, name: str, value: object) -> None:
    """Set an attribute, unless there is nothing to say."""
    if value:
        attributes[name] = value
