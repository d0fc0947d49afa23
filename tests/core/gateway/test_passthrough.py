"""What goes through goes through unchanged, as it comes."""

from __future__ import annotations

import asyncio
import gzip
from hashlib import sha256

import pytest


GET = b"GET /v1/models HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n"


def post(path: str, body: bytes, *headers: str, close: bool = True) -> bytes:
    """Return a raw POST request."""
    fields = [f"host: proxy\r\ncontent-length: {len(body)}", *headers]
    if close:
        fields.append("connection: close")
    return "\r\n".join([f"POST {path} HTTP/1.1", *fields, "", ""]).encode("latin-1") + body


def split(raw: bytes) -> tuple[str, list[str], bytes]:
    """Split a raw response into status line, header lines and body bytes."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *headers = head.decode("latin-1").split("\r\n")
    return status, headers, body


def unchunk(body: bytes) -> bytes:
    """Undo the chunked coding of a complete body."""
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        out, body = out + body[:length], body[length + 2 :]
    return out


async def test_json_comes_back_exactly(start, upstream):
    """Status, repeated headers in order and body bytes of a JSON answer are kept."""
    body = b'{"a" : 1,\n "b":"\\u00e9"}'
    upstream.handler = upstream_answer(
        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nset-cookie: a=1\r\n"
        b"x-ratelimit-remaining: 9\r\nset-cookie: b=2\r\ndate: today\r\nserver: theirs\r\n"
        b"content-length: %d\r\n\r\n" % len(body) + body
    )
    proxy = await start()

    status, headers, got = split(await proxy.request(post("/v1/chat/completions", b"{}")))

    assert status == "HTTP/1.1 201 Created"
    assert got == body
    kept = [line for line in headers if not line.startswith(("x-perimeter-", "connection"))]
    assert kept == [
        "content-type: application/json",
        "set-cookie: a=1",
        "x-ratelimit-remaining: 9",
        "set-cookie: b=2",
        "date: today",
        "server: theirs",
        f"content-length: {len(body)}",
    ]


async def test_request_reaches_the_upstream_exactly(start, upstream):
    """Path, query, body and end-to-end headers arrive as they were sent; hop-by-hop ones do not."""
    body = b'{"model":"m",  "messages":[]}\n'
    proxy = await start()

    await proxy.request(
        post(
            "/v1/a%2Fb%3Ac//d/../e%20f?x=%41&&y=+&key",
            body,
            "authorization: Bearer mine",
            "x-twice: 1",
            "X-Twice: 2",
            "te: trailers",
            "x-cylestio-agent-id: me",
            "x-hop: gone",
            "connection: close, x-hop",
            "accept-encoding: br",
            close=False,
        )
    )

    [request] = upstream.requests
    assert request.line == "POST /v1/a%2Fb%3Ac//d/../e%20f?x=%41&&y=+&key HTTP/1.1"
    assert request.body == body
    names = [name.lower() for name, _ in request.headers]
    assert sorted(names) == sorted(
        ["host", "content-length", "authorization", "x-twice", "x-twice", "accept-encoding"]
    )
    assert request.header("x-twice") == ["1", "2"]
    assert request.header("host") == [upstream.url.removeprefix("http://")]


@pytest.mark.parametrize("status", [204, 304])
async def test_bodiless_responses(start, upstream, status):
    """Responses that have no body by definition pass, also when they announce a length."""
    length = b"content-length: 9\r\n" if status == 304 else b""
    upstream.handler = upstream_answer(b"HTTP/1.1 %d X\r\n" % status + length + b"\r\n")
    proxy = await start()

    got, _, body = split(await proxy.request(GET))

    assert got.startswith(f"HTTP/1.1 {status}")
    assert body == b""


async def test_head_request(start, upstream):
    """The answer to HEAD keeps its content-length and has no body."""
    upstream.handler = upstream_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")
    proxy = await start()

    status, headers, body = split(await proxy.request(GET.replace(b"GET", b"HEAD")))

    assert status == "HTTP/1.1 200 OK"
    assert "content-length: 1234" in headers
    assert body == b""


async def test_gzip_stays_gzip(start, upstream):
    """An encoded body passes still encoded."""
    body = gzip.compress(b'{"hello":"world"}')
    upstream.handler = upstream_answer(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n" % len(body) + body
    )
    proxy = await start()

    _, headers, got = split(await proxy.request(post("/v1/chat/completions", b"{}")))

    assert got == body
    assert "content-encoding: gzip" in headers
    assert proxy.log.endings[0].response.content() == b'{"hello":"world"}'


async def test_each_event_leaves_before_the_next_one_comes(start, upstream):
    """A streamed event is in the client's hands while the upstream waits to send the next."""
    release = asyncio.Event()

    async def handler(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        for number in range(5):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await release.wait()
            release.clear()
        writer.write(b"0\r\n\r\n")

    upstream.handler = handler
    proxy = await start()
    reader, writer = await proxy.connect()
    writer.write(post("/v1/chat/completions", b'{"stream":true}'))

    for number in range(5):
        seen = await reader.readuntil(b"data: %d\n\n" % number)
        assert seen
        release.set()
    assert (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()


async def test_binary_upload_streams_up(start, upstream):
    """A body without dialect reaches the upstream while the client is still sending it."""
    arrived = asyncio.Event()

    async def handler(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def serve(reader, writer):
        await reader.readuntil(b"first")
        arrived.set()
        await reader.readuntil(b"second")
        await handler(None, writer)

    upstream.serve = serve
    proxy = await start(type="raw")
    reader, writer = await proxy.connect()
    writer.write(b"POST /upload HTTP/1.1\r\nhost: p\r\ncontent-length: 11\r\n\r\nfirst")

    await arrived.wait()
    writer.write(b"second")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_redirects_are_not_followed(start, upstream):
    """A 302 is the client's business."""
    upstream.handler = upstream_answer(
        b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
    )
    proxy = await start()

    status, headers, _ = split(await proxy.request(GET))

    assert status.startswith("HTTP/1.1 302")
    assert "location: http://elsewhere/" in headers


async def test_keep_alive_on_both_sides(start, upstream):
    """Several requests of one client connection use one upstream connection."""
    proxy = await start()
    reader, writer = await proxy.connect()

    for _ in range(3):
        writer.write(post("/v1/chat/completions", b"{}", close=False))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"{}"

    assert upstream.connections == 1
    writer.close()


async def test_observers_see_what_passed(start, upstream):
    """Observers get request, head, each chunk and one end, in order, with digests and sizes."""
    upstream.handler = upstream_answer(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        b"content-length: 9\r\n\r\ndata: 1\n\n"
    )
    proxy = await start()

    await proxy.request(post("/v1/chat/completions", b'{"a":1}'))

    assert proxy.log.names == ["on_request", "on_response_start", "on_chunk", "on_response"]
    [exchange] = proxy.log.endings
    assert exchange.original.body == exchange.request.body == b'{"a":1}'
    assert exchange.response.body == b"data: 1\n\n"
    assert exchange.response.framing == "sse"
    digest = sha256(b"data: 1\n\n").hexdigest()
    assert exchange.response.received_digest == exchange.response.delivered_digest == digest
    assert exchange.outcome == "completed"
    assert exchange.dialect.name == "openai.chat"
    assert 0 <= exchange.overhead <= exchange.duration


def upstream_answer(raw: bytes):
    """Return a handler that answers every request with these bytes."""

    async def handler(_, writer):
        writer.write(raw)
        await writer.drain()

    return handler


async def test_http_1_0_clients(start, upstream):
    """A client that knows no chunks gets the bytes as they are, ended by the connection."""
    upstream.handler = upstream_answer(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n"
    )
    proxy = await start()

    _, headers, body = split(await proxy.request(b"GET /x HTTP/1.0\r\nhost: p\r\n\r\n"))

    assert body == b"data: 1\n\ndata: 2\n\n"
    assert "transfer-encoding: chunked" not in headers
