"""The traps of our own HTTP/1.1 client: what its parser does not do, and where it is strict."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from perimeter.errors import ClientDisconnected, UpstreamClosed, UpstreamProtocolError
from perimeter.settings import UpstreamSettings
from perimeter.upstream import UpstreamRequest
from raw_upstream import GET, OK, Asked, ask, build, serving, take, transport_to, turns, until


HEAD = UpstreamRequest("HEAD", "/", ())
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Script:
    """A server that plays answers, connection by connection; the last one answers for ever."""

    def __init__(self, *connections: tuple[bytes, ...]) -> None:
        self.connections = connections
        self.asked: list[tuple[int, Asked]] = []
        self.left: list[int] = []

    async def __call__(self, peer):
        answers = self.connections[peer.number] if peer.number < len(self.connections) else None
        try:
            while answers is None:
                self.asked.append((peer.number, await peer.answer(OK)))
            for answer in answers:
                self.asked.append((peer.number, await peer.answer(answer)))
            await peer.gone()
        finally:
            self.left.append(peer.number)


async def results_of(*answers, requests=(GET, GET)):
    """Play answers on the first connection, and return the results and the connections used."""
    script = Script(answers)
    async with serving(script) as upstream, transport_to("h1", upstream.port) as transport:
        results = []
        for request in requests:
            results.append(await ask(transport, request))
            await turns()
        await until(lambda: len(script.asked) == len(requests))
        return results, [number for number, _ in script.asked]


async def refused(*pieces):
    """Check that an answer is an error of the protocol, and that its connection is closed."""
    script = Script((b"".join(pieces),))
    async with serving(script) as upstream, transport_to("h1", upstream.port) as transport:
        result = await ask(transport)
        assert result.kind is UpstreamProtocolError
        assert not result.error.retry_safe
        await until(lambda: script.left == [0])
        assert transport.connections == 0
        assert (await ask(transport)).body == b"ok"
        await until(lambda: len(script.asked) == 2)
        assert [number for number, _ in script.asked] == [0, 1]
    return result


async def test_head_does_not_eat_the_next_response():
    """The parser never learns the method: after HEAD, the next response is not taken for a body."""
    lengthy = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    results, used = await results_of(lengthy, OK, CHUNKED, OK, requests=(HEAD, GET, HEAD, GET))

    assert [result.body for result in results] == [b"", b"ok", b"", b"ok"]
    assert used == [0, 0, 0, 0]


async def test_head_without_a_framing_is_reused():
    """An answer to HEAD that says nothing of a body is complete, and not until the close."""
    results, used = await results_of(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n", OK, requests=(HEAD, GET))

    assert [result.body for result in results] == [b"", b"ok"]
    assert used == [0, 0]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (OK, True),
        (OK.replace(b"1.1", b"1.0"), False),
        (OK.replace(b"1.1 200 OK", b"1.0 200 OK\r\nconnection: keep-alive"), True),
        (OK.replace(b"200 OK", b"200 OK\r\nConnection: Close"), False),
        (OK.replace(b"200 OK", b"200 OK\r\nconnection: keep-alive, close"), False),
        (OK.replace(b"200 OK", b"200 OK\r\nconnection: keep-alive\r\nconnection: close"), False),
        (CHUNKED.replace(b"200 OK", b"200 OK\r\nconnection: close") + b"0\r\n\r\n", False),
        (b"HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n", True),
        (b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n", False),
    ],
)
async def test_what_is_kept(answer, kept):
    """Whether the connection stays is decided from the head, not from the parser's later state."""
    results, used = await results_of(answer, OK)

    assert [result.error for result in results] == [None, None]
    assert used == [0, 0 if kept else 1]


