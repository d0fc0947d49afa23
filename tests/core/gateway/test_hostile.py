"""Clients and upstreams that bend HTTP: nothing is lost, mixed up, or held without a limit."""

from __future__ import annotations

import asyncio

import pytest

from faults import EVENT, SSE, Guard, request
from perimeter import Respond, Rewrite
from perimeter.options import Secret
from perimeter.settings import UpstreamSettings


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: p\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nhost: p\r\n\r\n"
LAST = GET.replace(b"host: p", b"host: p\r\nconnection: close")
H2C = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
EVENT_CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    "framed",
    [
        b"content-length: 13\r\n\r\n" + GET[:13],
        b"transfer-encoding: chunked\r\n\r\nd\r\n%s\r\n0\r\n\r\n" % GET[:13],
    ],
    ids=["length", "chunked"],
)
async def test_offered_upgrade(start, upstream, framed, apart):
    """A request that offers h2c, as Java's client does, keeps its body and its connection."""
    proxy = await start()
    reader, writer = await proxy.connect()
    head, _, body = framed.partition(b"\r\n\r\n")

    writer.write(HEAD + H2C + head + b"\r\n\r\n")
    if apart:
        await asyncio.sleep(0.05)
    writer.write(body + HEAD + H2C + b"content-length: 2\r\n\r\n{}" + LAST)
    raw = await reader.read()

    assert raw.count(b"HTTP/1.1 200 OK") == 3
    assert [each.body for each in upstream.requests] == [GET[:13], b"{}", b""]
    writer.close()


