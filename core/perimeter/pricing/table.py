"""
Finds the price of a model by the names that it goes by.

A name is a model's own, or one that providers and gateways document for the same model:

- in front of it, where it is served: `models/`, `anthropic/`, `us.anthropic.` (Amazon Bedrock);
- behind it, its version: a date (`-2025-04-14`, `-20250929`, at Vertex AI `@20250929`), `-latest`,
  `@default`, `-001` (Gemini), `-v1:0` (Amazon Bedrock).

Everything else is part of the name, so `gpt-4.1-mini` is not `gpt-4.1`, and neither is a fine-tuned
model (`ft:gpt-4.1:…`), a variant (`…:free`) or a preview. What is unknown has no price: a wrong one
is worse. Prices are list prices: batches, priority and surcharges of a region are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

import attrs
import tomli

from perimeter.calls import Usage
from perimeter.pricing.price import Price, TieredPrice


_VERSION = re.compile(r"(?:[-@]20\d{6}|-20\d\d-\d\d-\d\d|-latest|@default|-0\d\d|-v\d+(?::\d+)?)\Z")
"""What stands behind the name of a model; at the end, so that a date with more after it is none."""

_VERSIONS = 2  # as in `claude-sonnet-4-5-20250929-v1:0`


class PriceTable:
    """
    Prices of models.

    Attributes:
        as_of: The day (`YYYY-MM-DD`) that all packaged prices were last looked up on, or later.
    """

    _REMEMBERED = 1024
    _LONGEST = 200  # characters; no model has such a name, and what is remembered must be bounded

    __slots__ = ("_known", "_prices", "as_of")

    def __init__(self, prices: Mapping[str, Price], as_of: str = "") -> None:
        """
        Prepare the table.

        Args:
            prices: By name, without version.
            as_of: The day that they are from.
        """
        self._prices = {name.lower(): price for name, price in prices.items()}
        self._known: dict[str, Price | None] = {}
        self.as_of = as_of

    @classmethod
    def packaged(cls, overrides: Mapping[str, Price] = {}) -> PriceTable:
        """
        Return the prices that come with this version.

        Args:
            overrides: Count instead of, or beside, the packaged ones. A name holds for the names
                of the same model as well, unless there is an entry for the very name.
        """
        text = files("perimeter.pricing").joinpath("prices.toml").read_text(encoding="utf-8")
        providers = [_Provider.read(table) for table in tomli.loads(text).values()]
        prices = {
            name: price for provider in providers for name, price in provider.prices(overrides)
        }
        return cls({**prices, **overrides}, min(provider.as_of for provider in providers))

    def price_of(self, model: str) -> Price | None:
        """Return what a model costs; None if it is not known."""
        try:
            return self._known[model]
        except KeyError:
            return self._look_up(model)

    def cost(self, model: str, usage: Usage) -> float | None:
        """Return what a call costs, in US dollars; None if the model is not known."""
        price = self.price_of(model)
        return None if price is None else price.cost(usage)

    def _look_up(self, model: str) -> Price | None:
        if len(model) > self._LONGEST:
            return None
        found = self._find(model.strip().lower())
        if len(self._known) >= self._REMEMBERED:
            self._known.clear()
        self._known[model] = found
        return found

    def _find(self, name: str) -> Price | None:
        """Return the price of the longest name that is there."""
        for _ in range(_VERSIONS):
            if name in self._prices:
                break
            version = _VERSION.search(name)
            if version is None:
                return None
            name = name[: version.start()]
        return self._prices.get(name)


@attrs.frozen
class _Provider:
    """
    A table of the packaged file.

    Attributes:
        as_of: The day that its prices were looked up on.
        prefixes: What may stand in front of the names of its models.
        models: Their prices, by name.
        aliases: Further names, and whose they are.
    """

    as_of: str
    prefixes: tuple[str, ...]
    models: dict[str, Price]
    aliases: dict[str, str]

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> _Provider:
        return cls(
            as_of=table["as_of"],
            prefixes=("", *table["prefixes"]),
            models={name: _read(price) for name, price in table["models"].items()},
            aliases=table.get("aliases", {}),
        )

    def prices(self, overrides: Mapping[str, Price]) -> Iterator[tuple[str, Price]]:
        """Yield every name of every model, and what it costs."""
        models = {name: overrides.get(name, price) for name, price in self.models.items()}
        names = {**models, **{alias: models[name] for alias, name in self.aliases.items()}}
        for prefix in self.prefixes:
            for name, price in names.items():
                yield prefix + name, price


def _read(fields: dict[str, Any]) -> Price:
    if "long" not in fields:
        return Price(**fields)
    long = dict(fields["long"])
    above = long.pop("above")
    return TieredPrice(**{**fields, "long": Price(**long), "above": above})
