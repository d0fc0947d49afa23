"""What one model costs."""

from __future__ import annotations

import math
from typing import Any

import attrs
from attrs.validators import optional

from perimeter.calls import Usage
from perimeter.options import REQUIRED, option


_MILLION = 1_000_000


def _price(_instance: Any, _attribute: Any, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"must be a number of dollars that is not negative, not {value}")


@attrs.frozen
class Price:
    """One ``[pricing."<model>"]`` table: what a model costs, in US dollars per million tokens."""

    input: float = option(
        REQUIRED,
        help="US dollars per million tokens of the prompt that no cache has to do with.",
        validator=_price,
    )
    output: float = option(
        REQUIRED,
        help="US dollars per million tokens of the answer, reasoning included.",
        validator=_price,
    )
    cache_read: float | None = option(
        None,
        help="US dollars per million tokens read from a cache; those of input if left out.",
        validator=optional(_price),
    )
    cache_write: float | None = option(
        None,
        help="US dollars per million tokens written to a cache; those of input if left out.",
        validator=optional(_price),
    )

    def cost(self, usage: Usage) -> float:
        """
        Return what a call costs, in US dollars.

        Args:
            usage: Has the cached tokens in its input. Where a server counts more of them than it
                has input, all of the input was cached, and costs what they do.
        """
        read, write = usage.cache_read, usage.cache_write
        plain = max(0, usage.input - read - write)
        dollars = plain * self.input + usage.output * self.output
        if read:
            dollars += read * (self.input if self.cache_read is None else self.cache_read)
        if write:
            dollars += write * (self.input if self.cache_write is None else self.cache_write)
        return dollars / _MILLION


@attrs.frozen
class TieredPrice(Price):
    """
    What a model costs that is dearer when the prompt is long.

    Attributes:
        above: Tokens of the prompt, cached ones included; a longer one costs `long`.
        long: What all tokens of such a call cost, those of the answer included.
    """

    above: int = attrs.field(kw_only=True)
    long: Price = attrs.field(kw_only=True)

    def cost(self, usage: Usage) -> float:
        """Return what a call costs, in US dollars."""
        return self.long.cost(usage) if usage.input > self.above else Price.cost(self, usage)
