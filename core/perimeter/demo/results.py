"""What comes out of a round of the demo."""

from __future__ import annotations

from collections import Counter

import attrs


@attrs.frozen
class Traffic:
    """
    Calls that the proxy counts together.

    Attributes:
        upstream: The upstream's name.
        dialect: The provider API, such as `openai.chat`.
        status: The HTTP status that came back.
    """

    upstream: str
    dialect: str
    status: int


@attrs.frozen
class Step:
    """
    One call of an agent, for showing.

    Attributes:
        agent: The agent's name.
        asked: What it asked, in short.
        answered: What it got, in short.
        traffic: Where the call went and its status.
        seconds: From sending the request to the end of the answer.
    """

    agent: str
    asked: str
    answered: str
    traffic: Traffic
    seconds: float


@attrs.define(eq=False)
class RoundResult:
    """
    What happened in one round.

    Attributes:
        expected: The calls that went through, as the proxy should have counted them.
        failures: What went wrong, one sentence each; empty when every answer was right.
        conversations: The exchanges of each conversation, by its name.
        tool_calls: How many tools were called.
        input_tokens: As the providers reported.
        output_tokens: As the providers reported.
    """

    expected: Counter[Traffic] = attrs.field(factory=Counter)
    failures: list[str] = attrs.field(factory=list)
    conversations: dict[str, list[str]] = attrs.field(factory=dict)
    tool_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def calls(self) -> int:
        """How many calls went through."""
        return self.expected.total()

    @property
    def ok(self) -> bool:
        """Whether everything went as it should."""
        return not self.failures
