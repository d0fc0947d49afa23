"""What every transport does, over real sockets: httpx's and our own."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    ShuttingDown,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
)
from perimeter.upstream import UpstreamRequest
from raw_upstream import GET, OK, TRANSPORTS, Peer, ask, serving, take, transport_to, turns, until


MIB = 1024 * 1024
TWO = b"200 OK\r\ncontent-length: 2\r\n\r\nhi"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
NOT_HTTP = (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"\x16\x03\x01\x00\x01\x00\r\n\r\n")


@pytest.fixture(params=TRANSPORTS)
def kind(request):
    """Name the transport under test."""
    return request.param


async def asked_by(kind, request):
    """Send a request and return it as the server had it."""
    seen = asyncio.get_running_loop().create_future()

    async def handler(peer):
        seen.set_result(await peer.answer(OK))

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        result = await ask(transport, request)
    assert (result.error, result.status) == (None, 200)
    return await seen


async def answered(kind, *pieces, request=GET):
    """Ask a server that sends these pieces and closes, and return what came."""

    async def handler(peer):
        await peer.answer(*pieces)

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        return await ask(transport, request)


async def chunks(*pieces):
    """Give a body piece by piece."""
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


# The request


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"])
async def test_methods(kind, method):
    """Every method goes out as it is, and those that have a body say when it is empty."""
    asked = await asked_by(kind, UpstreamRequest(method, "/", ()))

    assert asked.line == f"{method} / HTTP/1.1".encode()
    assert asked.values(b"content-length") == [b"0"] * (method in {"POST", "PUT", "PATCH"})
    assert asked.values(b"transfer-encoding") == []


@pytest.mark.parametrize(
    "target",
    ["/a%2Fb//c?x=%41", "/./a/../b", "/?", "/a?b=c?d=&e", "/%e4/%E4", "/x;y=1,2'(3)*!$|^[]", "*"],
)
async def test_target_is_sent_untouched(kind, target):
    """The request target goes out byte for byte."""
    assert (await asked_by(kind, UpstreamRequest("GET", target, ()))).target == target


async def test_nothing_is_added_to_a_request(kind):
    """A request's head is the request line, the host and the caller's own headers."""
    asked = await asked_by(kind, GET)

    assert [name.lower() for name, _ in asked.headers] == [b"host"]


async def test_headers_keep_order_and_duplicates(kind):
    """Headers go out in order, repeated ones too, with the host before them."""
    sent = ((b"x-b", b"1"), (b"x-a", b"2"), (b"x-b", b"3"), (b"x-empty", b""), (b"x-a", b"\xe4 2"))
    asked = await asked_by(kind, UpstreamRequest("POST", "/", sent, b"body"))

    assert asked.headers[0][0].lower() == b"host"
    own = [(name, value) for name, value in asked.headers if name.lower().startswith(b"x-")]
    assert own == list(sent)
    assert len(asked.headers) == len(sent) + 2


@pytest.mark.parametrize("size", [1, 100, 3 * MIB])
async def test_known_body(kind, size):
    """A body of bytes goes out whole, with its length."""
    asked = await asked_by(kind, UpstreamRequest("POST", "/", (), b"x" * size))

    assert asked.body == b"x" * size
    assert asked.values(b"content-length") == [b"%d" % size]
    assert asked.values(b"transfer-encoding") == []


@pytest.mark.parametrize("pieces", [(), (b"a", b"bcd"), (b"a", b"", b"bcd"), (b"x" * MIB,) * 3])
@pytest.mark.parametrize("known", [True, False])
async def test_streamed_body(kind, pieces, known):
    """A body of chunks goes out with its length or chunked, and an empty chunk does not end it."""
    length = sum(map(len, pieces)) if known else None
    request = UpstreamRequest("POST", "/", (), chunks(*pieces), length)
    asked = await asked_by(kind, request)

    assert asked.body == b"".join(pieces)
    assert asked.values(b"content-length") == ([b"%d" % length] if known else [])
    assert asked.values(b"transfer-encoding") == ([] if known else [b"chunked"])


@pytest.mark.parametrize("length", [10, None])
async def test_body_that_fails(kind, length):
    """The client's error while it uploads is the call's error, and the request stays incomplete."""

    async def body():
        yield b"abc"
        raise ClientDisconnected("gone")

    rest = asyncio.get_running_loop().create_future()

    async def handler(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        rest.set_result(await peer.gone())

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        result = await ask(transport, UpstreamRequest("POST", "/", (), body(), length))

        assert isinstance(result.error, ClientDisconnected)
        assert await rest == (b"abc" if length else b"3\r\nabc\r\n")
        assert transport.connections == 0


@pytest.mark.parametrize("length", [1, 100])
async def test_body_of_another_length(kind, length):
    """A body shorter or longer than announced is an error, and never looks like a whole request."""
    rest = asyncio.get_running_loop().create_future()

    async def handler(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        rest.set_result(await peer.gone())

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        request = UpstreamRequest("POST", "/", (), chunks(b"abc", b"def"), length)
        result = await ask(transport, request)

        assert isinstance(result.error, ExchangeError)
        assert len(await rest) <= length
        assert transport.connections == 0


async def test_upload_waits_for_the_server(kind):
    """A body is only taken from the client as fast as the server reads it."""
    taken = 0
    read = asyncio.Event()
    size = 50

    async def body():
        nonlocal taken
        while taken < size:
            taken += 1
            yield b"x" * MIB

    async def handler(peer):
        head = await peer.reader.readuntil(b"\r\n\r\n")
        await read.wait()
        left = size * MIB
        while left:
            left -= len(await peer.reader.read(MIB))
        await peer.send(OK)
        assert b"content-length: 52428800" in head

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        call = transport.start(UpstreamRequest("POST", "/", (), body(), size * MIB))
        await settled(lambda: taken)
        assert 0 < taken < size / 2
        read.set()
        assert (await take(call)).body == b"ok"


async def settled(value):
    """Wait until a number has begun to grow and grows no more."""
    while value() == 0:
        await asyncio.sleep(0.005)
    same, previous = 0, None
    while same < 10:
        current = value()
        same = same + 1 if current == previous else 0
        previous = current
        await asyncio.sleep(0.01)


# The response

RESPONSES = {
    "length": (b"200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello"),
    "length 0": (b"200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
    "chunked": (
        b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        200,
        b"hello",
    ),
    "chunks": (
        b"200 OK\r\n" + CHUNKED + b"001\r\nh\r\n4;a=b\r\nello\r\nA\r\n0123456789\r\n0\r\n\r\n",
        200,
        b"hello0123456789",
    ),
    "no chunk": (b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200, b""),
    "trailers": (
        b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-trailer: 1\r\n\r\n",
        200,
        b"hi",
    ),
    "until it closes": (b"200 OK\r\nx: y\r\n\r\nhello", 200, b"hello"),
    "closed at once": (b"200 OK\r\nx: y\r\n\r\n", 200, b""),
    "204": (b"204 No Content\r\nx: y\r\n\r\n", 204, b""),
    "304 with a length": (b"304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
    "no reason": (b"200\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "odd reason": (b"529 \xfcber loaded\r\ncontent-length: 2\r\n\r\nhi", 529, b"hi"),
    "599": (b"599 Own\r\ncontent-length: 2\r\n\r\nhi", 599, b"hi"),
    "1xx": (
        b"100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 " + TWO,
        200,
        b"hi",
    ),
}


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("how", ["whole", "by bytes"])
async def test_responses(kind, name, how):
    """Every framing of a response is understood, however it is cut on its way."""
    raw, status, body = RESPONSES[name]
    raw = b"HTTP/1.1 " + raw
    pieces = [raw] if how == "whole" else [bytes([each]) for each in raw]
    result = await answered(kind, *pieces)

    assert (result.error, result.status, result.body) == (None, status, body)
    assert b"x-trailer" not in dict(result.headers)
    assert b"link" not in dict(result.headers)


async def test_answer_to_head(kind):
    """The answer to HEAD has a length and no body."""
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    result = await answered(kind, raw, request=UpstreamRequest("HEAD", "/", ()))

    assert (result.error, result.status, result.body) == (None, 200, b"")
    assert result.headers == ((b"content-length", b"5"),)


async def test_response_headers(kind):
    """Response headers come in order with lower-case names, repeated ones and odd bytes too."""
    result = await answered(
        kind,
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-Odd:\t b\xe4r  \r\nSET-COOKIE:b=2\r\n"
        b"x-empty:\r\nContent-Length: 0\r\n\r\n",
    )

    assert result.headers == (
        (b"set-cookie", b"a=1"),
        (b"x-odd", b"b\xe4r"),
        (b"set-cookie", b"b=2"),
        (b"x-empty", b""),
        (b"content-length", b"0"),
    )


@pytest.mark.parametrize("status", [101, 600, 999])
async def test_statuses_that_are_no_answer(kind, status):
    """A status outside 200 to 599 is refused."""
    result = await answered(kind, b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status)

    assert isinstance(result.error, UpstreamProtocolError)


async def test_a_large_body(kind):
    """A body larger than every buffer arrives whole."""
    body = bytes(range(256)) * 4096 * 8
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    result = await answered(kind, head, body)

    assert result.error is None
    assert result.body == body


async def test_events_are_passed_one_by_one(kind):
    """An event is there before the server sends the next one."""
    had = asyncio.Semaphore(0)
    events = [b"data: %d\n\n" % number for number in range(5)]

    async def handler(peer):
        head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        await peer.answer(head)
        for event in events:
            await had.acquire()
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        await had.acquire()
        await peer.send(b"0\r\n\r\n")

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        call = transport.start(GET)
        await call.head()
        for event in [*events, b""]:
            had.release()
            assert await call.read() == event
        await call.close()


async def test_reading_ahead_is_bounded(kind):
    """A server that sends to somebody who does not read is blocked until he does."""
    size, written = 50, 0

    async def handler(peer):
        nonlocal written
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size * MIB))
        while written < size:
            written += 1
            await peer.send(b"x" * MIB)

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        call = transport.start(GET)
        await call.head()
        await settled(lambda: written)
        assert written < size / 2

        length = 0
        while data := await call.read():
            length += len(data)
        assert length == size * MIB
        await call.close()


# Connections


async def answers(peer: Peer):
    """Answer each request on a connection; the target says how."""
    while True:
        asked = await peer.request()
        await peer.send(KEEPING.get(asked.target, OK))


KEEPING = {
    "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "/empty": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "/204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "/304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    "/1xx": b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK,
    "/500": b"HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno",
}


async def test_connections_are_reused(kind):
    """After every complete response that allows it, the same connection is used again."""
    async with serving(answers) as upstream, transport_to(kind, upstream.port) as transport:
        for target in [*KEEPING, "/", *KEEPING]:
            assert (await ask(transport, UpstreamRequest("GET", target, ()))).error is None
            assert transport.connections == 1
        assert (await ask(transport, UpstreamRequest("POST", "/", (), b"body"))).body == b"ok"
        assert (await ask(transport, UpstreamRequest("POST", "/", (), chunks(b"a")))).body == b"ok"
        assert len(upstream.peers) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["close", "close in a list", "1.0"],
)
async def test_connections_are_not_reused(kind, raw):
    """A connection that the server wants to close is closed, and another one opened."""
    closed = []

    async def handler(peer):
        await peer.answer(raw)
        closed.append(await peer.gone())

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        for number in (1, 2):
            assert (await ask(transport)).body == b"ok"
            await until(lambda number=number: len(closed) == number)
            assert transport.connections == 0
        assert len(upstream.peers) == 2


async def test_unread_response_is_not_reused(kind):
    """To let go of a call before the body's end closes its connection."""

    async def handler(peer):
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await peer.gone()

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        for _ in range(2):
            call = transport.start(GET)
            await call.head()
            assert await call.read() == b"abc"
            await call.close()
            assert transport.connections == 0
        assert len(upstream.peers) == 2


