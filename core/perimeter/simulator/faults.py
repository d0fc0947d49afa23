"""
Faults on request.

The request header `x-simulate` (or `SimulatorSettings.faults` for requests without it) says what is
to go wrong, as terms with `;` between them:

    status=429              this error status (400 to 599) with the provider's error body
    retry-after=2           this header on that error
    message=slow down       this message in that error (without `;`)
    slow-head=0.5           seconds before the status line
    delay=0.2               seconds before every event of a stream, or before a plain body
    hang                    no answer at all, until the client leaves
    hang=3                  silence after three events of a stream, or three bytes of a plain body
    cut=3                   the connection is cut there; `cut=0` is right after the head
    error=3                 the stream reports an error there, as its provider does, and ends
    malformed               the second event, or the plain body, is broken JSON
    gzip                    the body is compressed, a stream event by event
    times=2                 only the first two requests with exactly these faults have them

Terms may be combined: `slow-head=0.5; cut=3`. An empty header means no fault. A term that is not
known is answered with status 400.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from perimeter.simulator.providers import Refusal


FAULT_HEADER = "x-simulate"
"""The request header that asks for faults."""


@attrs.frozen
class Faults:
    """What is to go wrong with one answer; see the module for what each term means."""

    status: int | None = None
    retry_after: str | None = None
    message: str = ""
    slow_head: float = 0.0
    delay: float = 0.0
    hang: int | None = None
    cut: int | None = None
    error: int | None = None
    malformed: bool = False
    gzip: bool = False
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> Faults:
        """
        Read the fault language.

        Raises:
            Refusal: With status 400, naming the term that can't be read.
        """
        terms = [term.strip() for term in text.split(";") if term.strip()]
        return cls(**dict(map(_term, terms)))


def _status(value: str) -> int:
    status = int(value)
    if not 400 <= status <= 599:
        raise ValueError
    return status


def _seconds(value: str) -> float:
    seconds = float(value)
    if not 0 <= seconds < 86_400:
        raise ValueError
    return seconds


def _number(value: str) -> int:
    number = int(value)
    if number < 0:
        raise ValueError
    return number


def _flag(value: str) -> bool:
    if value:
        raise ValueError
    return True


_READERS: dict[str, Callable[[str], Any]] = {
    "status": _status,
    "retry-after": str,
    "message": str,
    "slow-head": _seconds,
    "delay": _seconds,
    "hang": lambda value: _number(value) if value else -1,
    "cut": _number,
    "error": _number,
    "malformed": _flag,
    "gzip": _flag,
    "times": _number,
}


def _term(term: str) -> tuple[str, Any]:
    name, _, value = (part.strip() for part in term.partition("="))
    try:
        return name.replace("-", "_"), _READERS[name](value)
    except (KeyError, ValueError):
        message = f"{FAULT_HEADER}: {term!r} is no fault that can be simulated"
        raise Refusal(400, message, param=FAULT_HEADER) from None
