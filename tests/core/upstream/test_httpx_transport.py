"""What is httpx's own about its transport: its errors and outgoing proxies."""

from __future__ import annotations

import httpx
import pytest

from perimeter.errors import ExchangeError, UpstreamError
from perimeter.upstream.httpx_transport import proxy_for, translate


ERRORS = [
    each
    for each in vars(httpx).values()
    if isinstance(each, type) and issubclass(each, httpx.TransportError)
]


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


def test_outgoing_proxies(monkeypatch):
    """The environment's proxies apply, with its exceptions."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "internal.example")

    assert proxy_for(httpx.URL("https://api.example")) == "http://proxy.example:3128"
    assert proxy_for(httpx.URL("https://internal.example")) is None
    assert proxy_for(httpx.URL("http://api.example")) is None