async def test_several_at_a_time(kind):
    """Concurrent requests have a connection each, and keep them."""
    together = asyncio.Event()

    async def handler(peer):
        while True:
            await peer.request()
            if peer.number == 4:
                together.set()
            await together.wait()
            await peer.send(OK)

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        for _ in range(2):
            results = await asyncio.gather(*(ask(transport) for _ in range(5)))
            assert [result.body for result in results] == [b"ok"] * 5
        assert len(upstream.peers) == transport.connections == 5


async def test_waiting_for_a_connection(kind):
    """Who finds no free connection waits, and is served in turn over those there are."""
    order = []

    async def handler(peer):
        while True:
            order.append((await peer.request()).target)
            await peer.send(OK)

    async with (
        serving(handler) as upstream,
        transport_to(kind, upstream.port, max_connections=1) as transport,
    ):
        targets = [f"/{number}" for number in range(6)]
        calls = []
        for target in targets:
            calls.append(transport.start(UpstreamRequest("GET", target, ())))
            await turns()
        results = [await take(call) for call in calls]

        assert [result.body for result in results] == [b"ok"] * 6
        assert order == targets
        assert len(upstream.peers) == 1


async def hang(peer: Peer):
    """Never answer."""
    await peer.gone()


async def test_no_free_connection(kind):
    """A full pool is a timeout of its own kind, and nothing was sent."""
    async with (
        serving(hang) as upstream,
        transport_to(kind, upstream.port, max_connections=1, pool_timeout=0.1) as transport,
    ):
        first = transport.start(GET)
        await until(lambda: len(upstream.peers) == 1)
        result = await ask(transport)
        await first.close()

    assert isinstance(result.error, UpstreamTimeout)
    assert result.error.phase == "pool"
    assert len(upstream.peers) == 1


