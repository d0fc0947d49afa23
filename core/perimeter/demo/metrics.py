"""Comparing what the proxy counted with what the agents did."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from perimeter.demo.results import Traffic


_SAMPLE = "perimeter_requests_total"
_PAUSE = 0.1


async def check_metrics(
    base_url: str, expected: Mapping[Traffic, int], *, tries: int = 50
) -> list[str]:
    """
    Compare `/metrics` with the calls that were made since the proxy started.

    An exchange is counted after its last byte has gone out, so the numbers get some time to become
    right.

    Args:
        base_url: The proxy.
        expected: How many calls of each kind were made; only these kinds are compared.
        tries: How often to look, a tenth of a second apart.

    Returns:
        What is not as expected, one sentence each.
    """
    problems: list[str] = []
    async with httpx.AsyncClient(base_url=base_url, trust_env=False) as client:
        for _ in range(tries):
            response = await client.get("/metrics", headers={"accept": "text/plain"})
            if not response.is_success:
                return [f"/metrics answered {response.status_code}"]
            problems = _compare(_counted(response.text), expected)
            if not problems:
                break
            await asyncio.sleep(_PAUSE)
    return problems


def _counted(text: str) -> Counter[Traffic]:
    counted: Counter[Traffic] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == _SAMPLE and labels["outcome"] == "completed":
                kind = Traffic(labels["upstream"], labels["dialect"], int(labels["status"]))
                counted[kind] += int(sample.value)
    return counted


def _compare(counted: Counter[Traffic], expected: Mapping[Traffic, int]) -> list[str]:
    return [
        f"/metrics has {counted[kind]} calls to {kind.upstream} ({kind.dialect}) with status"
        f" {kind.status}, not {number}"
        for kind, number in expected.items()
        if counted[kind] != number
    ]
