"""What a call would have cost, had more of its prompt come from the cache."""

from __future__ import annotations

from perimeter.calls import Usage
from perimeter.pricing import Price


LEAST = 1024
"""Tokens below which no large provider caches a prompt."""


def lost_tokens(before: int, tok_in: int, cached: int) -> int:
    """
    Return how many tokens could have been read from the cache, and were not.

    Args:
        before: Tokens of the prompt before, which is what can be cached at best.
        tok_in: Tokens of this prompt.
        cached: Those that were read from the cache.
    """
    possible = min(before, tok_in)
    return max(possible - cached, 0) if possible >= LEAST else 0


def lost_nano(price: Price | None, tok_in: int, cached: int, write: int, lost: int) -> int | None:
    """
    Return what tokens cost more than they would have from the cache, in billionths of a dollar.

    None where the price of the model is not known. Tokens that were written to the cache again are
    dearer than plain ones at some providers, which counts as well.
    """
    if not lost:
        return 0
    if price is None:
        return None
    paid = price.cost(Usage(input=tok_in, cache_read=cached, cache_write=write))
    rest = max(write - lost, 0)
    better = price.cost(Usage(input=tok_in, cache_read=cached + lost, cache_write=rest))
    return max(round((paid - better) * 1e9), 0)
