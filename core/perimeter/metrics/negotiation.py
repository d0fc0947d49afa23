"""Which format a client asks for."""

from __future__ import annotations

import re


_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
_JSON = "application/json"
_TEXTS = (
    ("text/plain", "text/*", "*/*"),
    ("application/openmetrics-text", "application/*", "*/*"),
)
"""The other formats, each with the ranges that cover it, the most specific one first."""


def wants_json(accept: str) -> bool:
    """
    Whether JSON is the answer to an Accept header.

    It must be named: whoever takes anything gets what Prometheus reads. Named beside text it must
    not be worth less.
    """
    ranges = _ranges(accept)
    quality = ranges.get(_JSON, 0.0)
    return quality > 0 and all(quality >= _quality(ranges, covering) for covering in _TEXTS)


def _quality(ranges: dict[str, float], covering: tuple[str, ...]) -> float:
    return next((ranges[each] for each in covering if each in ranges), 0.0)


def _ranges(accept: str) -> dict[str, float]:
    """Read the media ranges of an Accept header, each with its quality."""
    ranges: dict[str, float] = {}
    for element in accept.lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        # The same format may be named in several versions (Prometheus does): the best one counts.
        ranges[name] = max(ranges.get(name, 0.0), _weight(parameters))
    return ranges


def _weight(parameters: list[str]) -> float:
    """Return a range's quality: 1 unless it says otherwise, 0 where what it says is nonsense."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return float(value) if _QUALITY.fullmatch(value := value.strip()) else 0.0
    return 1.0
