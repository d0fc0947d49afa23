"""What the events of a call tell about its end, kept until the hook comes that its line is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs


if TYPE_CHECKING:
    from perimeter import Event

END_EVENTS = frozenset({"llm.call.finish", "llm.call.error"})
"""One of them comes right before `on_response` or `on_error`, which say the rest of it."""


@attrs.define(eq=False)
class Told:
    """
    What events told about the end of a call.

    Attributes:
        exchange: The id of its exchange.
        cost: In USD, or None where nobody knows.
        error_type: What kind of error it was, "" for none.
        error: Its message, "" for none.
        tools: The tools that the reply asks for; their lines come below the reply's.
    """

    exchange: str = ""
    cost: float | None = None
    error_type: str = ""
    error: str = ""
    tools: list[Event] = attrs.field(factory=list)

    @property
    def failed(self) -> bool:
        """Whether the call ended with an error, be it one that came as a complete response."""
        return bool(self.error_type)

    def is_about(self, event: Event) -> bool:
        """Whether an event belongs to the same call."""
        return bool(self.exchange) and self.exchange == event.attributes.get("call.id")

    @classmethod
    def by(cls, event: Event) -> Told:
        """Take what an event of `END_EVENTS` tells."""
        attributes = event.attributes
        cost = attributes.get("llm.cost_usd")
        return cls(
            _text(attributes.get("call.id")),
            cost if isinstance(cost, int | float) else None,
            _text(attributes.get("error.type")),
            _text(attributes.get("error.message")),
        )


NOTHING = Told()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