async def test_a_place_is_free_after_a_failure(kind):
    """A connection that broke leaves its place in the pool to the next one."""

    async def handler(peer):
        await peer.request()
        if peer.number % 2:
            await peer.send(OK)
            await peer.gone()

    async with (
        serving(handler) as upstream,
        transport_to(kind, upstream.port, max_connections=1) as transport,
    ):
        both = await asyncio.gather(ask(transport), ask(transport))

    assert [result.kind for result in both] == [UpstreamClosed, None]


async def test_connection_refused(kind):
    """Where nobody listens there is no connection, and sending again is safe."""
    async with serving(hang) as upstream:
        port = upstream.port
    async with transport_to(kind, port) as transport:
        result = await ask(transport)

        assert isinstance(result.error, UpstreamConnectError)
        assert result.error.retry_safe
        assert transport.connections == 0


async def test_connecting_takes_too_long(kind):
    """A handshake that is not answered ends with the timeout of connecting."""
    async with (
        serving(hang) as upstream,
        transport_to(kind, upstream.port, scheme="https", connect_timeout=0.1) as transport,
    ):
        result = await ask(transport)

        assert isinstance(result.error, UpstreamTimeout)
        assert result.error.phase == "connect"
        assert result.error.retry_safe
        assert transport.connections == 0


