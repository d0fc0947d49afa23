"""What the simulated model sees and says, whichever provider's API it came through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs


@attrs.frozen
class Call:
    """A tool call. `id` is empty until the provider's API has given it one of its own shape."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""

    def __str__(self) -> str:
        arguments = ", ".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.name}({arguments})"


@attrs.frozen
class Result:
    """What a tool returned."""

    call_id: str
    text: str
    is_error: bool = False


@attrs.frozen
class Turn:
    """One message. Tool results have turns of their own, also where the API says otherwise."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()


@attrs.frozen
class Tool:
    """A tool on offer; `parameters` is its JSON schema."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class ToolChoice:
    """
    Whether tools may or must be called.

    Attributes:
        mode: `"auto"` (may), `"required"` (must, once per user message) or `"none"` (must not).
        name: The only tool that may be called, or None for any.
        parallel: Whether several calls may come in one answer.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    name: str | None = None
    parallel: bool = True


@attrs.frozen
class Conversation:
    """Everything that a request says."""

    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...] = ()
    choice: ToolChoice = ToolChoice()

    @property
    def system(self) -> str:
        """The system prompt, all parts of it."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "system")

    @property
    def user_texts(self) -> list[str]:
        """What the user said, oldest first."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def since_question(self) -> tuple[Turn, ...]:
        """The turns that follow the user's last one."""
        last = max((i for i, turn in enumerate(self.turns) if turn.role == "user"), default=-1)
        return self.turns[last + 1 :]

    def orphans(self) -> Iterator[Result]:
        """Yield the tool results that answer no earlier call, which providers refuse."""
        known: set[str] = set()
        for turn in self.turns:
            known.update(call.id for call in turn.calls)
            yield from (result for result in turn.results if result.call_id not in known)


@attrs.frozen
class Answer:
    """
    What the simulated model says.

    Attributes:
        text: The text; next to calls an announcement, which only some APIs show.
        calls: The tools to call.
        finish: Why it ended here.
        stop_sequence: The one that was met, where `finish` says so.
    """

    text: str
    calls: tuple[Call, ...] = ()
    finish: Literal["stop", "length", "stop_sequence", "tool_calls"] = "stop"
    stop_sequence: str | None = None

    def named(self, new_id: Callable[[], str]) -> Answer:
        """Return the same answer with an id for each call."""
        return attrs.evolve(
            self, calls=tuple(attrs.evolve(call, id=new_id()) for call in self.calls)
        )

    def turn(self) -> Turn:
        """Return the answer as a turn of the conversation it continues."""
        return Turn("assistant", self.text, calls=self.calls)
