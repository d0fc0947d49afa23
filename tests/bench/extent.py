"""How much of everything a run measures."""

from __future__ import annotations

import attrs


KILO, MEGA = 1024, 1024 * 1024


@attrs.frozen
class Extent:
    """
    How much is measured.

    Attributes:
        rounds: How often each candidate has its turn; the first one more, to warm up.
        requests: Of each round.
        streams: At the same time.
        watched: Seconds that streams are looked at, without large bodies beside them and with.
        settle: Seconds that recorders get to write what waits, which is part of their cost.
        soak: Exchanges with failing sinks.
        stored_events: Events of the database that the dashboard shows.
        pages: Requests of each page of it.
        rate: Exchanges a second that live trace has to keep up with.
        rate_seconds: For how long.
        connections: Of the grid.
        sizes: Bytes of the grid's requests.
        plugins: Of the grid.
        workers: Of the grid.
    """

    rounds: int
    requests: int
    streams: int
    watched: float
    settle: float
    soak: int
    stored_events: int
    pages: int
    rate: int
    rate_seconds: int
    connections: tuple[int, ...]
    sizes: tuple[int, ...]
    plugins: tuple[str, ...]
    workers: tuple[int, ...]


FULL = Extent(
    rounds=7,
    requests=3000,
    streams=200,
    watched=3.0,
    settle=1.5,
    soak=200_000,
    stored_events=1_000_000,
    pages=40,
    rate=1000,
    rate_seconds=60,
    connections=(1, 16, 128, 1000),
    sizes=(KILO, 100 * KILO, MEGA),
    plugins=("none", "printer and recorders", "all"),
    workers=(1, 2),
)
QUICK = attrs.evolve(
    FULL,
    rounds=3,
    requests=1000,
    soak=20_000,
    stored_events=100_000,
    rate=500,
    rate_seconds=10,
    connections=(16,),
    sizes=(KILO,),
    workers=(1,),
)
LEAST = attrs.evolve(
    QUICK,
    rounds=1,
    requests=16,
    streams=4,
    watched=0.2,
    settle=0.0,
    soak=40,
    stored_events=2000,
    pages=4,
    rate=20,
    rate_seconds=1,
    connections=(2,),
    plugins=("none",),
)
"""Enough to see that it works; its figures mean nothing."""
