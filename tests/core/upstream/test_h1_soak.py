"""Thousands of exchanges, many of which fail, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import random

import psutil
import pytest

from perimeter.errors import ClientDisconnected, ExchangeError
from perimeter.upstream import UpstreamRequest
from raw_upstream import OK, ask, serving, transport_to, until


EXCHANGES, AT_A_TIME = 2000, 16
BIG = 200_000
GOOD = {
    "/length": OK,
    "/chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "/empty": b"HTTP/1.1 204 X\r\n\r\n",
    "/hints": b"HTTP/1.1 103 X\r\n\r\n" + OK,
    "/big": b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % BIG + b"x" * BIG,
    "/last": OK.replace(b"200 OK", b"200 OK\r\nconnection: close"),
    "/extra": OK + b"extra",
}
BAD = {
    "/until-closed": b"HTTP/1.1 200 OK\r\n\r\nok",
    "/nothing": b"",
    "/cut-head": b"HTTP/1.1 200 OK\r\nx",
    "/cut-body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    "/cut-chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
    "/nonsense": b"\x16\x03\x01\r\n\r\n",
    "/lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
}
LEFT = {
    "/silent": b"",
    "/stuck": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",
    "/flood": b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 1_000_000,
}


async def upstream_of_all_kinds(peer):
    """Do what the target says: answer, answer and close or reset, or leave the client waiting."""
    while True:
        target = (await peer.request()).target
        await peer.send((GOOD | BAD | LEFT)[target])
        if target in BAD:
            return
        if target in LEFT:
            await peer.gone()


async def body(chance):
    """Give a body that may fail on its way."""
    yield b"x" * 1000
    await asyncio.sleep(0)
    if chance.random() < 0.3:
        raise ClientDisconnected("gone")
    yield b"y" * 1000


async def exchange(transport, chance, seen):
    """Carry out one exchange of a random kind."""
    target = chance.choice([*GOOD, *GOOD, *BAD, *LEFT])
    upload = chance.random() < 0.3
    request = UpstreamRequest(
        "POST" if upload else "GET", target, (), body(chance) if upload else b""
    )
    if target in LEFT or chance.random() < 0.1:
        call = transport.start(request)
        for _ in range(chance.randrange(30)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            call.abort(ClientDisconnected("gone"))
        await call.close()
        seen.append("left")
        return
    result = await ask(transport, request)
    assert result.error is None or isinstance(result.error, ExchangeError)
    if target in GOOD and not upload:
        assert result.error is None or result.error.retry_safe
    seen.append("good" if result.error is None else result.kind.__name__)


def open_files():
    """Count this process's open descriptors."""
    gc.collect()
    return psutil.Process().num_fds()


def others():
    """Every task but this one."""
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.skipif(not hasattr(psutil.Process, "num_fds"), reason="counts descriptors")
async def test_nothing_is_left():
    """After 2,000 exchanges, good and bad, there is no connection, socket or task left."""
    chance = random.Random(5)
    seen = []
    async with serving(upstream_of_all_kinds):
        pass  # a listening event loop keeps a file of its own
    tasks, files = others(), open_files()

    async def worker(transport):
        while len(seen) < EXCHANGES:
            await exchange(transport, chance, seen)

    async with serving(upstream_of_all_kinds) as upstream:
        async with transport_to("h1", upstream.port, max_connections=12) as transport:
            await asyncio.gather(*(worker(transport) for _ in range(AT_A_TIME)))
            assert transport.connections <= 12
            last = await ask(transport, UpstreamRequest("GET", "/length", ()))
            assert last.body == b"ok"
        assert transport.connections == 0

    await until(lambda: others() <= tasks)
    await until(lambda: open_files() <= files)
    assert seen.count("good") > EXCHANGES / 3
    assert {"left", "UpstreamClosed", "UpstreamProtocolError", "ClientDisconnected"} <= set(seen)
