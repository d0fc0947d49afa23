"""Requests and answers in the shapes of the providers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import attrs
from factory_agents import Agent, Json


_TEXT = """
    the result shows that every request was answered in time and nothing was lost although two
    retries were needed because the connection had been closed by the other side after a minute of
    silence so we keep the pool shorter than that and count what happens in a histogram which can be
    added up over any span of time without reading the rows again
"""
WORDS = _TEXT.split()


@attrs.define
class Chance:
    """
    Decides everything.

    Attributes:
        rng: In the same way for the same seed.
    """

    rng: random.Random

    def words(self, count: int) -> str:
        """Return some words that make no sense."""
        start = self.rng.randrange(len(WORDS))
        chosen = [WORDS[(start + step) % len(WORDS)] for step in range(count)]
        return " ".join(chosen).capitalize() + "."

    def hex(self, digits: int) -> str:
        """Return random hexadecimal digits."""
        return f"{self.rng.getrandbits(digits * 4):0{digits}x}"


@attrs.frozen
class Reply:
    """What a model says."""

    text: str
    tool: str
    arguments: Json
    call_id: str
    used: tuple[int, int]
    cached: int = 0


def target(agent: Agent) -> str:
    """Return path and query of a call."""
    return {
        "openai.chat": "/v1/chat/completions",
        "openai.responses": "/v1/responses",
        "anthropic.messages": "/v1/messages",
        "gemini.generate": f"/v1beta/models/{agent.model}:generateContent?key={'k' * 30}",
    }.get(agent.dialect, "/unknown")


def user_message(dialect: str, text: str) -> Json:
    """Return what a user says."""
    if dialect.startswith("gemini"):
        return {"role": "user", "parts": [{"text": text}]}
    return {"role": "user", "content": text}


def reply_messages(dialect: str, reply: Reply) -> list[Json]:
    """Return what the next request repeats of a reply."""
    if dialect == "openai.responses":
        said = [{"role": "assistant", "content": reply.text}]
        called = {"type": "function_call", "call_id": reply.call_id, "name": reply.tool}
        return [*said, {**called, "arguments": json.dumps(reply.arguments)}] if reply.tool else said
    if dialect.startswith("gemini"):
        parts: list[Json] = [{"text": reply.text}]
        if reply.tool:
            parts.append({"functionCall": {"name": reply.tool, "args": reply.arguments}})
        return [{"role": "model", "parts": parts}]
    if dialect.startswith("anthropic"):
        blocks: list[Json] = [{"type": "text", "text": reply.text}]
        if reply.tool:
            use = {"type": "tool_use", "id": reply.call_id, "name": reply.tool}
            blocks.append({**use, "input": reply.arguments})
        return [{"role": "assistant", "content": blocks}]
    return [chat_message(reply)]


def chat_message(reply: Reply) -> Json:
    """Return a message of chat completions."""
    message: Json = {"role": "assistant", "content": reply.text}
    if reply.tool:
        function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
        message["tool_calls"] = [{"id": reply.call_id, "type": "function", "function": function}]
    return message


def result_message(dialect: str, reply: Reply, result: str, *, failed: bool) -> Json:
    """Return what a request says of a tool's result."""
    if dialect == "openai.responses":
        return {"type": "function_call_output", "call_id": reply.call_id, "output": result}
    if dialect.startswith("gemini"):
        response = {"name": reply.tool, "response": {"result": result}}
        return {"role": "user", "parts": [{"functionResponse": response}]}
    if dialect.startswith("anthropic"):
        block: Json = {"type": "tool_result", "tool_use_id": reply.call_id, "content": result}
        if failed:
            block["is_error"] = True
        return {"role": "user", "content": [block]}
    return {"role": "tool", "tool_call_id": reply.call_id, "content": result}


def request_body(agent: Agent, history: Sequence[Json]) -> bytes:
    """Return the body of a request."""
    body: Json = {"model": agent.model}
    if agent.dialect == "openai.responses":
        body |= {"instructions": agent.system, "input": list(history)}
    elif agent.dialect.startswith("gemini"):
        body = {
            "systemInstruction": {"parts": [{"text": agent.system}]},
            "contents": list(history),
            "generationConfig": {"temperature": 0.2},
        }
    elif agent.dialect.startswith("anthropic"):
        body |= {"system": agent.system, "max_tokens": 1024, "messages": list(history)}
    else:
        body["messages"] = [{"role": "system", "content": agent.system}, *history]
        body["temperature"] = 0.2
    if agent.tools and not agent.dialect.startswith("gemini"):
        body["tools"] = [tool_of(agent.dialect, name) for name in agent.tools]
    if agent.stream:
        body["stream"] = True
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def tool_of(dialect: str, name: str) -> Json:
    """Return how a tool is offered."""
    schema = {"type": "object", "properties": {"query": {"type": "string"}}}
    if dialect.startswith("anthropic"):
        return {"name": name, "description": f"Runs {name}.", "input_schema": schema}
    function = {"name": name, "description": f"Runs {name}.", "parameters": schema}
    if dialect == "openai.responses":
        return {"type": "function", **function}
    return {"type": "function", "function": function}