async def test_informational_responses():
    """The parser gives each 1xx as a whole message; only the last response is the answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + hints * 3 + OK
    results, used = await results_of(answer, OK)

    for result in results:
        assert (result.error, result.status, result.body) == (None, 200, b"ok")
        assert result.headers == ((b"content-length", b"2"),)
    assert used == [0, 0]


async def test_only_informational_responses():
    """A connection that ends after a 1xx has not answered, and it is not safe to repeat."""

    async def handler(peer):
        await peer.answer(b"HTTP/1.1 100 Continue\r\n\r\n")

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        result = await ask(transport)

    assert result.kind is UpstreamClosed
    assert not result.error.retry_safe


async def test_trailers_are_dropped():
    """Trailers, which the parser gives as headers, are not among them and end the body."""
    answer = CHUNKED + b"2\r\nok\r\n0\r\nx-trailer: 1\r\nset-cookie: a\r\n\r\n"
    results, used = await results_of(answer, OK)

    assert results[0].headers == ((b"transfer-encoding", b"chunked"),)
    assert [result.body for result in results] == [b"ok", b"ok"]
    assert used == [0, 0]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b""),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nabc", b"abc"),
    ],
)
async def test_body_until_the_close(answer, body):
    """The parser has no finish(): the end of the connection ends a body without a framing."""

    async def handler(peer):
        await peer.answer(answer)

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        for _ in range(2):
            result = await ask(transport)
            assert (result.error, result.body) == (None, body)
            assert transport.connections == 0
        assert len(upstream.peers) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc",
        CHUNKED + b"4\r\nabc",
        CHUNKED + b"3\r\nabc",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\n",
        CHUNKED + b"3\r\nabc\r\n0\r\nx-trailer: 1\r\n",
    ],
)
async def test_cut_short(answer):
    """A body with a framing that is cut short is an error, however near it came to its end."""

    async def handler(peer):
        await peer.answer(answer)

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        result = await ask(transport)

    assert (result.kind, result.body) == (UpstreamClosed, b"abc")
    assert not result.error.retry_safe


LENGTH, CODED = b"content-length: 2\r\n", b"transfer-encoding: chunked\r\n"
LONG = b"x" * 70_000
FIELDS = b"".join(b"x-%d: y\r\n" % number for number in range(5000))
REFUSED = {
    "101": b"101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "099": b"099 X\r\ncontent-length: 0\r\n\r\n",
    "600": b"600 X\r\ncontent-length: 0\r\n\r\n",
    "999": b"999 X\r\ncontent-length: 0\r\n\r\n",
    "four digits": b"2000 X\r\ncontent-length: 0\r\n\r\n",
    "chunked, gzip": b"200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "gzip, chunked": b"200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "gzip": b"200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
    "chunked twice": b"200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two encodings": b"200 OK\r\ntransfer-encoding: chunked\r\n"
    b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "lengths in a list": b"200 OK\r\ncontent-length: 2, 3\r\n\r\nok",
    "length and chunked": b"200 OK\r\n" + LENGTH + CODED + b"\r\n0\r\n\r\n",
    "chunked and length": b"200 OK\r\n" + CODED + LENGTH + b"\r\n0\r\n\r\n",
    "length with a sign": b"200 OK\r\ncontent-length: +2\r\n\r\nok",
    "negative length": b"200 OK\r\ncontent-length: -2\r\n\r\nok",
    "length in hex": b"200 OK\r\ncontent-length: 0x2\r\n\r\nok",
    "empty length": b"200 OK\r\ncontent-length:\r\n\r\nok",
    "huge length": b"200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nok",
    "bare LF": b"200 OK\ncontent-length: 2\n\nok",
    "bare LF in the head": b"200 OK\r\nx: y\ncontent-length: 2\r\n\r\nok",
    "bare LF at the head's end": b"200 OK\r\ncontent-length: 2\r\n\nok",
    "bare CR": b"200 OK\r\nx: a\rb\r\ncontent-length: 2\r\n\r\nok",
    "obs-fold": b"200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
    "folded first field": b"200 OK\r\n x: a\r\ncontent-length: 2\r\n\r\nok",
    "space before the colon": b"200 OK\r\ncontent-length : 2\r\n\r\nok",
    "no name": b"200 OK\r\n: 2\r\ncontent-length: 2\r\n\r\nok",
    "no colon": b"200 OK\r\nabc\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a field": b"200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\nok",
    "NUL in a name": b"200 OK\r\nx\0: a\r\ncontent-length: 2\r\n\r\nok",
    "overlong field": b"200 OK\r\nx: %b\r\ncontent-length: 2\r\n\r\nok" % (LONG * 3),
    "overlong reason": b"200 %b\r\ncontent-length: 2\r\n\r\nok" % (LONG * 3),
    "overlong head without an end": b"200 OK\r\nx: " + LONG * 3,
    "too many fields": b"200 OK\r\n%bcontent-length: 2\r\n\r\nok" % FIELDS,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_heads(name):
    """What two readers could take for two things is no response; its connection is not kept."""
    result = await refused(b"HTTP/1.1 ", REFUSED[name])

    assert result.status is None


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/3", b"ICY", b""])
async def test_refused_versions(version):
    """Only HTTP/1.0 and HTTP/1.1 are spoken, though the parser would take HTTP/2.0."""
    await refused(version, b" 200 OK\r\ncontent-length: 2\r\n\r\nok")


@pytest.mark.parametrize(
    "size",
    [b"g", b"", b" 3", b"+3", b"-3", b"0x3", b"3 3", b"f" * 17, b"1" + b"0" * 16, b"3\n"],
)
async def test_refused_chunk_sizes(size):
    """A chunk size is hexadecimal digits and nothing else."""
    result = await refused(CHUNKED, size, b"\r\nabc\r\n0\r\n\r\n")

    assert (result.status, result.body) == (200, b"")


@pytest.mark.parametrize(
    "rest", [b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n"]
)
async def test_refused_chunks(rest):
    """Chunks end where they say, by CR and LF."""
    result = await refused(CHUNKED, rest)

    assert result.status == 200


async def test_bytes_before_the_first_answer():
    """A server that speaks before it is asked is not one of HTTP, or its answer is nobody's."""

    async def handler(peer):
        await peer.send(b"220 ready\r\n")
        await peer.gone()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        assert (await ask(transport)).kind is UpstreamProtocolError
        assert transport.connections == 0


