"""A load generator cheap enough not to be what is measured: raw sockets, unique conversations."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import count


WORDS = ("every", "byte", "passes", "exactly", "and", "nothing", "is", "lost", "on", "its", "way")
ANSWER = "An answer of some length. " * 16
TURNS = 4
GROUP = 64
LONGEST = 600
"""Seconds that a batch of requests may take."""


def conversations() -> Iterator[list[dict[str, str]]]:
    """
    Yield the messages of requests of about a kilobyte: conversations that grow, none like another.

    As agents do it, each goes on with the answer that it was really given, when it has it: a group
    of conversations takes turns, so that no call has to wait for the one before it.
    """
    for first in count(step=GROUP):
        group = [_opening(number) for number in range(first, first + GROUP)]
        for turn in range(TURNS):
            for number, messages in enumerate(group, first):
                text = " ".join(WORDS[(number + turn + i) % len(WORDS)] for i in range(10))
                messages.append({"role": "user", "content": f"{number}/{turn}: {text}"})
                yield list(messages)
                messages.append({"role": "assistant", "content": ANSWER})


def _opening(number: int) -> list[dict[str, str]]:
    return [{"role": "system", "content": f"You are benchmark agent {number}."}]


def request(messages: object, *, stream: bool, model: str = "bench") -> bytes:
    """Return one raw request."""
    payload = {"model": model, "stream": stream, "messages": messages}
    body = json.dumps(payload, separators=(",", ":")).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        "authorization: Bearer none\r\nuser-agent: bench/1\r\naccept: application/json\r\n"
        f"accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def closed_loop(port: int, requests: list[bytes], connections: int) -> list[float]:
    """
    Send all requests over so many connections, each waiting for its answer.

    Returns:
        Milliseconds of each, to the end of an answer or the first event of a stream.
    """
    left, times = iter(requests), []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for data in left:
            begun = time.perf_counter()
            writer.write(data)
            times.append((await read_response(reader) - begun) * 1000)
        writer.close()

    async with asyncio.timeout(LONGEST):
        await asyncio.gather(*(client() for _ in range(connections)))
    return times


async def open_loop(port: int, requests: list[bytes], connections: int, rate: float) -> list[float]:
    """
    Send so many requests a second, whether or not the ones before are answered.

    Returns:
        Milliseconds of each from when it was due, so that the wait for a free connection counts.
    """
    idle: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(connections):
        idle.put_nowait(await asyncio.open_connection("127.0.0.1", port))
    begun = time.perf_counter()

    async def send(data: bytes, due: float) -> float:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        reader, writer = await idle.get()
        writer.write(data)
        answered = await read_response(reader)
        idle.put_nowait((reader, writer))
        return (answered - due) * 1000

    waiting = [send(data, begun + place / rate) for place, data in enumerate(requests)]
    async with asyncio.timeout(LONGEST):
        times = await asyncio.gather(*waiting)
    while not idle.empty():
        idle.get_nowait()[1].close()
    return list(times)


async def read_response(reader: asyncio.StreamReader) -> float:
    """Read one response to its end; return when that, or the first event of a stream, came."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    head = head.lower()
    length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
    if length:
        await reader.readexactly(int(length))
    elif b"text/event-stream" in head:
        await reader.readuntil(b"data: ")
        came = time.perf_counter()
        await reader.readuntil(b"\r\n0\r\n\r\n")
        return came
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    return time.perf_counter()


def at(times: list[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]
