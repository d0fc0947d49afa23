"""What conversations are made of, before it is anybody's wire format."""

from __future__ import annotations

import json
from typing import Any

import attrs


@attrs.frozen
class Call:
    """A tool call, with the arguments as the model wrote them."""

    id: str
    name: str
    arguments: str

    @property
    def input(self) -> Any:
        """The arguments, decoded."""
        return json.loads(self.arguments)


@attrs.frozen
class User:
    """A user's turn."""

    text: str


@attrs.frozen
class Note:
    """A system message in mid-conversation, where the format has one, else a user's turn."""

    text: str


@attrs.frozen
class Said:
    """A model's turn; `id` is the response's."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    id: str = ""


@attrs.frozen
class Results:
    """What the tools gave, with the calls that they answer."""

    items: tuple[tuple[Call, str], ...]


Turn = User | Note | Said | Results


@attrs.frozen
class Habits:
    """
    What a client does to the model's turns when it sends them back, and how it packs the rest.

    Attributes:
        strip: Trailing white space is lost.
        drop_thinking: Reasoning is not sent back.
        rewrite_arguments: Tool arguments are decoded and encoded again.
        split: Text and tool calls become two messages.
        toggle_cache: Anthropic: the newest user block, and only it, has `cache_control`.
        name: Chat completions: the model's turns have a `name`, unless "".
        keep_nulls: Fields that are null in the reply are sent back too.
        blocks: Texts are sent as lists of parts.
        stream: Replies are streamed.
    """

    strip: bool = False
    drop_thinking: bool = False
    rewrite_arguments: bool = False
    split: bool = False
    toggle_cache: bool = False
    name: str = ""
    keep_nulls: bool = False
    blocks: bool = False
    stream: bool = False


@attrs.frozen
class Step:
    """
    One request and what came of it.

    Attributes:
        system: The system prompt, "" for none.
        turns: The conversation that is sent.
        reply: What the model said; None where it failed.
        status: Of the response.
        attempt: How often it was tried before, as the official SDKs tell; None where they don't.
        previous: The response that it follows, where the history is not sent; else "".
        tight: Nothing else may come between this and the next: there would be no telling.
        note: What is special about it.
    """

    system: str
    turns: tuple[Turn, ...]
    reply: Said | None
    status: int = 200
    attempt: int | None = None
    previous: str = ""
    tight: bool = False
    note: str = ""


@attrs.frozen
class Client:
    """
    Who talks.

    Attributes:
        dialect: The API.
        model: The model.
        habits: What it does to history.
        credential: What it proves who it is with.
        workflow: Its workflow, or "".
        tools: Names of its tools.
    """

    dialect: str
    model: str
    habits: Habits
    credential: str
    workflow: str = ""
    tools: tuple[str, ...] = ()


def compact(value: object) -> str:
    """Write JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def echoed(said: Said, habits: Habits) -> Said:
    """Return a model's turn as the client sends it back."""
    text = said.text.rstrip() if habits.strip else said.text
    thinking = "" if habits.drop_thinking else said.thinking
    calls = said.calls
    if habits.rewrite_arguments:
        calls = tuple(
            attrs.evolve(call, arguments=json.dumps(call.input, sort_keys=True)) for call in calls
        )
    return attrs.evolve(said, text=text, thinking=thinking, calls=calls)
