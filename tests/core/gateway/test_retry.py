"""A request is sent again only where nothing can have happened yet."""

from __future__ import annotations

import asyncio

import pytest

from faults import request
from perimeter.gateway.retry import retry_after, retry_delay
from perimeter.settings import UpstreamSettings
from perimeter.upstream import UpstreamHead


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def test_stale_connection(start, upstream):
    """A reused connection that closes at once without a byte is replaced, unseen by the client."""

    async def handler(_, writer):
        if len(upstream.requests) == 2:
            writer.transport.abort()
        else:
            writer.write(OK)

    upstream.handler = handler
    proxy = await start()

    first = await proxy.request(request(stream=False))
    second = await proxy.request(request(stream=False))

    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 200")
    assert len(upstream.requests) == 3
    assert proxy.log.endings[1].attempts == 2


async def test_fresh_connection_is_not_retried(start, upstream):
    """On a fresh connection the upstream may have begun to work: the client decides."""

    async def handler(_, writer):
        writer.transport.abort()

    upstream.handler = handler
    proxy = await start()

    raw = await proxy.request(request(stream=False))

    assert raw.startswith(b"HTTP/1.1 502")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(("statuses", "expected"), [([529], 200), ([], 529)])
async def test_statuses(start, upstream, statuses, expected):
    """Statuses are tried again only where the configuration says so."""

    async def handler(_, writer):
        busy = b"HTTP/1.1 529 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
        writer.write(busy if len(upstream.requests) == 1 else OK)

    upstream.handler = handler
    proxy = await start(retry_statuses=statuses)

    raw = await proxy.request(request(stream=False))

    assert raw.startswith(b"HTTP/1.1 %d" % expected)


async def test_client_leaves_while_waiting_to_retry(start, upstream):
    """A departure ends the wait before the next attempt."""
    busy = b"HTTP/1.1 503 Busy\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n"

    async def handler(_, writer):
        writer.write(busy)

    upstream.handler = handler
    proxy = await start(retry_statuses=[503], retry_max_delay=100.0)
    _, writer = await proxy.connect()
    writer.write(request(stream=False))
    await upstream_answered(upstream)
    writer.transport.abort()
    await proxy.log.ended.wait()

    assert proxy.log.endings[0].outcome == "client_disconnected"
    assert len(upstream.requests) == 1


async def upstream_answered(upstream):
    """Wait until the upstream got its first request."""
    while not upstream.requests:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"3", 3.0), (b"0.5", 0.5), (b"Thu, 01 Jan 1970 00:00:00 GMT", 0.0), (b"soon", None)],
)
def test_retry_after(value, seconds):
    """Seconds, dates in the past and nonsense in Retry-After."""
    assert retry_after(UpstreamHead(429, ((b"retry-after", value),))) == seconds


def test_a_long_wait_is_the_clients():
    """A Retry-After beyond the configured maximum is passed on instead of waited for."""
    table = UpstreamSettings(type="openai", base_url="http://x", retry_statuses=[429])
    head = UpstreamHead(429, ((b"retry-after", b"3600"),))

    assert retry_delay(table, 1, None, head) is None
    assert retry_delay(table, 3, None, UpstreamHead(429, ())) is None
    assert retry_delay(table, 2, None, UpstreamHead(429, ())) == pytest.approx(0.2)