# Breaking off

PHASES = {
    "before the head": b"",
    "inside the head": b"HTTP/1.1 200 OK\r\nx: ",
    "before the body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
    "inside the body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    "inside a chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
    "between chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "before the last line": b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"3\r\nabc\r\n0\r\n",
    "until it closes": b"HTTP/1.1 200 OK\r\n\r\nabc",
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("way", ["abort", "close"])
async def test_leaving(kind, phase, way):
    """A call can be left in any phase; its connection is closed, and what waits on it is told."""
    gone = asyncio.Event()
    sent = asyncio.Event()

    async def handler(peer):
        await peer.answer(PHASES[phase])
        sent.set()
        await peer.gone()
        gone.set()

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        call = transport.start(GET)
        waiting = asyncio.get_running_loop().create_task(take(call))
        await sent.wait()
        await turns()
        error = ShuttingDown("now")
        if way == "abort":
            call.abort(error)
            call.abort(ClientDisconnected("too late"))
            assert (await waiting).error is error
        else:
            await call.close()
            assert isinstance((await waiting).error, UpstreamError)
        await gone.wait()
        await call.close()
        assert transport.connections == 0


@pytest.mark.parametrize("way", ["abort", "close"])
async def test_leaving_while_it_connects(way):
    """A connection that is being made is given up: httpcore leaves it to the garbage collector."""
    gone = asyncio.Event()

    async def handler(peer):
        await peer.gone()
        gone.set()

    async with (
        serving(handler) as upstream,
        transport_to("h1", upstream.port, scheme="https") as transport,
    ):
        call = transport.start(GET)
        waiting = asyncio.get_running_loop().create_task(take(call))
        await until(lambda: len(upstream.peers) == 1)
        if way == "abort":
            call.abort(ShuttingDown("now"))
        await call.close()

        assert isinstance((await waiting).error, ShuttingDown if way == "abort" else UpstreamError)
        await gone.wait()
        assert transport.connections == 0


@pytest.mark.parametrize("way", ["abort", "close"])
async def test_leaving_the_queue(kind, way):
    """Who leaves while waiting for a connection is passed over, and the next one is served."""
    free = asyncio.Event()
    targets = []

    async def handler(peer):
        while True:
            targets.append((await peer.request()).target)
            await free.wait()
            await peer.send(OK)

    async with (
        serving(handler) as upstream,
        transport_to(kind, upstream.port, max_connections=1) as transport,
    ):
        calls = []
        for target in ("/first", "/second", "/third"):
            calls.append(transport.start(UpstreamRequest("GET", target, ())))
            await turns()
        await until(lambda: targets == ["/first"])
        waiting = asyncio.get_running_loop().create_task(take(calls[1]))
        await turns()
        if way == "abort":
            calls[1].abort(ShuttingDown("now"))
        await calls[1].close()
        assert isinstance((await waiting).error, ShuttingDown if way == "abort" else UpstreamError)
        free.set()

        assert (await take(calls[0])).body == b"ok"
        assert (await take(calls[2])).body == b"ok"
        assert targets == ["/first", "/third"]
        assert len(upstream.peers) == 1


async def test_leaving_at_once(kind):
    """A call that is left before anything was done with it leaves nothing behind."""
    async with serving(answers) as upstream, transport_to(kind, upstream.port) as transport:
        for ended in (False, True):
            call = transport.start(GET)
            if ended:
                call.abort(ShuttingDown("now"))
            await call.close()
            with pytest.raises(ExchangeError):
                await call.head()
        assert transport.connections == 0
        assert (await ask(transport)).body == b"ok"


async def test_closing_twice(kind):
    """A call can be closed again, and that does not touch the connection's next user."""
    async with serving(answers) as upstream, transport_to(kind, upstream.port) as transport:
        first = transport.start(GET)
        assert (await take(first)).body == b"ok"
        second = transport.start(GET)
        await second.head()
        await first.close()
        first.abort(ShuttingDown("too late"))

        assert (await take(second)).body == b"ok"
        assert len(upstream.peers) == 1


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "until it closes"])
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_upstream_leaves(kind, phase, way):
    """A response that ends early is an error in each phase, after the bytes that came."""

    async def handler(peer):
        await peer.answer(PHASES[phase])
        if way == "reset":
            await turns(20)
            peer.reset()

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        result = await ask(transport)

        assert result.kind is UpstreamClosed
        assert not result.error.retry_safe
        assert result.status == (None if "head" in phase else 200)
        assert result.body == (b"abc" if PHASES[phase].count(b"abc") else b"")
        assert transport.connections == 0


