"""
Who may ask what: the name and the origin that a request says, the token, and forms.

What is shown here was said by models and tools, and any page in the same browser can send requests
to this address. So the rules are the same for every address, and are applied before anything else.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from perimeter_plugin_live_trace.web.attempts import Attempts
from perimeter_plugin_live_trace.web.site import Site, is_loopback


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types lt-fragment"
)
"""What a page may load and run: only what comes from here, and never a string."""
SANDBOX = "default-src 'none'; sandbox"
"""For bytes that somebody else wrote."""
HEADERS: dict[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    # With `no-referrer`, browsers would say `Origin: null` for our own forms; others get nothing.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), clipboard-read=()",
    "cache-control": "no-store",
}
"""On every answer that does not say otherwise."""
MONTH = 30 * 24 * 3600
"""Seconds that somebody who gave the token need not give it again."""
_SAFE = frozenset({"GET", "HEAD"})
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound to


class Denied(Exception):
    """
    A request is refused.

    Attributes:
        status: HTTP status.
        title: What is wrong, in a few words.
        text: What to do about it.
    """

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(title)
        self.status, self.title, self.text = status, title, text


class TokenNeeded(Exception):
    """The request does not carry the token; `given` says whether it carries a wrong one."""

    def __init__(self, given: bool) -> None:
        super().__init__("token needed")
        self.given = given


@attrs.frozen
class Rules:
    """
    The rules of one dashboard, which follow from where it is bound and what is configured.

    Attributes:
        site: The dashboard.
        attempts: Counts wrong tokens.
    """

    site: Site
    attempts: Attempts = attrs.field(factory=Attempts)

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """
        Check all but the token.

        Raises:
            Denied: The request is for another host, or comes from another site's page.
        """
        self.check_host(headers.get("host", ""))
        changes = method not in _SAFE or path in {"/mcp", "/live"}
        check_origin(headers, links=not changes)

    def check_host(self, host: str) -> None:
        """
        Refuse a name that is not ours: its owner could let it point here (DNS rebinding).

        Raises:
            Denied: It is another name.
        """
        name = host_name(host)
        if name is None or not self._is_ours(name):
            text = "Open it by its address, or add the name to allowed_hosts of live trace."
            raise Denied(421, "This dashboard does not answer to that name", text)

    def _is_ours(self, name: str) -> bool:
        if name in {other.lower() for other in self.site.config.allowed_hosts}:
            return True
        if self.site.host in _WILDCARDS:  # an address can't be rebound, only a name can
            return name == "localhost" or _is_address(name)
        return name == self.site.host.lower() or (self.site.is_loopback and name in _LOCAL)

    def session(self) -> str:
        """Return the value of the cookie of somebody who has the token; it can't be turned back."""
        return sign(self.site.secret, f"session {self.site.token.reveal()}")

    def check_token(self, who: str, headers: Mapping[str, str], query: str = "") -> None:
        """
        Check that a request carries the token, where one is needed.

        Raises:
            TokenNeeded: It does not.
            TooMany: It carries one, and others before it were wrong.
        """
        if not self.site.token or same(cookies(headers).get(self.cookie, ""), self.session()):
            return
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip() if kind.lower() == "bearer" else "", query]
        if not any(self.is_token(who, each) for each in given if each):
            raise TokenNeeded(any(given))

    def is_token(self, who: str, given: str) -> bool:
        """
        Whether it is the token; takes the same time for every wrong one.

        Raises:
            TooMany: There were too many wrong ones from there.
        """
        if not self.site.token:
            return False
        self.attempts.check(who, given)
        if same(given, self.site.token.reveal()):
            return True
        self.attempts.failed(who, given)
        return False

    @property
    def cookie(self) -> str:
        """The name of the cookie; with the port, as cookies do not know ports."""
        return f"lt_{self.site.port}"

    @property
    def form_cookie(self) -> str:
        """The name of the cookie that forms are bound to."""
        return f"lt_form_{self.site.port}"

    @property
    def notice_cookie(self) -> str:
        """The name of the cookie that carries what the next page says."""
        return f"lt_notice_{self.site.port}"

    def form_token(self, session: str) -> str:
        """Return a token for forms of a browser, another one each time (it may be compressed)."""
        salt = secrets.token_hex(8)
        return salt + sign(self.site.secret, f"form {session} {salt}")

    def check_form(self, session: str, token: str) -> None:
        """
        Check the token that a form sent.

        Raises:
            Denied: It is not one that this browser was given.
        """
        expected = sign(self.site.secret, f"form {session} {token[:16]}")
        if not session or not same(token[16:], expected):
            text = "It was open for too long, or the dashboard was restarted: go back and reload."
            raise Denied(403, "This form is out of date", text)


def check_origin(headers: Mapping[str, str], *, links: bool = False) -> None:
    """
    Refuse what a page of another site sends. Programs that are no browser say nothing, and may.

    Args:
        headers: Of the request.
        links: Whether other sites may lead here; browsers give no origin when a link is followed.

    Raises:
        Denied: It comes from another site.
    """
    fetched = headers.get("sec-fetch-site", "")
    origin = headers.get("origin", "")
    foreign = not links and fetched not in {"", "same-origin", "none"}
    if foreign or (origin and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()):
        text = "Only the dashboard's own pages may send this."
        raise Denied(403, "The request comes from another site", text)


def host_name(host: str) -> str | None:
    """Return the name or the address in a `Host` header, or None where it has none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def cookies(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the cookies of a request; those of other programs on this host may be garbage."""
    pairs = [part.strip().partition("=") for part in headers.get("cookie", "").split(";")]
    return {name: value.strip('"') for name, equals, value in pairs if equals}


def set_cookie(name: str, value: str, *, age: int, script: bool = False, tls: bool = False) -> str:
    """Return a `Set-Cookie` header; scripts see it only when they need it."""
    hidden = "" if script else "; HttpOnly"
    return f"{name}={value}; Path=/; Max-Age={age}; SameSite=Strict{hidden}" + (
        "; Secure" if tls else ""
    )


def retry_after(seconds: int) -> tuple[str, str]:
    """Return the header that says when to come again."""
    return "retry-after", str(seconds)


def sign(key: bytes, text: str) -> str:
    """Return a signature of a text."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two secrets are the same; takes as long for any two of a length."""
    return hmac.compare_digest(one.encode(), other.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def needs_token(host: str) -> bool:
    """Whether an address can be reached by others, so that a token is required."""
    return not (host == "localhost" or is_loopback(host))
