"""Paths that mean something at several providers, so that they alone do not say which is meant."""

from __future__ import annotations

import re

from perimeter.dialects.gemini import ACTION


SHARED_PATHS = re.compile(
    rf"\A/v1/(?!models/[^/]+{ACTION})(?:agents|files|models|skills|vaults)(?:/|\Z)"
)
"""At OpenAI (and compatible servers) and at Anthropic; also what is below them."""


def is_shared(path: str) -> bool:
    """
    Return whether several providers have such a path.

    Args:
        path: The raw path, without the query.
    """
    return SHARED_PATHS.search(path) is not None