@pytest.mark.parametrize(
    "extra", [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"x", b"\r\n"]
)
@pytest.mark.parametrize(
    "answer",
    [OK, CHUNKED + b"2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 204 X\r\n\r\n", b"HTTP/1.1 304 X\r\n\r\n"],
)
async def test_bytes_after_a_response(answer, extra):
    """Bytes after a complete response are nobody's answer: their connection is closed."""
    results, used = await results_of(answer + extra, OK)

    assert results[0].error is None
    assert results[1].body == b"ok"
    assert used == [0, 1]


async def test_a_body_after_head():
    """A server that sends a body in answer to HEAD loses its connection."""
    results, used = await results_of(OK, OK, requests=(HEAD, GET))

    assert [result.body for result in results] == [b"", b"ok"]
    assert used == [0, 1]


async def test_unsolicited_bytes():
    """Bytes on an idle connection close it."""
    go = asyncio.Event()

    async def handler(peer):
        await peer.answer(OK)
        await go.wait()
        await peer.send(b"HTTP/1.1 408 Timeout\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        assert (await ask(transport)).error is None
        assert transport.connections == 1
        go.set()
        await until(lambda: transport.connections == 0)
        assert (await ask(transport)).body == b"ok"
        assert len(upstream.peers) == 2


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_idle_connection_closed_by_the_server(way):
    """That the server closed an idle connection is noticed before anybody uses it."""
    go = asyncio.Event()

    async def handler(peer):
        await peer.answer(OK)
        await go.wait()
        if way == "reset":
            peer.reset()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        assert (await ask(transport)).error is None
        assert transport.connections == 1
        go.set()
        await until(lambda: transport.connections == 0)
        assert (await ask(transport)).error is None
        assert len(upstream.peers) == 2


@pytest.mark.parametrize("way", ["close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"H", b"HTTP/1.1 100 Continue\r\n\r\n", OK[:-2]])
async def test_what_is_safe_to_repeat(way, sent):
    """Only a reused connection that closes before its first byte makes it safe to repeat."""

    async def handler(peer):
        await peer.answer(OK)
        await peer.answer(sent)
        if way == "reset":
            await turns(20)
            peer.reset()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        await ask(transport)
        result = await ask(transport)

        assert result.kind is UpstreamClosed
        assert result.error.retry_safe == (sent == b"")
        assert len(upstream.peers) == 1


async def test_a_fresh_connection_that_closes_is_not_safe_to_repeat():
    """A fresh connection that closes may have acted on the request."""

    async def handler(peer):
        await peer.request()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        assert not (await ask(transport)).error.retry_safe


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_idle_expiry():
    """A connection that was idle for longer than it is kept is not used, and closed."""
    clock, script = Clock(), Script()
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, clock=clock, keepalive_expiry=4.0) as transport,
    ):
        await ask(transport)
        clock.now += 3.9
        await ask(transport)
        clock.now += 3.9
        await ask(transport)
        assert len(upstream.peers) == 1
        clock.now += 4.1
        assert (await ask(transport)).body == b"ok"
        await until(lambda: script.left == [0])

        assert len(upstream.peers) == 2
        assert transport.connections == 1


async def test_expiry_of_zero():
    """With keepalive_expiry = 0 no connection is kept."""
    script = Script()
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, keepalive_expiry=0) as transport,
    ):
        for _ in range(2):
            assert (await ask(transport)).body == b"ok"
        assert len(upstream.peers) == 2


