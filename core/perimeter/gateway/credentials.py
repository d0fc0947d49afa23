"""Whose credentials go upstream: the client's, or the configured key."""

from __future__ import annotations

import attrs

from perimeter.dialects import UPSTREAM_TYPES, UpstreamType
from perimeter.settings import UpstreamSettings
from perimeter.verdicts import Headers, header


@attrs.frozen
class Credentials:
    """How requests to one upstream are authenticated."""

    policy: str
    field: tuple[bytes, bytes]
    replaced: frozenset[bytes]
    replaced_query: tuple[str, ...]

    @classmethod
    def of(cls, settings: UpstreamSettings) -> Credentials:
        """Build them from an upstream's table."""
        kind: UpstreamType = UPSTREAM_TYPES[settings.type]
        key = settings.api_key.reveal()
        name, value = kind.credential_header, kind.credential_prefix + key.encode("latin-1")
        if settings.api_key_header:
            name, value = settings.api_key_header.lower().encode("ascii"), key.encode("latin-1")
        policy = settings.credentials or ("override" if key else "passthrough")
        return cls(
            policy if key else "passthrough",
            (name, value),
            frozenset({*kind.credential_headers, name}),
            kind.credential_query,
        )

    @property
    def injects(self) -> bool:
        """Whether the configured key may go upstream for a client that has none."""
        return self.policy != "passthrough"

    @property
    def overrides(self) -> bool:
        """Whether what the client sends as its credential is replaced."""
        return self.policy == "override"

    def strip(self, headers: Headers) -> Headers:
        """Return the headers without the client's credentials."""
        return tuple(item for item in headers if item[0] not in self.replaced)

    def strip_query(self, query: str) -> str:
        """Return the query without the client's credentials."""
        if not self.replaced_query or not query:
            return query
        kept = [
            pair for pair in query.split("&") if pair.partition("=")[0] not in self.replaced_query
        ]
        return "&".join(kept)

    def add(self, headers: Headers, query: str) -> Headers:
        """Return the headers as they go upstream, with the configured key where it is due."""
        if not self.injects or (not self.overrides and self._client_has_one(headers, query)):
            return headers
        return (*headers, self.field)

    def _client_has_one(self, headers: Headers, query: str) -> bool:
        if any(header(headers, name) for name in self.replaced):
            return True
        return any(pair.partition("=")[0] in self.replaced_query for pair in query.split("&"))
