"""Every exchange that enters ends exactly once, with the right outcome, on every path."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import attrs
import pytest

from faults import EVENT, SSE, Guard, close_soon, leaks, request
from perimeter import Block, Respond, Rewrite, hookimpl
from perimeter.settings import UpstreamSettings


@attrs.frozen
class Case:
    """One way for an exchange to go, and how it must end."""

    name: str
    outcome: str
    status: int | None = None
    cut: bool = False


async def finished(proxy: Any) -> Any:
    """Wait for the exchange's end, and return it after checking that there was one only."""
    await proxy.log.ended.wait()
    await proxy.application.gateway.wait_idle()
    [exchange] = proxy.log.endings
    expected = "on_error" if exchange.error is not None else "on_response"
    assert proxy.log.names[-1] == expected
    assert exchange.ended is not None
    return exchange


@pytest.mark.parametrize(
    ("fault", "outcome", "status"),
    [
        ("normal", "completed", 200),
        ("http-error", "completed", 503),
        ("reset-before-head", "upstream_error", 502),
        ("close-before-head", "upstream_error", 502),
        ("close-in-head", "upstream_error", 502),
        ("garbage", "upstream_error", 502),
        ("status-999", "upstream_error", 502),
    ],
)
async def test_upstream_before_the_body(start, upstream, fault, outcome, status):
    """Whatever the upstream does before its head is complete, the client gets one clear answer."""
    upstream.handler = upstream_fault(fault)
    proxy = await start(max_retries=0)

    raw = await proxy.request(request())

    exchange = await finished(proxy)
    assert exchange.outcome == outcome
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert raw.count(b"HTTP/1.1 ") == 1


async def test_upstream_refuses(start):
    """A port where nobody listens is a 502 in the dialect's own shape."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        proxy = await start(
            upstreams={"default": UpstreamSettings(type="openai", base_url=url, max_retries=0)}
        )
        raw = await proxy.request(request())

    exchange = await finished(proxy)
    assert exchange.outcome == "upstream_error"
    assert raw.startswith(b"HTTP/1.1 502 ")
    assert b'"error"' in raw


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("framing", ["chunked", "length"])
async def test_upstream_dies_in_the_body(start, upstream, reset, framing):
    """What came is passed on, and the client can see that it is not all."""
    head = (
        SSE
        if framing == "chunked"
        else SSE.replace(b"transfer-encoding: chunked", b"content-length: 1000")
    )
    sent = b"%x\r\n%s\r\n" % (len(EVENT), EVENT) if framing == "chunked" else EVENT
    upstream.handler = close_soon(head + sent, reset=reset)
    proxy = await start()

    raw = await proxy.request(request())

    exchange = await finished(proxy)
    assert exchange.outcome == "truncated"
    assert EVENT in raw
    assert not raw.endswith(b"0\r\n\r\n")


async def test_truncation_as_an_event(start, upstream):
    """With on_truncation = "event" a dying stream ends with the dialect's error event."""
    upstream.handler = close_soon(SSE + b"%x\r\n%s\r\n" % (len(EVENT), EVENT), reset=False)
    proxy = await start(on_truncation="event")

    raw = await proxy.request(request())

    assert (await finished(proxy)).outcome == "truncated"
    assert raw.endswith(b"\r\n0\r\n\r\n")
    assert b'data: {"error"' in raw.replace(b'data: {"error": ', b'data: {"error"')