async def test_the_last_one_used_is_used_next():
    """Idle connections are reused last in, first out, so that those too many can expire."""
    clock, script = Clock(), Script()
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, clock=clock, keepalive_expiry=4.0) as transport,
    ):
        calls = [transport.start(GET) for _ in range(3)]
        for call in calls:
            await take(call)
        assert len(upstream.peers) == 3
        await until(lambda: len(script.asked) == 3)
        script.asked.clear()
        for _ in range(5):
            await ask(transport)
            clock.now += 1
        await until(lambda: len(script.asked) == 5)
        assert len({number for number, _ in script.asked}) == 1


async def test_idle_connections_are_closed():
    """Connections that nobody uses again are closed without anybody asking for one."""
    script = Script()
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, keepalive_expiry=0.05) as transport,
    ):
        for call in [transport.start(GET) for _ in range(3)]:
            await take(call)
        await until(lambda: transport.connections == 0)
        await until(lambda: sorted(script.left) == [0, 1, 2])


async def test_maximum_age():
    """A connection that has become too old is closed, however busy it is."""
    clock, script = Clock(), Script()
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, clock=clock, connection_max_age=10.0) as transport,
    ):
        for _ in range(8):
            await ask(transport)
            clock.now += 3
        await until(lambda: len(script.asked) == 8)
        assert [number for number, _ in script.asked] == [0, 0, 0, 0, 1, 1, 1, 1]


async def test_a_fresh_connection_on_demand():
    """A request that asks for one gets a new connection, even where there is no place for it."""
    script = Script()
    fresh = UpstreamRequest("GET", "/", (), fresh=True)
    async with (
        serving(script) as upstream,
        transport_to("h1", upstream.port, max_connections=1) as transport,
    ):
        for request in (GET, fresh, GET, fresh):
            assert (await ask(transport, request)).body == b"ok"
            assert transport.connections == 1
        await until(lambda: len(script.asked) == 4)
        assert [number for number, _ in script.asked] == [0, 1, 1, 2]


@pytest.mark.parametrize("length", [None, 1_000_000_000])
async def test_answer_before_the_body_is_sent(length):
    """An answer that comes while the body is sent is passed on, and its connection closed."""
    started = asyncio.Event()

    async def body():
        yield b"abc"
        started.set()
        await asyncio.get_running_loop().create_future()

    async def handler(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await peer.gone()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        call = transport.start(UpstreamRequest("POST", "/", (), body(), length))
        await started.wait()
        result = await take(call)

        assert (result.error, result.status, result.body) == (None, 413, b"no")
        await until(lambda: transport.connections == 0)
        assert len(upstream.peers) == 1


async def test_answer_and_close_before_the_body_is_read():
    """A server that answers and closes in the middle of an upload has answered."""

    async def body():
        while True:
            await asyncio.sleep(0)
            yield b"x" * 65536

    async def handler(peer):
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        peer.writer.write_eof()
        await peer.gone()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        result = await ask(transport, UpstreamRequest("POST", "/", (), body()))

        assert (result.error, result.status, result.body) == (None, 413, b"no")


async def test_upload_is_left_by_the_abort():
    """An abort in the middle of an upload ends the body's source, too."""
    ended = asyncio.Event()
    started = asyncio.Event()

    async def body():
        try:
            yield b"abc"
            started.set()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async def handler(peer):
        await peer.gone()

    async with serving(handler) as upstream, transport_to("h1", upstream.port) as transport:
        call = transport.start(UpstreamRequest("POST", "/", (), body()))
        await started.wait()
        error = ClientDisconnected("gone")
        call.abort(error)
        assert (await take(call)).error is error
        await ended.wait()
        assert transport.connections == 0


async def test_the_clock_is_an_argument():
    """A transport can be built with a clock by name, as these tests do."""
    table = UpstreamSettings(type="raw", base_url="http://127.0.0.1:9")
    transport = build("h1", table, Clock())

    assert inspect.signature(type(transport)).parameters["clock"].kind.name == "KEYWORD_ONLY"
    await transport.close()
