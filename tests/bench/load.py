"""A load generator cheap enough not to be what is measured: raw sockets, unique conversations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import count


WORDS = ("every", "byte", "passes", "exactly", "and", "nothing", "is", "lost", "on", "its", "way")
ANSWER = "An answer of some length. " * 16
TURNS = 4
GROUP = 64


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


async def closed_loop(port: int, requests: list[bytes], connections: int) -> None:
    """Send all requests over so many connections, each waiting for its answer."""
    left = iter(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for data in left:
            writer.write(data)
            await read_response(reader)
        writer.close()

    await asyncio.gather(*(client() for _ in range(connections)))


async def read_response(reader: asyncio.StreamReader) -> None:
    """Read one response to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    if length:
        await reader.readexactly(int(length))
    else:
        await reader.readuntil(b"0\r\n\r\n")
