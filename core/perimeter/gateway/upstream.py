"""One configured upstream, ready for use."""

from __future__ import annotations

from urllib.parse import urlsplit

import attrs

from perimeter.dialects import UPSTREAM_TYPES, UpstreamType
from perimeter.gateway.credentials import Credentials
from perimeter.settings import UpstreamSettings
from perimeter.upstream import Transport


@attrs.define(eq=False)
class Upstream:
    """
    A provider that requests are sent to.

    Attributes:
        name: Its table's name.
        settings: Its table.
        type: What kind of provider it is.
        transport: Its connections.
        credentials: How requests to it are authenticated.
        base_path: The path of its base URL, without a slash at the end.
        prefix: Its declared path prefix, or "".
    """

    name: str
    settings: UpstreamSettings
    type: UpstreamType
    transport: Transport
    credentials: Credentials
    base_path: str
    prefix: str

    @classmethod
    def build(cls, name: str, settings: UpstreamSettings, transport: Transport) -> Upstream:
        """Prepare what its table says."""
        return cls(
            name=name,
            settings=settings,
            type=UPSTREAM_TYPES[settings.type],
            transport=transport,
            credentials=Credentials.of(settings),
            base_path=urlsplit(settings.base_url).path.rstrip("/"),
            prefix=settings.prefix.rstrip("/"),
        )

    def target(self, path: str, query: str) -> str:
        """
        Return the request target for a client's path and query, which pass untouched.

        The base URL's path goes in front of it; where the base ends with what the path begins
        with (`…/v1` and `/v1/…`), that part is written once. Nothing is ever added.
        """
        if self.base_path:
            path = self.base_path + path[overlap(self.base_path, path) :]
        return f"{path}?{query}" if query else path


def overlap(base: str, path: str) -> int:
    """Return the length of the longest run of segments that ends `base` and begins `path`."""
    start = base.rfind("/")
    best = 0
    while start >= 0:
        tail = base[start:]
        if path.startswith(tail) and path[len(tail) : len(tail) + 1] in {"", "/"}:
            best = len(tail)
        start = base.rfind("/", 0, start)
    return best
