"""What the calls to each model used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from perimeter.metrics.numbers import CALL_BUCKETS, Distribution


if TYPE_CHECKING:
    from perimeter.calls import Usage

KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")
"""The kinds of tokens: the attributes of `perimeter.calls.Usage`."""
OTHER = "other"
UNKNOWN = "unknown"
MAX_NAMES = 100
MAX_LENGTH = 100


@attrs.define(eq=False)
class ModelNumbers:
    """
    What the calls to one model of one upstream used up.

    Attributes:
        input: Tokens of prompts, cached ones included.
        output: Tokens of answers, reasoning included.
        cache_read: Of the input, what came from a cache.
        cache_write: Of the input, what was written to a cache.
        reasoning: Of the output, what was reasoning.
        cost: US dollars; None as long as no call's cost was known.
        first_token: Seconds from a request's head to the first token; None without any.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cost: float | None = None
    first_token: Distribution | None = None


class Models:
    """
    Numbers by upstream and model.

    Models are named by clients and providers, so only the first names get numbers of their own.
    """

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, str], ModelNumbers] = {}
        self._names = {"": UNKNOWN}

    def tokens(self, upstream: str, model: str, usage: Usage) -> None:
        """Add a call's tokens."""
        numbers = self._of(upstream, model)
        numbers.input += usage.input
        numbers.output += usage.output
        numbers.cache_read += usage.cache_read
        numbers.cache_write += usage.cache_write
        numbers.reasoning += usage.reasoning

    def cost(self, upstream: str, model: str, usd: float) -> None:
        """Add a call's cost."""
        numbers = self._of(upstream, model)
        numbers.cost = usd if numbers.cost is None else numbers.cost + usd

    def first_token(self, upstream: str, model: str, seconds: float) -> None:
        """Add the time that a call's first token took."""
        numbers = self._of(upstream, model)
        if numbers.first_token is None:
            numbers.first_token = Distribution(CALL_BUCKETS)
        numbers.first_token.add(seconds)

    def total(self, kind: str) -> int:
        """Return the tokens of a kind over all models."""
        return sum(getattr(each, kind) for each in self.numbers.values())

    @property
    def total_cost(self) -> float:
        """US dollars over all models, as far as costs are known."""
        return sum(each.cost for each in self.numbers.values() if each.cost is not None)

    def _of(self, upstream: str, model: str) -> ModelNumbers:
        key = (upstream, self._names.get(model) or self._name(model))
        numbers = self.numbers.get(key)
        if numbers is None:
            numbers = self.numbers[key] = ModelNumbers()
        return numbers

    def _name(self, model: str) -> str:
        """Return the name under which a model that was not seen before is counted."""
        # What can't be printed can't be written either: half a surrogate would break every scrape.
        if len(model) > MAX_LENGTH or not model.isprintable():
            return OTHER
        if len(self._names) > MAX_NAMES:  # the unnamed one is among them
            return OTHER
        return self._names.setdefault(model, model)
