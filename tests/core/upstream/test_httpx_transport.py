"""The transport on httpx, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import subprocess

import httpx
import pytest

from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamTimeout,
)
from perimeter.settings import UpstreamSettings
from perimeter.upstream import UpstreamRequest
from perimeter.upstream.arriving import READ_AHEAD
from perimeter.upstream.environment import proxy_for
from perimeter.upstream.httpx_transport import HttpxTransport, translate


REQUEST = UpstreamRequest("GET", "/a%2Fb//c?x=%41", ())
ERRORS = [
    each
    for each in vars(httpx).values()
    if isinstance(each, type) and issubclass(each, httpx.TransportError)
]


@contextlib.asynccontextmanager
async def serving(handler, **options):
    """Run a raw server, and yield its port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0, **options)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def transport_to(port, scheme="http", **options):
    """Yield a transport to a port on loopback."""
    table = UpstreamSettings(type="raw", base_url=f"{scheme}://127.0.0.1:{port}", **options)
    transport = HttpxTransport(table)
    try:
        yield transport
    finally:
        await transport.close()


async def answer_ok(reader, writer):
    """Answer one request and close."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nX-Odd: a\r\ncontent-length: 2\r\n\r\nok")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_translated(kind):
    """No error of the client library gets past the seam."""
    error = translate(kind("it failed"))

    assert isinstance(error, ExchangeError)
    if not issubclass(kind, (httpx.LocalProtocolError,)):
        assert isinstance(error, UpstreamError)


def test_what_may_be_sent_again():
    """Only connect failures, and reused connections that closed at once, are safe to repeat."""
    assert translate(httpx.ConnectError("no")).retry_safe
    assert translate(httpx.ConnectTimeout("no")).retry_safe
    assert not translate(httpx.ReadError("no")).retry_safe
    assert translate(httpx.ReadError("no"), retry_safe=True).retry_safe


async def test_target_is_sent_untouched():
    """The request target goes out byte for byte, with nothing added but the host."""
    seen = asyncio.get_running_loop().create_future()

    async def handler(reader, writer):
        seen.set_result(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with serving(handler) as port, transport_to(port) as transport:
        call = transport.start(REQUEST)
        with pytest.raises(UpstreamClosed):
            await call.head()
        await call.close()

        expected = f"GET /a%2Fb//c?x=%41 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"
        assert (await seen).decode() == expected


async def test_abort_wakes_the_reader():
    """Whoever waits for the body is told why it will not come, and the connection closes."""
    gone = asyncio.Event()

    async def handler(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
        await reader.read()
        gone.set()
        writer.close()

    async with serving(handler) as port, transport_to(port) as transport:
        call = transport.start(REQUEST)
        await call.head()
        reading = asyncio.get_running_loop().create_task(call.read())
        await asyncio.sleep(0)

        call.abort(ClientDisconnected("gone"))

        with pytest.raises(ClientDisconnected):
            await reading
        await gone.wait()
        await call.close()
        assert transport.connections == 0


async def test_reading_ahead_is_bounded():
    """A client that does not read stops the upstream from being read, too."""
    size = 64 * 1024 * 1024
    written = 0

    async def handler(reader, writer):
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        with contextlib.suppress(ConnectionError):
            while written < size:
                writer.write(b"x" * 65536)
                written += 65536
                await writer.drain()
        writer.close()

    async with serving(handler) as port, transport_to(port) as transport:
        call = transport.start(REQUEST)
        await call.head()
        previous = -1
        while previous != written:
            previous = written
            await asyncio.sleep(0.05)

        assert written < size / 2
        assert call._held < READ_AHEAD + 1024 * 1024
        await call.close()


async def test_no_free_connection():
    """A full pool is a timeout of its own kind."""

    async def handler(reader, writer):
        await reader.read()
        writer.close()

    async with (
        serving(handler) as port,
        transport_to(port, max_connections=1, pool_timeout=0.1) as transport,
    ):
        first = transport.start(REQUEST)
        await asyncio.sleep(0)
        second = transport.start(REQUEST)
        with pytest.raises(UpstreamTimeout) as caught:
            await second.head()
        await first.close()

    assert caught.value.phase == "pool"


@pytest.fixture
def certificate(tmp_path):
    """Make a self-signed certificate for 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, pem = tmp_path / "key.pem", tmp_path / "cert.pem"
    arguments = (
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 "
        f"-addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {pem}"
    )
    subprocess.run([openssl, *arguments.split()], check=True, capture_output=True)
    return key, pem


async def test_tls(certificate):
    """An unknown certificate is refused, unless it is trusted or checking is switched off."""
    key, pem = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    async with serving(answer_ok, ssl=context) as port:
        async with transport_to(port, "https") as transport:
            call = transport.start(REQUEST)
            with pytest.raises(UpstreamConnectError, match=r"(?i)certificate"):
                await call.head()
            await call.close()
        for options in ({"ca_file": str(pem)}, {"verify": False}):
            async with transport_to(port, "https", **options) as transport:
                call = transport.start(REQUEST)
                head = await call.head()
                assert head.headers[0] == (b"x-odd", b"a")
                assert await call.read() == b"ok"
                assert await call.read() == b""
                await call.close()


def test_outgoing_proxies(monkeypatch):
    """The environment's proxies apply, with its exceptions."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")

    assert proxy_for("https", "api.example") == "http://proxy.example:3128"
    assert proxy_for("https", "internal.example") is None
    assert proxy_for("http", "api.example") is None
