"""
Drawn responses, played to both transports: equal results, or a clean error of our own client.

Each part of a response is drawn from a table. A part that httpx takes and our client may refuse has
a name in STRICT, with the reason; any other difference fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import attrs
import hypothesis.strategies as st
from hypothesis import HealthCheck, event, given, settings

from perimeter.errors import UpstreamError
from perimeter.upstream import UpstreamRequest
from raw_upstream import GET, Result, ask, serving, transport_to, turns


NEXT = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext"

STRICT = {
    "version": "only HTTP/1.0 and HTTP/1.1 have this syntax",
    "fold": "obsolete folding (RFC 9112 §5.2): readers disagree on what the value is",
    "bare LF": "a lone LF as the end of a line (RFC 9112 §2.2): readers disagree on where it ends",
    "same length twice": "RFC 9110 §8.6 allows to refuse it, and only broken senders repeat it",
    "both framings": "length and transfer-encoding together are how responses are smuggled",
    "control": "control characters in a field are invalid (RFC 9110 §5.5)",
    "many fields": "a head is bounded in the number of its fields",
    "1xx with a length": "a length in a 1xx is forbidden (RFC 9110 §8.6): readers disagree",
    "chunk size and space": "spaces around a chunk size are not in its grammar (RFC 9112 §7.1)",
    "length of many digits": "a length that no body can have is nonsense",
    "informational status": "1xx other than those that are defined may not be understood",
    "bad trailer": "a trailer field is held to what a header field is",
    "length in a trailer": "RFC 9110 §6.5.1 forbids it: readers disagree on what it would change",
    "odd extension": "a chunk extension is held to its grammar",
    "empty head": "empty lines before a status line are nobody's answer",
}
"""What httpx takes and our client may refuse, with the reason."""

LENIENT = {
    "trailer": "h11 reads trailers with the strictness of its own; they are dropped either way",
    "space in length": "whitespace around a field's value is no part of it",
}
"""What httpx refuses and our client may take, with the reason."""


@attrs.frozen
class Part:
    """A piece of a response, and what is remarkable in it."""

    raw: bytes
    traits: frozenset[str] = frozenset()


def part(raw, *traits):
    """Name a piece."""
    return Part(raw, frozenset(traits))


STATUS_LINES = [
    part(b"HTTP/1.1 200 OK\r\n"),
    part(b"HTTP/1.1 200 OK\r\n"),
    part(b"HTTP/1.1 200\r\n"),
    part(b"HTTP/1.1 200 \r\n"),
    part(b"HTTP/1.1 404 Not \xe4 Found\r\n"),
    part(b"HTTP/1.1 529 X\r\n"),
    part(b"HTTP/1.0 200 OK\r\n"),
    part(b"HTTP/1.1 204 No Content\r\n"),
    part(b"HTTP/1.1 304 Not Modified\r\n"),
    part(b"HTTP/1.1 101 Switching\r\n"),
    part(b"HTTP/1.1 600 X\r\n"),
    part(b"HTTP/1.1 20 X\r\n"),
    part(b"HTTP/1.1 2000 X\r\n"),
    part(b"HTTP/1.1  200 OK\r\n"),
    part(b"HTTP/2.0 200 OK\r\n", "version"),
    part(b"HTTP/1.2 200 OK\r\n", "version"),
    part(b"HTTP/11 200 OK\r\n"),
    part(b"http/1.1 200 OK\r\n"),
    part(b"HTTP/1.1 200 OK\n", "bare LF"),
    part(b"\r\nHTTP/1.1 200 OK\r\n", "empty head"),
    part(b"ICY 200 OK\r\n"),
]
BEFORE = [
    part(b""),
    part(b""),
    part(b""),
    part(b"HTTP/1.1 100 Continue\r\n\r\n"),
    part(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    part(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
    part(b"HTTP/1.1 199 What\r\n\r\n", "informational status"),
    part(b"HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\n", "1xx with a length"),
]
FIELDS = [
    part(b"Content-Type: text/event-stream\r\n"),
    part(b"Set-Cookie: a=1\r\n"),
    part(b"set-cookie: b=2; c\r\n"),
    part(b"X-Empty:\r\n"),
    part(b"X-Odd:\t \xff\xe4 \r\n"),
    part(b"connection: close\r\n"),
    part(b"connection: keep-alive\r\n"),
    part(b"connection: upgrade\r\nupgrade: x\r\n"),
    part(b"trailer: x-t\r\n"),
    part(b"x-fold: a\r\n b\r\n", "fold"),
    part(b"x-lf: a\n", "bare LF"),
    part(b"x-control: a\x01b\r\n", "control"),
    part(b"x-delete: a\x7fb\r\n", "control"),
    part(b"x-nul: a\0b\r\n"),
    part(b"x-cr: a\rb\r\n", "control"),
    part(b"x space: a\r\n"),
    part(b"x-space : a\r\n"),
    part(b"no colon\r\n"),
    part(b": no name\r\n"),
    part(b"x-many: y\r\n" * 150, "many fields"),
    part(b"x-long: " + b"y" * 9000 + b"\r\n"),
]
TEXT = b"data: hello\n\n"


def chunked(text):
    """Frame a text as two chunks."""
    return b"4\r\n%b\r\n%X;a=b\r\n%b\r\n" % (text[:4], len(text) - 4, text[4:])


BODY = chunked(TEXT)
CODED = b"transfer-encoding: chunked\r\n\r\n"
FRAMINGS = [
    part(b"content-length: 13\r\n\r\n" + TEXT),
    part(b"Content-Length:13 \r\n\r\n" + TEXT),
    part(b"content-length: 0\r\n\r\n"),
    part(b"content-length: 013\r\n\r\n" + TEXT),
    part(CODED + BODY + b"0\r\n\r\n"),
    part(b"Transfer-Encoding: Chunked\r\n\r\n" + BODY + b"000\r\n\r\n"),
    part(CODED + b"0\r\n\r\n"),
    part(CODED + BODY + b"0\r\nx-t: 1\r\nx-u: 2\r\n\r\n"),
    part(CODED + BODY + b"0\r\nno colon\r\n\r\n", "bad trailer", "trailer"),
    part(CODED + BODY + b"0\r\ncontent-length: 9\r\n\r\n", "length in a trailer"),
    part(CODED + BODY + b"0;x\r\n\r\n"),
    part(CODED + b"d \r\n" + TEXT + b"\r\n0\r\n\r\n", "chunk size and space"),
    part(CODED + b"d ; x\r\n" + TEXT + b"\r\n0\r\n\r\n", "chunk size and space"),
    part(CODED + b'd;x="a;b\r\n' + TEXT + b"\r\n0\r\n\r\n", "odd extension"),
    part(CODED + b" d\r\n" + TEXT + b"\r\n0\r\n\r\n"),
    part(CODED + b"0xd\r\n" + TEXT + b"\r\n0\r\n\r\n"),
    part(CODED + b"-1\r\n" + TEXT + b"\r\n0\r\n\r\n"),
    part(CODED + b"d\r\n" + TEXT + b"!!0\r\n\r\n"),
    part(CODED + b"d\n" + TEXT + b"\n0\n\n", "bare LF"),
    part(CODED + b"fffffffffffffffff\r\n" + TEXT, "length of many digits"),
    part(b"\r\n" + TEXT),
    part(b"\r\n"),
    part(b"content-length: 13\r\ncontent-length: 13\r\n\r\n" + TEXT, "same length twice"),
    part(b"content-length: 13, 13\r\n\r\n" + TEXT, "same length twice"),
    part(b"content-length: 13\r\ncontent-length: 5\r\n\r\n" + TEXT),
    part(b"content-length: 13\r\n" + CODED + BODY + b"0\r\n\r\n", "both framings"),
    part(b"content-length: +13\r\n\r\n" + TEXT),
    part(b"content-length: 1 3\r\n\r\n" + TEXT),
    part(b"content-length: 99999999999999999999\r\n\r\n" + TEXT, "length of many digits"),
    part(b"transfer-encoding: chunked, gzip\r\n\r\n" + BODY + b"0\r\n\r\n"),
    part(b"transfer-encoding: gzip\r\n\r\n" + TEXT),
    part(b"transfer-encoding: identity\r\ncontent-length: 13\r\n\r\n" + TEXT),
]
AFTER = [part(b""), part(b""), part(b""), part(b"\r\n"), part(b"junk"), part(NEXT)]


@attrs.frozen
class Played:
    """A response as it goes over the wire."""

    method: str
    pieces: tuple[bytes, ...]
    traits: frozenset[str]
    truncated: bool


@st.composite
def responses(draw):
    """Draw a response, cut it short at times, and cut it to pieces."""
    parts = [draw(st.sampled_from(BEFORE)), draw(st.sampled_from(STATUS_LINES))]
    parts += draw(st.lists(st.sampled_from(FIELDS), max_size=3))
    parts += [draw(st.sampled_from(FRAMINGS)), draw(st.sampled_from(AFTER))]
    raw = b"".join(each.raw for each in parts)
    truncated = draw(st.integers(0, 3)) == 0
    if truncated:
        raw = raw[: draw(st.integers(0, len(raw)))]
    cuts = draw(st.lists(st.integers(0, len(raw)), max_size=6).map(sorted))
    places = [0, *cuts, len(raw)]
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]
    method = draw(st.sampled_from(["GET", "GET", "POST", "HEAD"]))
    traits = frozenset().union(*(each.traits for each in parts))
    return Played(method, tuple(filter(None, pieces)), traits, truncated)


async def play(kind, played):
    """Play a response to a transport, and a plain one after it; return both results."""

    async def handler(peer):
        if peer.number:
            await peer.answer(NEXT)
            return
        await peer.answer(*played.pieces)
        with contextlib.suppress(OSError):  # the transport has left already
            peer.writer.write_eof()
        await peer.gone()

    async with serving(handler) as upstream, transport_to(kind, upstream.port) as transport:
        first = await ask(transport, UpstreamRequest(played.method, "/", ()))
        await turns(20)  # whatever still comes has come, before the connection is used again
        return first, await ask(transport, GET)


def plain(result: Result) -> Result:
    """Forget the spelling of a coding's name, which httpx does not keep."""
    headers = tuple(
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in result.headers
    )
    return attrs.evolve(result, headers=headers)


def judge(played: Played, theirs: Result, ours: Result) -> str:
    """Say how two results compare; an assertion fails where they may not differ."""
    ours, theirs = plain(ours), plain(theirs)
    if ours.error is not None:
        assert isinstance(ours.error, UpstreamError)
        if theirs.error is not None:
            if None not in (ours.status, theirs.status):
                assert (ours.status, ours.headers) == (theirs.status, theirs.headers)
            return "both refuse"
        assert played.traits & STRICT.keys(), f"refused without a reason: {ours.error!r}"
        return "stricter"
    if theirs.error is not None:
        assert played.traits & LENIENT.keys(), f"taken without a reason: {theirs.error!r}"
        return "more lenient"
    assert ours == theirs
    return "equal"


def test_both_transports_agree():
    """Whatever a server sends, the results are equal or ours is a clean error, with its reason."""
    with asyncio.Runner() as runner:

        @settings(
            max_examples=150,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(responses())
        def agree(played):
            theirs, _ = runner.run(play("httpx", played))
            ours, following = runner.run(play("h1", played))
            event(judge(played, theirs, ours))
            assert (following.error, following.body) == (None, b"next")

        agree()
