"""
A simple, stable tokeniser.

It is no real model's, but it counts about as many tokens in English text and code as theirs do,
and never changes: `"".join(tokens(text)) == text`, and usage adds up.
"""

from __future__ import annotations

import re

import msgspec

from perimeter.simulator.conversation import Answer, Call, Conversation, Turn


_TOKEN = re.compile(r" ?\w{1,8}| ?[^\w\s]|\s")

PER_MESSAGE = 4
"""Tokens that a message or tool call costs besides its text, as in OpenAI's chat format."""


def tokens(text: str) -> list[str]:
    """Split a text into its tokens, losing nothing."""
    return _TOKEN.findall(text)


def count(text: str) -> int:
    """Return how many tokens a text has."""
    return len(tokens(text))


def arguments_json(call: Call) -> str:
    """Return a call's arguments as the JSON text that providers send."""
    return msgspec.json.encode(call.arguments).decode()


def _calls(calls: tuple[Call, ...]) -> int:
    return sum(PER_MESSAGE + count(call.name) + count(arguments_json(call)) for call in calls)


def _turn(turn: Turn) -> int:
    results = sum(PER_MESSAGE + count(result.text) for result in turn.results)
    return PER_MESSAGE + count(turn.text) + _calls(turn.calls) + results


def input_tokens(conversation: Conversation) -> int:
    """Return how many tokens a request has: all turns and the tools on offer."""
    tools = sum(
        count(tool.name)
        + count(tool.description)
        + count(msgspec.json.encode(tool.parameters).decode())
        for tool in conversation.tools
    )
    return sum(map(_turn, conversation.turns)) + tools


def output_tokens(answer: Answer) -> int:
    """Return how many tokens an answer has; at least one, as every provider bills it."""
    return max(1, count(answer.text) + _calls(answer.calls))


def shorten(answer: Answer, limit: int | None, stops: tuple[str, ...]) -> Answer:
    """
    End an answer where its request says so.

    Args:
        answer: The whole answer. Tool calls are never shortened.
        limit: The most tokens that the text may have, or None.
        stops: The text ends before the first of these.
    """
    if answer.calls:
        return answer
    text, stop = _before_stop(answer.text, stops)
    pieces = tokens(text)
    if limit is not None and len(pieces) > limit:
        return Answer("".join(pieces[:limit]), finish="length")
    return Answer(text, finish="stop_sequence", stop_sequence=stop) if stop else answer


def _before_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    position, stop = min(found)
    return text[:position], stop
