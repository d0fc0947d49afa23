"""What the rows of calls do not say themselves: how bodies are read, and what models cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import attrs

from perimeter.dialects import RAW, UPSTREAM_TYPES, Dialect
from perimeter.pricing import Price, PriceTable


def built_in() -> Mapping[str, Dialect]:
    """Return the dialects of core, by name."""
    return {dialect.name: dialect for kind in UPSTREAM_TYPES.values() for dialect in kind.dialects}


@cache
def _packaged() -> PriceTable:
    """Return the prices that come with this version; to read them takes a while."""
    return PriceTable.packaged()


@attrs.frozen
class Known:
    """
    What is known of the proxy's configuration where its traffic is looked at.

    Attributes:
        dialects: By name.
        prices: What models cost.
    """

    dialects: Mapping[str, Dialect] = attrs.field(factory=built_in)
    prices: PriceTable = attrs.field(factory=_packaged)

    @classmethod
    def of(cls, dialects: Iterable[Dialect], pricing: Mapping[str, Price]) -> Known:
        """
        Return what a configuration adds to what is built in.

        Args:
            dialects: Those of plugins.
            pricing: The configured prices.
        """
        added = {each.name: each for each in dialects}
        prices = PriceTable.packaged(pricing) if pricing else _packaged()
        return cls({**built_in(), **added}, prices)

    def dialect(self, name: str) -> Dialect:
        """Return a dialect; `RAW` for one that nobody knows."""
        return self.dialects.get(name, RAW)
