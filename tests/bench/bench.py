"""
Measure what the proxy itself costs: CPU per request and per streamed event of its process.

    python tests/bench/bench.py [--rounds 7] [--requests 3000] [--json results.json]

The proxy answers from memory behind `perimeter.upstream`, so no HTTP client is measured. Each round
is paired with one of a bare Litestar app that gives the same answers by itself; what counts is the
median of the ratios, because machines are noisy and differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from load import closed_loop, conversations, request
from processes import Server, started
from provider import EVENTS
from rich.console import Console
from rich.table import Table


CONNECTIONS = 16
STREAMS = 200
CANDIDATES = ("floor", "off", "unread", "proxy")
TITLES = {
    "floor": "bare Litestar app",
    "off": "Perimeter, no plugin",
    "unread": "The same as the next, nothing read",
    "proxy": "Perimeter, every observer implemented",
}


def measure(server: Server, requests: list[bytes], connections: int) -> float:
    """Return the CPU seconds that these requests cost."""
    before = server.cpu()
    asyncio.run(closed_loop(server.port, requests, connections))
    return server.cpu() - before


def per_request(servers: dict[str, Server], rounds: int, requests: int) -> dict[str, list[float]]:
    """Return microseconds of CPU per request of each candidate, round by round."""
    bodies = conversations()
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for number in range(-1, rounds):
        for kind, server in servers.items():
            batch = [request(each, stream=False) for each in islice(bodies, requests)]
            cost = measure(server, batch, CONNECTIONS) / requests * 1e6
            if number >= 0:  # the first round only warms up
                costs[kind].append(cost)
    return costs


def per_event(servers: dict[str, Server], rounds: int, model: str) -> dict[str, list[float]]:
    """
    Return microseconds of CPU per streamed event of each candidate, round by round.

    With the model `bench/burst` events are ready as soon as they are asked for, so that neither
    timers nor wake-ups are measured; else they come 20 ms apart, as from a provider.
    """
    bodies = conversations()
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for _ in range(rounds):
        for kind, server in servers.items():
            bodies_of_round = islice(bodies, STREAMS)
            batch = [request(each, stream=True, model=model) for each in bodies_of_round]
            costs[kind].append(measure(server, batch, STREAMS) / (STREAMS * EVENTS) * 1e6)
    return costs


def ratios(costs: dict[str, list[float]], kind: str) -> float:
    """Return the median over rounds of a candidate's cost over the floor's."""
    return statistics.median(
        cost / floor for cost, floor in zip(costs[kind], costs["floor"], strict=True)
    )


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(started(kind)) for kind in CANDIDATES}
        json_costs = per_request(servers, options.rounds, options.requests)
        event_costs = per_event(servers, max(1, options.rounds // 2), "bench")
        burst_costs = per_event(servers, options.rounds, "bench/burst")
    titles = ("µs per request", "x floor", "µs per event", "x floor", "µs in a burst")
    table = Table("candidate", *titles)
    results = {}
    for kind in CANDIDATES:
        figures = {
            "cpu_us_per_request": statistics.median(json_costs[kind]),
            "request_ratio": ratios(json_costs, kind),
            "cpu_us_per_event": statistics.median(event_costs[kind]),
            "event_ratio": ratios(event_costs, kind),
            "cpu_us_per_event_in_a_burst": statistics.median(burst_costs[kind]),
        }
        results[kind] = figures
        table.add_row(TITLES[kind], *(f"{value:.2f}" for value in figures.values()))
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
