"""How a simulator behaves."""

from __future__ import annotations

import math

import attrs
from attrs.validators import ge, gt, instance_of


@attrs.frozen(kw_only=True)
class SimulatorSettings:
    """
    How a simulator behaves.

    Attributes:
        tokens_per_second: How fast it talks; infinite by default. Real models make 20 to 150.
        first_token_delay: Seconds before its first token; real models take 0.2 to 2.
        jitter: How far the pause before a token may be off, as a share of it; the mean is kept.
        seed: Makes ids and jitter repeatable; None for others every time.
        api_keys: The keys it accepts; any, and none at all, when empty.
        models: What `GET /v1/models` lists. Requests may name any model.
        faults: What goes wrong in requests that say nothing themselves (see `faults`).
        max_responses: How many Responses it remembers for `previous_response_id`.
        max_recorded: How many requests `Simulator.requests` keeps.
        max_body_size: Bytes; a larger request is refused with 413.
    """

    tokens_per_second: float = attrs.field(default=math.inf, validator=gt(0))
    first_token_delay: float = attrs.field(default=0.0, validator=ge(0))
    jitter: float = attrs.field(default=0.5, validator=[ge(0), attrs.validators.le(1)])
    seed: int | None = None
    api_keys: frozenset[str] = attrs.field(factory=frozenset, converter=frozenset, repr=False)
    models: tuple[str, ...] = attrs.field(
        default=("simulated-large", "simulated-small", "simulated-embedding"), converter=tuple
    )
    faults: str = attrs.field(default="", validator=instance_of(str))
    max_responses: int = attrs.field(default=1000, validator=ge(1))
    max_recorded: int = attrs.field(default=1000, validator=ge(0))
    max_body_size: int = attrs.field(default=64 * 1024 * 1024, validator=ge(0))
