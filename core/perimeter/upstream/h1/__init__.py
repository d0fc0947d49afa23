"""The fast transport: HTTP/1.1 on asyncio's own connections."""

from perimeter.upstream.h1.transport import H1Transport


__all__ = ["H1Transport"]
