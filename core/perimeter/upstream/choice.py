"""Which transport an upstream's table asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perimeter.upstream.environment import proxy_for
from perimeter.upstream.protocol import Transport


if TYPE_CHECKING:
    from perimeter.settings import UpstreamSettings


def transport_for(settings: UpstreamSettings) -> Transport:
    """
    Build the transport that an upstream's table asks for. Nothing is opened yet.

    Raises:
        OSError: A certificate's file can't be read.
    """
    if needs_httpx(settings):
        from perimeter.upstream.httpx_transport import HttpxTransport  # noqa: PLC0415 - slow

        return HttpxTransport(settings)
    from perimeter.upstream.h1 import H1Transport  # noqa: PLC0415 - as the other one

    return H1Transport(settings)


def needs_httpx(settings: UpstreamSettings) -> bool:
    """Whether the fast transport can't do what is asked for, or is not to."""
    if settings.transport != "auto":
        return settings.transport == "httpx"
    url = urlsplit(settings.base_url)
    return settings.http2 or proxy_for(url.scheme, url.hostname or "") is not None
