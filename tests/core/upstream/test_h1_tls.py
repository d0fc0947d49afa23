"""TLS of every transport, with certificates made for the test."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess

import attrs
import pytest

from perimeter.errors import UpstreamClosed, UpstreamConnectError
from perimeter.settings import UpstreamSettings
from raw_upstream import GET, OK, TRANSPORTS, ask, serving, transport_to


HAS_CLIENT_CERTIFICATES = "client_cert" in attrs.fields_dict(UpstreamSettings)


@pytest.fixture(params=TRANSPORTS)
def kind(request):
    """Name the transport under test."""
    return request.param


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Make self-signed certificates: a function of a name that gives a key and a certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("tls")

    def make(label, name):
        key, pem = folder / f"{label}-key.pem", folder / f"{label}.pem"
        arguments = (
            f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN={label} -addext subjectAltName={name} -keyout {key} -out {pem}"
        )
        subprocess.run([openssl, *arguments.split()], check=True, capture_output=True)
        return key, pem

    return make


@pytest.fixture(scope="module")
def by_address(make):
    """Give the certificate of 127.0.0.1."""
    return make("address", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def by_name(make):
    """Give the certificate of localhost."""
    return make("name", "DNS:localhost")


def server_context(pair):
    """Make the server's side."""
    key, pem = pair
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    return context


async def answers(peer):
    """Answer every request."""
    while True:
        await peer.answer(OK)


async def reached(kind, pair, host="127.0.0.1", **options):
    """Ask a server with this certificate twice."""
    async with (
        serving(answers, ssl=server_context(pair)) as upstream,
        transport_to(kind, upstream.port, scheme="https", host=host, **options) as transport,
    ):
        results = [await ask(transport), await ask(transport)]
        assert transport.connections == len(upstream.peers)
        return results


async def test_a_trusted_certificate(kind, by_address):
    """A certificate of an authority in ca_file is accepted, and the connection is reused."""
    for result in await reached(kind, by_address, ca_file=str(by_address[1])):
        assert (result.error, result.body) == (None, b"ok")


async def test_checking_switched_off(kind, by_name):
    """With verify = false any certificate is taken, for whatever host."""
    for result in await reached(kind, by_name, verify=False):
        assert (result.error, result.body) == (None, b"ok")


async def test_an_unknown_authority(kind, by_address):
    """A certificate of an unknown authority is refused, and nothing is sent."""
    for result in await reached(kind, by_address):
        assert isinstance(result.error, UpstreamConnectError)
        assert "certificate" in str(result.error).lower()


async def test_another_authority(kind, by_address, make):
    """With ca_file only that authority is trusted."""
    other = make("other", "IP:127.0.0.1")
    for result in await reached(kind, by_address, ca_file=str(other[1])):
        assert isinstance(result.error, UpstreamConnectError)


async def test_the_wrong_host(kind, by_name):
    """A certificate for another host is refused, though its authority is trusted."""
    for result in await reached(kind, by_name, ca_file=str(by_name[1])):
        assert isinstance(result.error, UpstreamConnectError)


async def test_the_server_is_named(kind, by_name):
    """The handshake names the host, so that a server of many hosts shows the right certificate."""
    names = []
    context = server_context(by_name)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with (
        serving(answers, ssl=context) as upstream,
        transport_to(
            kind, upstream.port, scheme="https", host="localhost", ca_file=str(by_name[1])
        ) as transport,
    ):
        assert (await ask(transport)).error is None

    assert names == ["localhost"]


async def test_no_tls_there(kind):
    """A server that does not speak TLS is one that can't be connected to."""

    async def handler(peer):
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        await peer.gone()

    async with (
        serving(handler) as upstream,
        transport_to(kind, upstream.port, scheme="https") as transport,
    ):
        assert isinstance((await ask(transport)).error, UpstreamConnectError)
        assert transport.connections == 0


async def test_closed_in_the_handshake(kind):
    """A server that closes instead of shaking hands is one that can't be connected to."""

    async def handler(peer):
        await peer.reader.read(65536)

    async with (
        serving(handler) as upstream,
        transport_to(kind, upstream.port, scheme="https") as transport,
    ):
        result = await ask(transport)

        assert isinstance(result.error, UpstreamConnectError)
        assert result.error.retry_safe
        assert transport.connections == 0


async def test_a_body_over_tls(kind, by_address):
    """A large body arrives whole through TLS, and one until the close ends with it."""
    body = b"x" * (8 * 1024 * 1024)

    async def handler(peer):
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n", body)

    async with (
        serving(handler, ssl=server_context(by_address)) as upstream,
        transport_to(kind, upstream.port, scheme="https", ca_file=str(by_address[1])) as transport,
    ):
        result = await ask(transport)

    assert result.error is None
    assert result.body == body


async def test_cut_short_over_tls(kind, by_address):
    """A body that is cut short is an error over TLS, too."""

    async def handler(peer):
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")

    async with (
        serving(handler, ssl=server_context(by_address)) as upstream,
        transport_to(kind, upstream.port, scheme="https", ca_file=str(by_address[1])) as transport,
    ):
        result = await ask(transport)

    assert (result.kind, result.body) == (UpstreamClosed, b"abc")


async def test_abort_over_tls(kind, by_address):
    """To let go of a call closes its connection at once, without waiting for TLS to say goodbye."""
    gone = asyncio.Event()

    async def handler(peer):
        await peer.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await peer.gone()
        gone.set()

    async with (
        serving(handler, ssl=server_context(by_address)) as upstream,
        transport_to(kind, upstream.port, scheme="https", ca_file=str(by_address[1])) as transport,
    ):
        call = transport.start(GET)
        await call.head()
        await call.close()
        await gone.wait()
        assert transport.connections == 0


@pytest.mark.skipif(not HAS_CLIENT_CERTIFICATES, reason="there is no such setting")
@pytest.mark.parametrize("shown", [True, False])
async def test_client_certificate(by_address, make, tmp_path, shown):
    """A server that wants the client's certificate gets the one in the settings, or refuses."""
    key, pem = make("client", "DNS:client")
    both = tmp_path / "client-both.pem"
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    context = server_context(by_address)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the refusal comes within the handshake
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pem)
    options = {"client_cert": str(both)} if shown else {}
    async with (
        serving(answers, ssl=context) as upstream,
        transport_to(
            "h1", upstream.port, scheme="https", ca_file=str(by_address[1]), **options
        ) as transport,
    ):
        result = await ask(transport)

    assert isinstance(result.error, type(None) if shown else UpstreamConnectError)
