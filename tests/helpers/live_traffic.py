"""Traffic of every kind through a running proxy: conversations, faults and departures."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx

from perimeter.demo import play_round
from perimeter.simulator import FAULT_HEADER


CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"

FAULTS: list[tuple[str, bool, str]] = [
    (CHAT, False, "status=429"),
    (CHAT, True, "status=500"),
    (MESSAGES, False, "status=529"),
    (CHAT, True, "cut=3"),
    (MESSAGES, True, "cut=2"),
    (CHAT, False, "cut=5"),
    (MESSAGES, True, "error=2"),
    (CHAT, True, "malformed"),
    (CHAT, False, "gzip"),
    (MESSAGES, True, "gzip"),
    (CHAT, True, "hang=3"),
    (CHAT, False, "hang"),
    (CHAT, True, "delay=0.005"),
]
"""Path, whether streamed, and what goes wrong there. Those that hang run into a timeout."""


async def all_kinds(base_url: str, gone_url: str) -> None:
    """
    Make traffic.

    Args:
        base_url: Of a proxy in front of the simulator, with short timeouts.
        gone_url: The same proxy, by a path prefix that leads to a port where nobody listens.
    """
    result = await play_round(base_url, report=lambda _: None)
    assert not result.failures
    async with httpx.AsyncClient(base_url=base_url, timeout=20.0, trust_env=False) as client:
        await asyncio.gather(
            *(_ask(client, *fault, number) for number, fault in enumerate(FAULTS)),
            _leave(client, CHAT, 101),
            _leave(client, MESSAGES, 102),
            _labelled(client),
            _plain(client),
            _unreachable(gone_url),
        )


def question(number: int, *, stream: bool = False) -> dict[str, Any]:
    """Return a body that is asked once only."""
    text = f"Write {40 + number} words about tea"
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    return {**asked, "max_tokens": 400, "stream": stream}


async def _ask(client: httpx.AsyncClient, path: str, stream: bool, fault: str, number: int) -> None:
    headers = {FAULT_HEADER: fault, "anthropic-version": "2023-06-01"}
    with contextlib.suppress(httpx.HTTPError):
        await client.post(path, json=question(number, stream=stream), headers=headers)


async def _leave(client: httpx.AsyncClient, path: str, number: int) -> None:
    """Leave in the middle of a stream that would take long."""
    headers = {FAULT_HEADER: "delay=0.05", "anthropic-version": "2023-06-01"}
    asked = question(number, stream=True)
    async with client.stream("POST", path, json=asked, headers=headers) as response:
        async for _ in response.aiter_raw():
            break


async def _labelled(client: httpx.AsyncClient) -> None:
    """Name session, agent and tags, in a workflow, twice."""
    headers = {
        "x-cylestio-conversation-id": "named-1",
        "x-cylestio-prompt-id": "librarian",
        "x-cylestio-tags": "team:a,urgent",
        "traceparent": "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01",
    }
    for number in (201, 202):
        path = f"/agent-workflow/night-shift{CHAT}"
        await client.post(path, json=question(number), headers=headers)


async def _plain(client: httpx.AsyncClient) -> None:
    """Send what is no conversation: a list of models, embeddings, an upload, a HEAD."""
    await client.get("/v1/models")
    await client.request("HEAD", "/v1/models")
    await client.post("/v1/embeddings", json={"model": "e", "input": ["one", "two"]})
    await client.post("/v1/unknown?q=x%20y", content=_pieces())
    await client.post(CHAT, content=b'{"model": "broken')
    large = question(301)
    large["messages"].insert(0, {"role": "system", "content": "be kind. " * 50_000})
    await client.post(CHAT, json=large)


async def _pieces() -> Any:
    for piece in (b"\x00\x01", json.dumps({"a": 1}).encode(), b"\xff"):
        yield piece


async def _unreachable(gone_url: str) -> None:
    async with httpx.AsyncClient(timeout=20.0, trust_env=False) as client:
        await client.post(gone_url + CHAT, json=question(401))
