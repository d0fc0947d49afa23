"""
The seam between the data path and HTTP clients.

Everything above this package is ignorant of the client that carries a request: it calls
`Transport.start` and reads the `UpstreamCall` it gets. Implementations raise the `UpstreamError`
family and nothing else.
"""

from perimeter.upstream.protocol import (
    Body,
    Transport,
    UpstreamCall,
    UpstreamHead,
    UpstreamRequest,
)


__all__ = ["Body", "Transport", "UpstreamCall", "UpstreamHead", "UpstreamRequest"]
