"""Axes: where the ticks are and what they are called."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

import attrs


_SECOND = 1_000_000
_TINY = 1e-200
"""What is less is nothing: logarithms and quotients of it leave what a float can hold."""
_STEPS_US = tuple(
    seconds * _SECOND
    for seconds in (
        1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200,
        86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400, 90 * 86400, 365 * 86400,
    )
)  # fmt: skip
"""Steps between ticks of time that people are used to."""


@attrs.frozen
class Tick:
    """A tick: where it is, what it says, and which part of the label is there."""

    at: float
    label: str
    anchor: str = "middle"


def nice_step(span: float, most: int) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, so that at most so many fit into a span."""
    if not (span > _TINY and math.isfinite(span)):
        return 1.0
    least = span / max(most, 1)
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1, 2, 2.5, 5, 10):
        if factor * power >= least * (1 - 1e-9):
            return factor * power
    return 10 * power


def top_of(highest: float, most: int = 4, least: float = 0.0) -> float:
    """
    Return where an axis ends: the next tick at or above the highest value.

    Args:
        highest: The highest value.
        most: Ticks at most.
        least: What ticks are multiples of, such as 1 for what is counted; 0 for anything.
    """
    if not (highest > _TINY and math.isfinite(highest)):
        return 1.0
    step = _step(highest, most, least)
    return math.ceil(highest / step - 1e-9) * step


def value_ticks(
    top: float, height: float, label: Callable[[float], str], most: int = 4, least: float = 0.0
) -> list[Tick]:
    """Return the ticks of an axis from 0 up to its end (see `top_of`); the y of 0 is the height."""
    step = _step(top, most, least)
    count = int(top / step + 1e-9)
    return [
        Tick(height - i * step / top * height, _short(label(i * step))) for i in range(count + 1)
    ]


def _step(span: float, most: int, least: float) -> float:
    step = nice_step(span, most)
    return math.ceil(step / least - 1e-9) * least if least else step


def _short(label: str) -> str:
    """Return a label without zeros that say nothing: `$0.2` instead of `$0.2000`."""
    return re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", label).replace(". ", " ").removesuffix(".")


def time_ticks(
    from_us: int, to_us: int, width: float, zone: tzinfo = UTC, most: int = 6
) -> list[Tick]:
    """Return ticks at round times of a zone, between the ends of an axis."""
    span = to_us - from_us
    if span <= 0:
        return []
    step = next((step for step in _STEPS_US if span / step <= most), _STEPS_US[-1])
    offset = zone.utcoffset(datetime.fromtimestamp(from_us / _SECOND, UTC))
    shift = int(offset.total_seconds()) * _SECOND if offset else 0
    first = -(-(from_us + shift) // step) * step - shift
    moments = range(first, to_us, step)
    places = [(round((us - from_us) / span * width, 2), us) for us in moments][:24]
    return [Tick(at, time_label(us, step, zone), _anchor(at / width)) for at, us in places]


def _anchor(share: float) -> str:
    if share < 0.04:
        return "start"
    return "end" if share > 0.96 else "middle"


def time_label(us: int, step: int, zone: tzinfo = UTC) -> str:
    """Return a time as precisely as a step needs it."""
    moment = datetime.fromtimestamp(us / _SECOND, UTC).astimezone(zone)
    if step >= 86400 * _SECOND:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M:%S}" if step < 60 * _SECOND else f"{moment:%H:%M}"
