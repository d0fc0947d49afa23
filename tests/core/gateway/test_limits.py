"""Malformed, oversized and unsupported input gets a clear answer, and nobody else notices."""

from __future__ import annotations

import asyncio

import pytest

from faults import request


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: p\r\nconnection: close\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
KILOBYTE = b"400\r\n" + b"x" * 1024 + b"\r\n"
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: p\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: x\r\n\r\n"
)
BOTH = HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
CASES = {
    "malformed json passes": (HEAD + b'content-length: 13\r\n\r\n{"model":"m",', 200),
    "declared too large": (HEAD + b"content-length: 2000\r\n\r\n", 413),
    "chunked too large": (CHUNKED + KILOBYTE + KILOBYTE + b"0\r\n\r\n", 413),
    "header bomb": (HEAD + b"x-big: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    "too many headers": (HEAD + b"x: 1\r\n" * 150 + b"\r\n", 431),
    "long target": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: p\r\n\r\n", 431),
    "broken chunk": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "no http": (b"\x16\x03\x01 hello\r\n\r\n", 400),
    "length and chunked": (BOTH, 400),
    "two lengths": (HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
    "unknown coding": (HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "websocket": (UPGRADE, 501),
}


@pytest.mark.parametrize("name", CASES)
async def test_bad_requests(start, upstream, name):
    """Each kind of bad input has its status, and the next client is served as ever."""
    data, status = CASES[name]
    proxy = await start(server={"max_body_size": 1500})

    raw = await first_answer(proxy, data)

    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert (await proxy.request(request(stream=False))).startswith(b"HTTP/1.1 200 ")


async def test_hundred_megabytes(start, upstream):
    """A body of 100 MB is refused without being held, by a client that sends it all the same."""
    proxy = await start(server={"max_body_size": 1024 * 1024})
    reader, writer = await proxy.connect()
    writer.write(HEAD + b"content-length: 100000000\r\n\r\n")

    async def send():
        for _ in range(100):
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    sending = asyncio.get_running_loop().create_task(send())
    raw = await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait([sending])

    assert raw.startswith(b"HTTP/1.1 413 ")
    assert not upstream.requests
    assert proxy.application.gateway.budget.used == 0
    sending.cancel()
    writer.close()


async def test_body_budget(start, upstream):
    """When all bodies together are too much, the next one gets 503, and memory is given back."""
    proxy = await start(server={"max_body_size": 1000, "body_budget": 1000})
    _, holder = await proxy.connect()
    holder.write(HEAD + b"content-length: 900\r\n\r\n" + b"x" * 800)
    while proxy.application.gateway.budget.used < 800:
        await asyncio.sleep(0)

    raw = await proxy.request(HEAD + b"content-length: 400\r\n\r\n" + b"x" * 400)

    assert raw.startswith(b"HTTP/1.1 503 ")
    holder.close()
    while proxy.application.gateway.budget.used:
        await asyncio.sleep(0)
    assert (await proxy.request(request(stream=False))).startswith(b"HTTP/1.1 200 ")


async def test_slow_headers(start):
    """A head that does not come to its end in time is answered 408."""
    proxy = await start(server={"header_timeout": 0.1})
    reader, writer = await proxy.connect()
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost:")

    assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


async def test_pipelined_requests(start, upstream):
    """Requests sent without waiting are answered one after the other, in order."""
    proxy = await start()
    one = request(stream=False).replace(b"connection: close\r\n", b"")

    raw = await proxy.request(one + one + request(stream=False))

    assert raw.count(b"HTTP/1.1 200 OK") == 3
    assert len(upstream.requests) == 3


async def test_capture_limit(start, upstream):
    """Plugins see bodies up to the capture limit, with a mark; the wire carries them whole."""
    body = b"y" * 5000
    upstream.handler = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + body)
    proxy = await start(server={"capture_limit": 100})

    raw = await proxy.request(HEAD + b"content-length: 300\r\n\r\n" + b"x" * 300)

    [exchange] = proxy.log.endings
    assert raw.endswith(b"\r\n\r\n" + body)
    assert upstream.requests[0].body == b"x" * 300
    assert exchange.request.body == b"x" * 100
    assert exchange.request.truncated
    assert exchange.response.body == body[:100]
    assert exchange.response.truncated
    assert exchange.response.size == 5000


async def first_answer(proxy, data):
    """Send bytes and return the head of the first answer."""
    reader, writer = await proxy.connect()
    writer.write(data)
    raw = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return raw


def answer(raw):
    """Return a handler that writes these bytes."""

    async def handler(_, writer):
        writer.write(raw)
        await writer.drain()

    return handler