@pytest.mark.parametrize("when", ["before-head", "mid-stream"])
async def test_timeouts(start, upstream, when):
    """A silent upstream is a 504 before the head, and an error event inside a stream."""
    silent = (
        answer_and_wait()
        if when == "before-head"
        else answer_and_wait(SSE + b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
    )
    upstream.handler = silent
    proxy = await start(first_byte_timeout=0.2, idle_timeout=0.2)

    raw = await proxy.request(request())

    exchange = await finished(proxy)
    assert exchange.outcome == "upstream_error"
    if when == "before-head":
        assert raw.startswith(b"HTTP/1.1 504 ")
    else:
        assert b'data: {"error"' in raw
        assert raw.endswith(b"0\r\n\r\n")
    await upstream.closed.wait()


@pytest.mark.parametrize("when", ["in-body", "before-head", "mid-stream", "mid-json"])
async def test_client_leaves(start, upstream, when):
    """A departure ends the exchange and closes the upstream's connection."""
    started = {
        "in-body": b"",
        "before-head": b"",
        "mid-stream": SSE + b"%x\r\n%s\r\n" % (len(EVENT), EVENT),
        "mid-json": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{",
    }[when]
    arrived = asyncio.Event()

    async def handler(raw, writer):
        arrived.set()
        await answer_and_wait(started)(raw, writer)

    upstream.handler = handler
    proxy = await start()
    reader, writer = await proxy.connect()
    writer.write(request()[:-1] if when == "in-body" else request())
    if started:
        await reader.readuntil(EVENT if when == "mid-stream" else b"{")
    elif when == "before-head":
        await arrived.wait()
    else:
        await writer.drain()
        while not proxy.application.gateway.in_flight:
            await asyncio.sleep(0)
    writer.transport.abort()

    exchange = await finished(proxy)
    assert exchange.outcome == "client_disconnected"
    if when != "in-body":
        await upstream.closed.wait()


GUARDS: dict[str, tuple[type, str, int]] = {
    "request-block": (Guard.of(request=lambda: Block("no")), "blocked", 403),
    "request-respond": (Guard.of(request=lambda: Respond(b"{}", 201)), "responded", 201),
    "request-rewrite": (Guard.of(request=lambda: Rewrite(body=b"[]")), "completed", 200),
    "request-crash-open": (Guard.of(request=Guard.crash), "completed", 200),
    "request-crash-closed": (Guard.of(request=Guard.crash, closed=True), "proxy_error", 503),
    "response-block": (Guard.of(response=lambda: Block("no")), "blocked", 403),
    "response-rewrite": (Guard.of(response=lambda: Rewrite(body=b"[]")), "completed", 200),
    "response-crash-open": (Guard.of(response=Guard.crash), "completed", 200),
    "response-crash-closed": (Guard.of(response=Guard.crash, closed=True), "proxy_error", 503),
    "nonsense-verdict": (Guard.of(request=lambda: "yes"), "completed", 200),
    "sys-exit": (Guard.of(request=lambda: exec("raise SystemExit")), "completed", 200),
}


@pytest.mark.parametrize("name", GUARDS)
async def test_guards(start, upstream, name):
    """Verdicts and failures of guards over request and response end as they should."""
    guard, outcome, status = GUARDS[name]
    proxy = await start(guard)

    raw = await proxy.request(request(stream=False))

    exchange = await finished(proxy)
    assert exchange.outcome == outcome
    assert raw.startswith(b"HTTP/1.1 %d " % status)
    assert ("on_request" in proxy.log.names) == bool(upstream.requests)
    if name == "response-rewrite":
        assert raw.endswith(b"\r\n\r\n[]")
        assert exchange.response.received_digest != exchange.response.delivered_digest
    if name == "request-rewrite":
        assert upstream.requests[0].body == b"[]"
        assert exchange.original.body != exchange.request.body == b"[]"


STREAM_GUARDS: dict[str, tuple[type, str]] = {
    "stop": (Guard.of(stream=Guard.stop_at(2)), "blocked"),
    "crash-open": (Guard.of(stream=Guard.crash), "completed"),
    "crash-closed": (Guard.of(stream=Guard.crash, closed=True), "blocked"),
    "pass": (Guard.of(stream=lambda event: [event]), "completed"),
    "drop": (Guard.of(stream=lambda _: []), "completed"),
    "double": (Guard.of(stream=lambda event: [event, event]), "completed"),
    "nonsense": (Guard.of(stream=lambda event: event), "completed"),
}


@pytest.mark.parametrize("name", STREAM_GUARDS)
async def test_stream_guards(start, upstream, name):
    """Stream guards change, drop, double and stop, and their failures follow the policy."""
    guard, outcome = STREAM_GUARDS[name]
    events = [b"data: %d\n\n" % number for number in range(4)]
    upstream.handler = answer(
        SSE + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in events) + b"0\r\n\r\n"
    )
    proxy = await start(guard)

    raw = await proxy.request(request())

    exchange = await finished(proxy)
    assert exchange.outcome == outcome
    assert raw.endswith(b"0\r\n\r\n")
    times = {"drop": 0, "double": 2}.get(name, 1)
    assert raw.count(events[0]) == (0 if name == "crash-closed" else times)
    if outcome == "blocked":
        assert b'data: {"error"' in raw
        assert events[3] not in raw


async def test_observer_crash(start, upstream):
    """An observer that raises in every hook changes nothing for anybody else."""

    @attrs.define(eq=False)
    class Broken(Guard):
        @hookimpl
        def on_request(self, exchange):
            raise RuntimeError

        @hookimpl
        def on_response_start(self, exchange):
            raise RuntimeError

        @hookimpl
        def on_chunk(self, exchange, chunk):
            raise SystemExit

        @hookimpl
        def on_response(self, exchange):
            raise RuntimeError

    proxy = await start(Broken)

    raw = await proxy.request(request(stream=False))

    assert (await finished(proxy)).outcome == "completed"
    assert raw.startswith(b"HTTP/1.1 200 ")
    assert proxy.log.names == ["on_request", "on_response_start", "on_chunk", "on_response"]


@pytest.mark.parametrize("when", ["before-head", "mid-stream", "in-body"])
async def test_shutdown_in_flight(start, upstream, when):
    """The shutdown deadline cuts what is left: 503 before the head, an error event inside."""
    started = SSE + b"%x\r\n%s\r\n" % (len(EVENT), EVENT) if when == "mid-stream" else b""
    upstream.handler = answer_and_wait(started)
    proxy = await start(server={"shutdown_timeout": 0.1})
    reader, writer = await proxy.connect()
    writer.write(request()[:-1] if when == "in-body" else request())
    if started:
        await reader.readuntil(EVENT)
    while not proxy.application.gateway.in_flight:
        await asyncio.sleep(0)

    proxy.server.stop()
    raw = await reader.read()

    exchange = await finished(proxy)
    assert exchange.outcome == "proxy_error"
    if when == "mid-stream":
        assert b'data: {"error"' in raw
    elif when == "before-head":
        assert raw.startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_nothing_is_left(start, upstream):
    """After a hundred exchanges of every kind no task and no descriptor is left over."""
    upstream.handler = answer(SSE + b"%x\r\n%s\r\n0\r\n\r\n" % (len(EVENT), EVENT))
    proxy = await start()
    await proxy.request(request())
    before = leaks()

    for _ in range(30):
        await proxy.request(request())
        _, writer = await proxy.connect()
        writer.write(request())
        writer.transport.abort()
    await proxy.application.gateway.wait_idle()
    await settle(before)

    assert leaks() <= before


async def settle(before: tuple[int, int]) -> None:
    """Let connections that are being closed go."""
    async with asyncio.timeout(5):
        while leaks() > before:
            await asyncio.sleep(0.01)


def upstream_fault(name: str):
    """Return the handler of a fault."""
    return {
        "normal": answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
        "http-error": answer(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"),
        "reset-before-head": close_soon(b"", reset=True),
        "close-before-head": close_soon(b"", reset=False),
        "close-in-head": close_soon(b"HTTP/1.1 200 OK\r\ncontent-", reset=False),
        "garbage": close_soon(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", reset=False),
        "status-999": answer(b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
    }[name]


def answer(raw: bytes):
    """Return a handler that writes these bytes."""

    async def handler(_, writer):
        writer.write(raw)
        await writer.drain()

    return handler


def answer_and_wait(raw: bytes = b""):
    """Return a handler that writes these bytes and waits for the proxy to leave."""

    async def handler(received, writer):
        writer.write(raw)
        await received.reader.read()
        writer.close()

    return handler


async def test_upstream_sends_more_than_it_said(start, upstream):
    """Bytes beyond the announced length never reach the client, and spoil no later response."""
    upstream.handler = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 extra")
    proxy = await start()

    first = await proxy.request(request(stream=False))
    second = await proxy.request(request(stream=False))

    for raw in (first, second):
        assert raw.startswith(b"HTTP/1.1 200 ")
        assert raw.endswith(b"\r\n\r\n{}")
