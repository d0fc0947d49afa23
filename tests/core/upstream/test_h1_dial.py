"""How our own HTTP/1.1 client connects to names with several addresses."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.errors import UpstreamConnectError, UpstreamTimeout
from perimeter.upstream.h1 import dial
from raw_upstream import OK, ask, serving, transport_to


def descriptors():
    """Count this process's open descriptors."""
    return len(os.listdir("/proc/self/fd"))


def address(port, host="127.0.0.1"):
    """Return an address as a resolver does."""
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


@contextmanager
def silent():
    """Yield a port that never answers: its queue is full, so that the kernel drops what comes."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            assert client.connect_ex(listener.getsockname()) in {0, errno.EINPROGRESS}
        yield listener.getsockname()[1]


@contextmanager
def refusing():
    """Yield a port that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def resolved(monkeypatch):
    """Return a function that says which ports every name leads to."""

    def lead_to(*ports):
        async def resolve(*_):
            return [address(port) for port in ports]

        monkeypatch.setattr(dial, "_resolve", resolve)

    monkeypatch.setattr(dial, "HEAD_START", 0.01)
    return lead_to


async def always(peer):
    """Answer until the client leaves."""
    while True:
        await peer.answer(OK)


async def test_an_address_that_is_silent(resolved):
    """An address that does not answer costs its head start, and no descriptor afterwards."""
    with silent() as dead:
        async with serving(always) as upstream:
            resolved(dead, upstream.port)
            before = descriptors()
            async with transport_to("h1", upstream.port) as transport:
                result = await ask(transport)
                assert result.body == b"ok"
                assert (
                    descriptors() == before + 2
                )  # the client's end of one connection, the server's


async def test_an_address_that_refuses(resolved, monkeypatch):
    """The next address is tried at once where one refuses, without waiting for its head start."""
    monkeypatch.setattr(dial, "HEAD_START", 3600.0)
    with refusing() as dead:
        async with serving(always) as upstream, transport_to("h1", upstream.port) as transport:
            resolved(dead, upstream.port)
            assert (await ask(transport)).body == b"ok"


async def test_every_address_refuses(resolved):
    """Where no address can be reached that is one failure, which says why."""
    with refusing() as one, refusing() as other:
        resolved(one, other)
        async with transport_to("h1", one) as transport:
            result = await ask(transport)

    assert isinstance(result.error, UpstreamConnectError)
    assert str(errno.ECONNREFUSED) in str(result.error)


async def test_every_address_is_silent(resolved):
    """The timeout of connecting holds for all addresses together."""
    with silent() as one, silent() as other:
        resolved(one, other)
        before = descriptors()
        async with transport_to("h1", one, connect_timeout=0.1) as transport:
            result = await ask(transport)

        assert isinstance(result.error, UpstreamTimeout)
        assert descriptors() <= before


async def test_a_name_without_addresses(resolved):
    """A resolver that finds nothing is a failure to connect."""
    resolved()
    async with transport_to("h1", 9) as transport:
        result = await ask(transport)

    assert isinstance(result.error, UpstreamConnectError)
    assert "no address" in str(result.error)


FAMILIES = st.sampled_from([socket.AF_INET, socket.AF_INET6])


@given(st.lists(st.tuples(FAMILIES, st.integers())))
def test_families_take_turns(found):
    """Addresses keep their order within a family, and no family waits for the whole of another."""
    given_addresses = [(family, socket.SOCK_STREAM, 0, "", (n,)) for family, n in found]
    ordered = dial.interleaved(given_addresses)

    assert sorted(map(str, ordered)) == sorted(map(str, given_addresses))
    for family in {each[0] for each in ordered}:
        own = [each for each in ordered if each[0] == family]
        assert own == [each for each in given_addresses if each[0] == family]
    families = [each[0] for each in ordered]
    fewer = min((families.count(f) for f in set(families)), default=0)
    if len(set(families)) == 2:
        assert all(a != b for a, b in pairwise(families[: 2 * fewer]))
