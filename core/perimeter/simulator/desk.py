"""What the providers' endpoints share: the model, ids, the clock and the memory of Responses."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import attrs

from perimeter.simulator.conversation import Answer, Conversation, Turn
from perimeter.simulator.settings import SimulatorSettings
from perimeter.simulator.skills import Skill, think
from perimeter.simulator.tokens import shorten


@attrs.frozen
class StoredResponse:
    """A Response that may be continued: what was said up to and including it, and its object."""

    turns: tuple[Turn, ...]
    payload: dict[str, Any]


@attrs.define(eq=False)
class Desk:
    """What the providers' endpoints share."""

    settings: SimulatorSettings
    skills: Sequence[Skill]
    clock: Callable[[], float] = time.time
    responses: OrderedDict[str, StoredResponse] = attrs.field(factory=OrderedDict)
    _random: Random = attrs.field(init=False)

    @_random.default
    def _seeded(self) -> Random:
        return Random(self.settings.seed)  # noqa: S311 - repeatable ids, no secret

    def new_id(self, prefix: str) -> str:
        """Return a new id of the provider's shape; repeatable under a seed."""
        return f"{prefix}{self._random.getrandbits(96):024x}"

    def now(self) -> int:
        """Return the time in whole seconds, as providers stamp their answers."""
        return int(self.clock())

    def answer(
        self,
        conversation: Conversation,
        *,
        limit: int | None,
        stops: tuple[str, ...] = (),
        call_prefix: str,
    ) -> Answer:
        """
        Let the simulated model answer.

        Args:
            conversation: What was said.
            limit: The most tokens that the answer's text may have.
            stops: Where the text ends.
            call_prefix: What the ids of tool calls begin with.
        """
        answer = shorten(think(conversation, self.skills), limit, stops)
        return answer.named(lambda: self.new_id(call_prefix))

    def remember(self, response_id: str, stored: StoredResponse) -> None:
        """Keep a Response, forgetting the oldest where there are too many."""
        self.responses[response_id] = stored
        while len(self.responses) > self.settings.max_responses:
            self.responses.popitem(last=False)