def reply_body(agent: Agent, reply: Reply, traffic: Chance) -> tuple[str, bytes]:
    """Return content type and body of an answer."""
    if agent.stream:
        stream = chat_stream if agent.dialect == "openai.chat" else anthropic_stream
        return "text/event-stream; charset=utf-8", stream(agent, reply, traffic)
    if agent.dialect == "openai.responses":
        body = responses_reply(agent, reply, traffic)
    elif agent.dialect.startswith("gemini"):
        body = gemini_reply(agent, reply)
    elif agent.dialect.startswith("anthropic"):
        body = anthropic_reply(agent, reply, traffic)
    else:
        body = chat_reply(agent, reply, traffic)
    return "application/json", json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def chat_reply(agent: Agent, reply: Reply, traffic: Chance) -> Json:
    """Return an answer of chat completions."""
    finish = "tool_calls" if reply.tool else "stop"
    choice = {"index": 0, "message": chat_message(reply), "finish_reason": finish}
    usage = {
        "prompt_tokens": reply.used[0],
        "completion_tokens": reply.used[1],
        "total_tokens": sum(reply.used),
        "prompt_tokens_details": {"cached_tokens": reply.cached},
    }
    head = {"id": f"chatcmpl-{traffic.hex(20)}", "object": "chat.completion", "model": agent.model}
    return {**head, "choices": [choice], "usage": usage}


def anthropic_reply(agent: Agent, reply: Reply, traffic: Chance) -> Json:
    """Return an answer of Anthropic's."""
    message = reply_messages(agent.dialect, reply)[0]
    usage = {
        "input_tokens": reply.used[0] - reply.cached,
        "output_tokens": reply.used[1],
        "cache_read_input_tokens": reply.cached,
    }
    stop = "tool_use" if reply.tool else "end_turn"
    head = {"id": f"msg_{traffic.hex(20)}", "type": "message", "model": agent.model}
    return {**head, **message, "stop_reason": stop, "usage": usage}


def responses_reply(agent: Agent, reply: Reply, traffic: Chance) -> Json:
    """Return an answer of OpenAI's Responses."""
    content = [{"type": "output_text", "text": reply.text, "annotations": []}]
    output: list[Json] = [{"type": "message", "role": "assistant", "content": content}]
    output += reply_messages(agent.dialect, reply)[1:]
    usage = {
        "input_tokens": reply.used[0],
        "output_tokens": reply.used[1],
        "input_tokens_details": {"cached_tokens": reply.cached},
    }
    head = {"id": f"resp_{traffic.hex(20)}", "object": "response", "status": "completed"}
    return {**head, "model": agent.model, "output": output, "usage": usage}


def gemini_reply(agent: Agent, reply: Reply) -> Json:
    """Return an answer of Gemini's."""
    content = reply_messages(agent.dialect, reply)[0]
    usage = {
        "promptTokenCount": reply.used[0],
        "candidatesTokenCount": reply.used[1],
        "cachedContentTokenCount": reply.cached,
    }
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": agent.model}


def chat_stream(agent: Agent, reply: Reply, traffic: Chance) -> bytes:
    """Return an answer of chat completions as a stream."""
    head = {"id": f"chatcmpl-{traffic.hex(20)}", "object": "chat.completion.chunk"}
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word + " "} for word in reply.text.split()]
    if reply.tool:
        function = {"name": reply.tool, "arguments": json.dumps(reply.arguments)}
        call = {"index": 0, "id": reply.call_id, "type": "function", "function": function}
        deltas.append({"tool_calls": [call]})
    chunks = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    finish = "tool_calls" if reply.tool else "stop"
    chunks.append({"index": 0, "delta": {}, "finish_reason": finish})
    lines = [json.dumps({**head, "model": agent.model, "choices": [chunk]}) for chunk in chunks]
    return "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"]).encode("utf-8", "replace")


def anthropic_stream(agent: Agent, reply: Reply, traffic: Chance) -> bytes:
    """Return an answer of Anthropic's as a stream."""
    whole = anthropic_reply(agent, reply, traffic)
    events: list[Json] = [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
    ]
    for index, block in enumerate(whole["content"]):
        words = block["type"] == "text"
        empty = {**block, "text": ""} if words else {**block, "input": {}}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        deltas = (
            [{"type": "text_delta", "text": word + " "} for word in block["text"].split()]
            if words
            else [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        )
        events += [
            {"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas
        ]
        events.append({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": whole["stop_reason"]}
    usage = {"output_tokens": reply.used[1]}
    events += [{"type": "message_delta", "delta": stop, "usage": usage}, {"type": "message_stop"}]
    lines = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join(lines).encode("utf-8", "replace")