async def test_trailers_are_no_headers(start, upstream):
    """What follows a chunked body can't pose as a header of the request."""
    proxy = await start()
    trailers = b"authorization: forged\r\nsec-fetch-site: same-origin\r\n"

    await proxy.request(CHUNKED + b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n" + LAST)

    assert upstream.requests[0].body == b"{}"
    assert not upstream.requests[0].header("authorization")
    assert proxy.log.endings[0].original.header("sec-fetch-site") is None


@pytest.mark.parametrize(
    "begun",
    [
        HEAD + b"x: ",
        CHUNKED + b"2;",
        CHUNKED + b"2\r\n{}\r\n0\r\nx: ",
    ],
    ids=["header", "chunk extension", "trailer"],
)
async def test_fields_without_an_end(start, begun):
    """What never ends is refused at the limit, not collected until the time is over."""
    proxy = await start()
    _, writer = await proxy.connect()
    writer.write(begun)
    sent = 0

    async def flood():
        nonlocal sent
        while sent < 20_000_000:
            writer.write(b"x" * 100_000)
            sent += 100_000
            await writer.drain()

    with pytest.raises(ConnectionError):
        await flood()
    assert sent < 20_000_000
    assert proxy.application.gateway.budget.used == 0
    writer.close()


@pytest.mark.parametrize(
    "garbage", [b"GET /x HT", b"GET / HTTP/1.1\r\nx: " + b"x" * 70_000, b"\0\0\r\n\r\n"]
)
async def test_refusals_wait_for_their_turn(start, upstream, garbage):
    """A bad request behind a good one does not end up in the middle of the good one's answer."""

    async def handler(_, writer):
        await asyncio.sleep(0.2)
        writer.write(SSE + EVENT_CHUNK)
        await asyncio.sleep(0.2)
        writer.write(EVENT_CHUNK + b"0\r\n\r\n")

    upstream.handler = handler
    proxy = await start(server={"header_timeout": 0.1})
    good = request().replace(b"connection: close\r\n", b"")

    raw = await proxy.request(good + garbage)

    assert raw.startswith(b"HTTP/1.1 200 OK")
    assert raw.endswith(EVENT_CHUNK + EVENT_CHUNK + b"0\r\n\r\n")
    assert proxy.log.names[-1] == "on_response"


async def test_malformed_rest_of_a_streamed_body(start, upstream):
    """Also a body that streams up is rejected, and not taken for a client that left."""
    proxy = await start()

    await proxy.request(b"POST /x HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")

    await proxy.log.ended.wait()
    assert [each.outcome for each in proxy.log.endings] == ["rejected"]


async def test_flood_of_pipelined_requests(start):
    """Thousands of requests in one packet are all answered, in linear time."""
    number = 120_000  # where the work is quadratic, this many take minutes
    proxy = await start()
    reader, writer = await proxy.connect()
    writer.write(b"GET /-/x HTTP/1.1\r\n\r\n" * number)
    answered = 0
    async with asyncio.timeout(40):
        while answered < number:
            answered += (await reader.readuntil(b"nothing here")).count(b"HTTP/1.1 404 ")

    writer.transport.abort()


@pytest.mark.parametrize(
    "first",
    [GET + b"\r\n", HEAD + b"content-length: 100000\r\n\r\nx"],
    ids=["line end", "rest of a refused body"],
)
async def test_idle_connections_are_closed(start, first):
    """A few bytes after an answer do not keep a connection open for ever."""
    proxy = await start(server={"keep_alive": 1.0, "max_body_size": 10})
    reader, writer = await proxy.connect()
    writer.write(first[:-1])
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.write(first[-1:])

    async with asyncio.timeout(5):
        await reader.read()
    writer.close()


async def test_length_with_thousands_of_zeros(start, upstream):
    """A silly but valid length is read as what it says."""
    proxy = await start()
    zeros = b"0" * 5000

    raw = await proxy.request(
        HEAD + b"connection: close\r\ncontent-length: " + zeros + b"2\r\n\r\n{}"
    )

    assert raw.startswith(b"HTTP/1.1 200 OK")
    assert upstream.requests[0].body == b"{}"


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
async def test_control_characters_in_a_response_head(start, upstream, kind):
    """An upstream's head that can't be passed on is a 502, not a silent hang-up."""

    async def handler(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\nx: a\x01b\r\n\r\n{}")

    upstream.handler = handler
    proxy = await start()

    raw = await proxy.request(request())

    assert raw.startswith(b"HTTP/1.1 502 ")
    assert [each.outcome for each in proxy.log.endings] == ["upstream_error"]


async def test_a_guard_answers_with_an_unsendable_head(start, upstream):
    """A plugin can't split a response; the client gets an answer all the same."""
    split = Respond(b"{}", headers=((b"x", b"a\r\nset-cookie: b"),))
    proxy = await start(Guard.of(request=lambda: split))

    raw = await proxy.request(request())

    assert raw.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in raw
    assert proxy.log.names.count("on_error") == 1


async def test_client_that_takes_nothing(start, upstream):
    """It is cut after the idle time, and it is the client who is blamed."""

    async def handler(_, writer):
        writer.write(SSE)
        for _ in range(400):
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()

    upstream.handler = handler
    proxy = await start(idle_timeout=0.3)
    _, writer = await proxy.connect()
    writer.transport.pause_reading()
    writer.write(request())

    async with asyncio.timeout(5):
        await proxy.log.ended.wait()
        await upstream.closed.wait()

    assert [each.outcome for each in proxy.log.endings] == ["client_disconnected"]
    writer.transport.abort()


@pytest.mark.parametrize("site", ["same-origin", "cross-site"])
async def test_rewrite_to_another_upstream(start, upstream, site):
    """Credentials meant for the first one stay behind, and foreign pages don't get our key."""
    openai = UpstreamSettings(type="openai", base_url=upstream.url)
    gemini = UpstreamSettings(type="gemini", base_url=upstream.url, api_key=Secret("ours"))
    redirect = Guard.of(request=lambda: Rewrite(upstream="other"))
    proxy = await start(redirect, upstreams={"default": openai, "other": gemini})
    head = LAST.replace(b"/v1/models", b"/v1/models?key=theirs&a=1").replace(b": p", b": localhost")
    fields = b"api-key: theirs\r\nauthorization: Bearer theirs\r\nsec-fetch-site: %s\r\n\r\n"

    raw = await proxy.request(head[:-2] + fields % site.encode())

    if site == "cross-site":
        assert raw.startswith(b"HTTP/1.1 403 ")
        assert not upstream.requests
    else:
        [sent] = upstream.requests
        assert sent.line == "GET /v1/models?a=1 HTTP/1.1"
        assert "theirs" not in str(sent.headers)
        assert sent.header("x-goog-api-key") == ["ours"]
