"""Proof that conversations were kept apart: the sessions as the proxy's events tell of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from perimeter.hookspecs import hookimpl


if TYPE_CHECKING:
    from perimeter.model import Event

_ENDS = frozenset({"llm.call.finish", "llm.call.error"})
_PAUSE = 0.05


@attrs.define(eq=False)
class Seen:
    """
    A session as its events tell of it.

    Attributes:
        id: Its id.
        agent: The agent it belongs to.
        calls: How many calls it had.
        input_tokens: As the providers reported.
        output_tokens: As the providers reported.
        cost: In USD, or None where no call's price is known.
        tools: How often each tool was asked for.
        matches: How often which evidence decided that a call belongs to it.
    """

    id: str
    agent: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    tools: Counter[str] = attrs.field(factory=Counter)
    matches: Counter[str] = attrs.field(factory=Counter)

    def take(self, event: Event) -> None:
        """Take what an event tells."""
        told = event.attributes
        self.agent = event.agent_id or self.agent
        if event.name == "llm.call.start":
            self.calls += 1
            self.matches[told.get("session.match", "none")] += 1
        elif event.name == "tool.execution":
            self.tools[told["tool.name"]] += 1
        elif event.name in _ENDS:
            self.input_tokens += told.get("llm.usage.input_tokens", 0)
            self.output_tokens += told.get("llm.usage.output_tokens", 0)
            if "llm.cost_usd" in told:
                self.cost = (self.cost or 0.0) + told["llm.cost_usd"]


@attrs.define(eq=False)
class Witness:
    """
    Collects the events of sessions.

    Attributes:
        sessions: By id, in the order of their beginning.
        calls: The session of each call that is over, by exchange id; None where it has none.
    """

    sessions: dict[str, Seen] = attrs.field(factory=dict)
    calls: dict[str, str | None] = attrs.field(factory=dict)

    def take(self, event: Event) -> None:
        """Take an event."""
        if event.session_id is not None and event.name != "session.end":
            self.sessions.setdefault(event.session_id, Seen(event.session_id)).take(event)
        if event.name in _ENDS:
            self.calls[event.attributes["call.id"]] = event.session_id

    def plugin(self) -> type:
        """Return the class of a plugin that lets this witness see every event."""
        take = self.take

        class DemoPlugin:
            """Hands events over."""

            Config: ClassVar[type] = _Config

            def __init__(self, config: _Config, context: object) -> None:
                """Take no notice of what plugins are given."""

            @hookimpl
            def on_session_event(self, event: Event) -> None:
                """Hand an event over."""
                take(event)

        return DemoPlugin

    async def check(
        self, conversations: Mapping[str, Sequence[str]], *, tries: int = 100
    ) -> list[str]:
        """
        Check that each conversation got one session, and none that another one got too.

        Args:
            conversations: The exchanges of each conversation that was played, by its name.
            tries: How often to look whether the last call is over, a twentieth of a second apart.

        Returns:
            What is not so, one sentence each.
        """
        everything = {each for exchanges in conversations.values() for each in exchanges}
        for _ in range(tries):
            if everything <= self.calls.keys():
                break
            await asyncio.sleep(_PAUSE)
        return [*self._problems(conversations)]

    def _problems(self, conversations: Mapping[str, Sequence[str]]) -> list[str]:
        problems = []
        owners: dict[str, str] = {}
        for name, exchanges in conversations.items():
            found = {self.calls.get(each) for each in exchanges}
            if len(found) != 1 or None in found:
                problems.append(f"{name}: one conversation got {len(found - {None})} sessions")
            problems += [
                f"{name} got the session of {owners[session]}: {session}"
                for session in sorted(each for each in found if each)
                if owners.setdefault(session, name) != name
            ]
        return problems


@attrs.frozen
class _Config:
    """There is nothing to configure."""
