"""Stopping: health says so first, what is in flight is finished, and nothing is cut early."""

from __future__ import annotations

import asyncio

from faults import EVENT, SSE, request


CHUNK = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


async def test_in_flight_is_finished(start, upstream):
    """A stream that runs when the proxy is told to stop still reaches its end."""
    go_on = asyncio.Event()

    async def handler(_, writer):
        writer.write(SSE + CHUNK)
        await go_on.wait()
        writer.write(CHUNK + b"0\r\n\r\n")

    upstream.handler = handler
    proxy = await start(server={"shutdown_timeout": 10.0})
    reader, writer = await proxy.connect()
    writer.write(request())
    await reader.readuntil(EVENT)

    proxy.server.stop()
    while not proxy.server.should_exit:
        await asyncio.sleep(0)
    go_on.set()
    rest = await reader.read()

    assert rest.endswith(EVENT + b"\r\n0\r\n\r\n")
    assert proxy.log.endings[0].outcome == "completed"
    writer.close()


async def test_health_while_draining(start, upstream):
    """Health answers 503 while requests are still served, so that balancers turn away first."""
    proxy = await start(server={"drain_delay": 0.3})
    proxy.server.stop()
    while not proxy.application.draining:
        await asyncio.sleep(0)

    health = await proxy.request(b"GET /health HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n")
    served = await proxy.request(request(stream=False))

    assert health.startswith(b"HTTP/1.1 503 ")
    assert b'"draining"' in health
    assert served.startswith(b"HTTP/1.1 200 ")


async def test_second_signal_hurries(start, upstream):
    """Told to stop twice, the proxy ends what is in flight at once."""

    async def handler(received, writer):
        writer.write(SSE + CHUNK)
        await received.reader.read()

    upstream.handler = handler
    proxy = await start(server={"shutdown_timeout": 60.0})
    reader, writer = await proxy.connect()
    writer.write(request())
    await reader.readuntil(EVENT)

    proxy.server.stop()
    proxy.server.stop()

    assert b'"error"' in await reader.read()
    assert proxy.log.endings[0].outcome == "proxy_error"
    writer.close()
