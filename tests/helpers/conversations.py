"""
Synthetic conversations whose truth is known: which request belongs to which.

    corpus = generate(1000, seed=1, width=32)
    for play, conversation in zip(corpus.plays, corpus.truth): ...

Clients and agents as they really are: many begin with the same words, several are open at once,
and they edit, cut, compact and retry. Whatever is generated can be told apart from what is on the
wire. The same seed gives the same bytes; neither the clock nor anything else outside matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import attrs

from conversation_groups import MODELS, write
from conversation_openai import chat_reply, chat_request, responses_reply, responses_request
from conversation_others import anthropic_reply, anthropic_request, gemini_reply, gemini_request
from conversation_plots import Story
from conversation_turns import Client, Said, Step, compact


SEED = 1
"""Of the figures that the project promises."""
WIDTH = 8

_REQUESTS: dict[str, Callable[[Step, Client], dict[str, Any]]] = {
    "openai.chat": chat_request,
    "openai.responses": responses_request,
    "anthropic.messages": anthropic_request,
    "gemini.generate": gemini_request,
}
_REPLIES: dict[str, Callable[[Said, Client], bytes]] = {
    "openai.chat": chat_reply,
    "openai.responses": responses_reply,
    "anthropic.messages": anthropic_reply,
    "gemini.generate": gemini_reply,
}
_PATHS = {
    "openai.chat": "/v1/chat/completions",
    "openai.responses": "/v1/responses",
    "anthropic.messages": "/v1/messages",
    "gemini.generate": f"/v1beta/models/{MODELS['gemini.generate']}:generateContent",
}


@attrs.frozen
class Play:
    """
    One request and its response.

    Attributes:
        conversation: Number of the conversation that it belongs to.
        dialect: Name of the dialect.
        path: As it is sent to the proxy, the workflow's prefix included.
        headers: Of the request.
        request: Its body.
        reply: The response's body.
        status: Of the response.
        kind: Of the response: `json` or `sse`.
        note: What is special about it, for people.
    """

    conversation: int
    dialect: str
    path: str
    headers: list[tuple[str, str]]
    request: bytes
    reply: bytes
    status: int
    kind: str
    note: str = ""


@attrs.frozen
class Corpus:
    """
    Conversations in the order in which their requests come.

    Attributes:
        plays: The requests.
        truth: The conversation of each.
        stories: The conversations, by number.
    """

    plays: list[Play]
    truth: list[int]
    stories: list[Story]


def generate(conversations: int = 400, *, seed: int = SEED, width: int = WIDTH) -> Corpus:
    """
    Return so many conversations.

    Args:
        conversations: How many.
        seed: The same seed gives the same conversations, whatever the width.
        width: How many are open at once.
    """
    stories = write(conversations, Random(seed))
    order = Random(f"{seed}/{width}")
    plays = [_play(number, stories[number], step) for number, step in _merge(stories, width, order)]
    return Corpus(plays, [play.conversation for play in plays], stories)


def _merge(stories: Sequence[Story], width: int, rng: Random) -> Iterator[tuple[int, Step]]:
    """Yield the steps of all: `width` conversations are open, those of one group at one time."""
    groups = sorted({story.group for story in stories})
    rng.shuffle(groups)
    place = {group: position for position, group in enumerate(groups)}
    waiting = sorted(
        range(len(stories)), key=lambda each: place[stories[each].group] + 1.5 * rng.random()
    )
    waiting.reverse()
    left = {number: iter(story.steps) for number, story in enumerate(stories)}
    remaining = [len(story.steps) for story in stories]
    active: list[int] = []
    while active or waiting:
        while waiting and len(active) < max(1, width):
            active.append(waiting.pop())
        number = rng.choice(active)
        for step in left[number]:
            yield number, step
            remaining[number] -= 1
            if not step.tight:
                break
        if not remaining[number]:
            active.remove(number)


def _play(number: int, story: Story, step: Step) -> Play:
    client = story.client
    prefix = f"/agent-workflow/{client.workflow}" if client.workflow else ""
    reply = step.reply
    return Play(
        number,
        client.dialect,
        prefix + _PATHS[client.dialect],
        _headers(client, step),
        compact(_REQUESTS[client.dialect](step, client)).encode(),
        _error(step) if reply is None else _REPLIES[client.dialect](reply, client),
        step.status,
        "sse" if client.habits.stream and reply is not None else "json",
        step.note,
    )


def _headers(client: Client, step: Step) -> list[tuple[str, str]]:
    headers = [("content-type", "application/json")]
    match client.dialect:
        case "anthropic.messages":
            headers += [("x-api-key", client.credential), ("anthropic-version", "2023-06-01")]
        case "gemini.generate":
            headers.append(("x-goog-api-key", client.credential))
        case _:
            headers.append(("authorization", f"Bearer {client.credential}"))
    if step.attempt is not None:
        headers.append(("x-stainless-retry-count", str(step.attempt)))
    return headers


def _error(step: Step) -> bytes:
    kind = "overloaded_error" if step.status == 529 else "server_error"
    error = {"type": kind, "message": "Something went wrong. Try again."}
    return compact({"type": "error", "error": error}).encode()