async def test_what_is_no_response(kind):
    """Bytes that are not HTTP are an error of the protocol, and the connection is closed."""
    for raw in (
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"\x16\x03\x01\x00\x01\x00\r\n\r\n",
    ):
        gone = asyncio.Event()

        async def handler(peer, raw=raw, gone=gone):
            await peer.answer(raw)
            await peer.gone()
            gone.set()

        async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
            assert (await ask(transport)).kind is UpstreamProtocolError
            await gone.wait()
            assert transport.connections == 0


async def test_reused_connection_that_closes_at_once(kind):
    """A reused connection that closes without an answer is one after which it is safe to repeat."""

    async def handler(peer):
        await peer.answer(OK)
        await peer.request()

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        assert (await ask(transport)).error is None
        result = await ask(transport)

        assert result.kind is UpstreamClosed
        assert result.error.retry_safe
        assert len(upstream.peers) == 1


async def test_closing_with_open_calls(kind):
    """To close the transport ends every call that is under way, whatever it waits for."""
    gone = itertools.count(1)
    ended = 0

    async def handler(peer):
        nonlocal ended
        asked = await peer.request()
        await peer.send(PHASES[asked.target[1:].replace("%20", " ")])
        await peer.gone()
        ended = next(gone)

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        calls = []
        for phase in PHASES:
            target = "/" + phase.replace(" ", "%20")
            calls.append(transport.start(UpstreamRequest("GET", target, ())))
        waiting = [asyncio.get_running_loop().create_task(take(call)) for call in calls]
        await until(lambda: len(upstream.peers) == len(PHASES))
        await turns(20)
        await transport.close()

        for task in waiting:
            assert isinstance((await task).error, UpstreamError)
        await until(lambda: ended == len(PHASES))
        assert transport.connections == 0
