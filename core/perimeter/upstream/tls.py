"""TLS towards an upstream."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from perimeter.settings import UpstreamSettings


def context_for(settings: UpstreamSettings) -> ssl.SSLContext:
    """
    Build the context that an upstream's table asks for.

    Raises:
        OSError: A file can't be read, or is not what it should be.
    """
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.client_cert:
        context.load_cert_chain(settings.client_cert, settings.client_key or None)
    return context
