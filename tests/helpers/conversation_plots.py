"""What stories are written after: openings, common scripts, and what keeps them decidable."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs

from conversation_turns import Call, Client, Results, Said, Step, Turn


@attrs.frozen
class Opening:
    """
    How a conversation begins.

    Attributes:
        system: The system prompt, "" for none; `{now}` in it is where the time goes.
        question: What the user says first.
        examples: Turns that nobody ever said, before the question.
    """

    system: str
    question: str
    examples: tuple[Turn, ...] = ()

    @property
    def volatile(self) -> bool:
        """Whether the system prompt is another one with each request."""
        return "{now}" in self.system

    def system_at(self, minute: int) -> str:
        """Return the system prompt as it is then."""
        return self.system.replace("{now}", f"2025-03-{1 + minute // 1440:02}T{_clock(minute)}Z")


def _clock(minute: int) -> str:
    return f"{minute // 60 % 24:02}:{minute % 60:02}:{minute * 7 % 60:02}"


@attrs.frozen
class Story:
    """
    One conversation.

    Attributes:
        opening: How it begins.
        client: Whose it is.
        steps: Its requests.
        group: Conversations of the same number were made to look alike.
        kind: How they look alike.
        edit: What its client does to the past, "" for nothing.
    """

    opening: Opening
    client: Client
    steps: tuple[Step, ...]
    group: int
    kind: str
    edit: str


@attrs.define
class Script:
    """What several conversations have in common: their first turns, apart from ids."""

    turns: int = 0
    begins_with_tools: bool = False
    memory: dict[tuple[str, int], Any] = attrs.field(factory=dict)

    def recall(self, what: str, number: int, make: Callable[[], Any]) -> Any:
        """Return what the others have there, or something new."""
        if number >= self.turns:
            return make()
        if (what, number) not in self.memory:
            self.memory[what, number] = make()
        return self.memory[what, number]


class Ledger:
    """
    Keeps every conversation decidable.

    Two conversations of one tenant may have the same history, or the same reply to it; with both,
    and without ids, nobody could tell how each of them goes on.
    """

    def __init__(self) -> None:
        self._taken: dict[Hashable, int] = {}

    def takes(self, conversation: int, client: Client, step: Step, said: Said) -> bool:
        """Tell whether a reply is possible; then nobody else may have it there."""
        tenant = client.credential, client.workflow
        history = tuple(_essence(turn) for turn in step.turns)
        key = tenant, step.system, step.previous, history, _essence(said)
        return self._taken.setdefault(key, conversation) == conversation


def _essence(turn: Turn) -> Hashable:
    """Return what of a turn every client sends back."""
    match turn:
        case Said():
            calls = tuple((_proof(each), each.name, each.arguments) for each in turn.calls)
            return "".join(turn.text.split()).lower(), calls
        case Results(items):
            return tuple((_proof(call), text) for call, text in items)
        case _:
            return turn.text


def _proof(call: Call) -> str:
    return call.id if len(call.id) > 8 else ""
