"""Numbers out of records, which may be anything."""

from __future__ import annotations

import math
from typing import Any


_MOST = 2**53
"""Larger numbers are nonsense, and would not fit into columns when they are added up."""
_LATEST = 4_102_444_800.0
"""The year 2100, as Unix time."""


def whole(value: Any) -> int | None:
    """Return a number that counts something, None for everything else."""
    return value if type(value) is int and 0 <= value < _MOST else None


def number(value: Any) -> float | None:
    """Return a finite number, None for everything else."""
    if type(value) not in {int, float} or not math.isfinite(value):
        return None
    return float(value)


def scaled(value: Any, factor: float) -> int | None:
    """Return a number times a factor as a whole number, None where it is none or negative."""
    found = number(value)
    if found is None or not 0 <= found * factor < _MOST:
        return None
    return round(found * factor)


def micros(at: float, now: float) -> int:
    """Return a moment in microseconds; `now` where it is none."""
    return int((at if 0 <= at < _LATEST else now) * 1_000_000)
