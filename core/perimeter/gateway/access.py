"""Who may use the data path: client tokens, and no foreign web page."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from perimeter.errors import RequestRejected
from perimeter.gateway.upstream import Upstream
from perimeter.settings import ServerSettings
from perimeter.verdicts import Headers, header


LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound


class Access:
    """Checks requests before anything else happens to them."""

    def __init__(self, settings: ServerSettings) -> None:
        self._digests = [_digest_of(token.reveal()) for token in settings.tokens]
        self._loopback = is_loopback(settings.host)
        self._hosts = known_hosts(settings)

    def check(self, upstream: Upstream, headers: Headers) -> None:
        """
        Refuse a request that may not pass.

        Raises:
            RequestRejected: 401 without a valid client token where tokens are set, 403 for a
                browser's cross-site request to an upstream whose key we would add.
        """
        if self._digests and not self._has_token(upstream, headers):
            message = "a client token is needed: send it as x-perimeter-token"
            raise RequestRejected(401, "invalid_client_token", message)
        self.refuse_foreign_pages(upstream, headers)

    def _has_token(self, upstream: Upstream, headers: Headers) -> bool:
        candidates = [header(headers, b"x-perimeter-token")]
        if upstream.credentials.overrides:
            # SDKs always send a credential; where ours replaces it, it can carry the token.
            candidates += [header(headers, name) for name in upstream.credentials.replaced]
        presented = [_bare(value) for value in candidates if value]
        return any(_matches(value, self._digests) for value in presented)

    def refuse_foreign_pages(self, upstream: Upstream, headers: Headers) -> None:
        """
        Refuse a browser's cross-site request to an upstream whose key we would add.

        Raises:
            RequestRejected: With 403.
        """
        if not upstream.credentials.injects:
            return
        site = origin = host = None
        for name, value in headers:
            if name == b"sec-fetch-site":
                site = value
            elif name == b"origin":
                origin = value
            elif name == b"host":
                host = value
        if site in {b"cross-site", b"same-site"}:
            raise _foreign("a page of another site asks")
        if origin is not None and origin_host(origin) not in self._hosts:
            raise _foreign("the Origin is not allowed")
        if self._loopback and host is not None and host_name(host) not in self._hosts:
            raise _foreign("the Host is not this proxy's")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a bind address."""
    return host in LOOPBACK_NAMES or host.startswith("127.")


def known_hosts(settings: ServerSettings) -> frozenset[str]:
    """Return the host names that are ours: the bind, the loopback names and `allowed_hosts`."""
    bind = {settings.host} - ANY_ADDRESS
    return frozenset({*LOOPBACK_NAMES, *bind, *(name.lower() for name in settings.allowed_hosts)})


def host_name(value: bytes) -> str:
    """Return the name in a Host header, lower-case, without port and brackets."""
    try:
        return (urlsplit(b"//" + value).hostname or b"").decode("latin-1").lower()
    except ValueError:
        return ""


def origin_host(value: bytes) -> str:
    """Return the name in an Origin header, lower-case, or "" (also for `null`)."""
    try:
        return (urlsplit(value).hostname or b"").decode("latin-1").lower()
    except ValueError:
        return ""


def token_matches(presented: bytes, expected: str) -> bool:
    """Compare a token with the configured one (plain or `sha256:<hex>`) in constant time."""
    return _matches(presented, [_digest_of(expected)])


def _foreign(reason: str) -> RequestRejected:
    message = f"{reason}; this proxy adds a key, so browsers are refused (see allowed_hosts)"
    return RequestRejected(403, "cross_site_request", message)


def _digest_of(token: str) -> bytes:
    if token.startswith("sha256:"):
        return bytes.fromhex(token.removeprefix("sha256:"))
    return hashlib.sha256(token.encode()).digest()


def _bare(value: bytes) -> bytes:
    return value[7:].strip() if value[:7].lower() == b"bearer " else value


def _matches(presented: bytes, digests: Sequence[bytes]) -> bool:
    digest = hashlib.sha256(presented).digest()
    return sum(hmac.compare_digest(digest, each) for each in digests) > 0
