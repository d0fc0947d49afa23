"""Header fields and query strings: what is secret there is known by its name."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_plus

from perimeter.redaction import scanning
from perimeter.redaction.prefixes import PREFIXES
from perimeter.verdicts import Headers


CREDENTIAL_HEADERS = frozenset(
    {
        b"authorization",
        b"proxy-authorization",
        b"www-authenticate",
        b"proxy-authenticate",
        b"authentication-info",
        b"x-api-key",
        b"api-key",
        b"apikey",
        b"x-goog-api-key",
        b"x-goog-iam-authorization-token",
        b"ocp-apim-subscription-key",
        b"x-auth-token",
        b"x-access-token",
        b"x-amz-security-token",
        b"x-csrf-token",
        b"x-xsrf-token",
        b"x-perimeter-token",
        b"x-forwarded-access-token",
        b"x-gitlab-token",
        b"private-token",
        b"cf-access-client-secret",
        b"cf-access-jwt-assertion",
        b"x-amzn-oidc-data",
        b"x-amzn-oidc-accesstoken",
    }
)
"""Names, in small letters, of fields whose values are masked whatever they look like."""

_SECRET_NAME = re.compile(rb"(?:^|[-_])(?:api[-_]?key|token|secret|password|authorization)$")
"""Ends of names that others have thought of."""

_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9-]{1,15} +(?=[^ ])")
_KIND = re.compile(
    b"sk-(?:proj-|svcacct-|admin-|ant-(?:[a-z]{2,12}[0-9]{0,3}-)?|or-v[0-9]-|lf-)?|"
    + b"|".join(re.escape(prefix.text.encode()) for prefix in PREFIXES)
)
_PAIR_VALUE = re.compile(rb"(=)([^;]*)")

_SECRET_WORD = re.compile(
    r"(?:^|[-_.\s\[])(?:key|api-?key|token|secret|password|passwd|pwd|pass|auth|authorization"
    r"|credentials?|signature|sig)\]?$"
    r"|(?:apikey|accesstoken|idtoken|authtoken|refreshtoken|clientsecret|accesskey|subscriptionkey"
    r"|(?<!page)(?<!sync)token)$"
)
_PLACE_WORD = re.compile(r"(?:page|sync|next|continuation)[-_]?token$")
"""Where a list goes on; no secret."""


def headers(fields: Headers) -> Headers:
    """
    Return header fields with credentials masked.

    Args:
        fields: Names and values; the names in any case.
    """
    return tuple(
        [
            (name, (_known_value if len(value) < _REPEATED else header_value)(name.lower(), value))
            for name, value in fields
        ]
    )


def header_value(name: bytes, value: bytes) -> bytes:
    """Return the value of a field, masked if that is secret by its name or by its shape."""
    if name == b"cookie":
        return _PAIR_VALUE.sub(_mask_pair, value) if b"=" in value else b"*" * len(value)
    if name in {b"set-cookie", b"set-cookie2"}:
        return _PAIR_VALUE.sub(_mask_pair, value, count=1) if b"=" in value else b"*" * len(value)
    if name in CREDENTIAL_HEADERS or _SECRET_NAME.search(name):
        return _mask_credential(value)
    if len(value) < 16:
        return value
    text = value.decode("latin-1")
    spans = scanning.find(text)
    return scanning.masked(text, spans).encode("latin-1") if spans else value


_REPEATED = 256
"""Values of fewer bytes are nearly the same with every request, so what became of them is kept."""
_known_value = lru_cache(maxsize=2048)(header_value)


def _mask_pair(match: re.Match[bytes]) -> bytes:
    return b"=" + b"*" * len(match[2])


def _mask_credential(value: bytes) -> bytes:
    """Mask all but what tells of which kind a credential is."""
    scheme = _SCHEME.match(value)
    kept = scheme.end() if scheme else 0
    kind = _KIND.match(value, kept)
    if kind is not None and len(value) - kind.end() >= 16:
        kept = kind.end()
    return value[:kept] + b"*" * (len(value) - kept)


def query(query: str) -> str:
    """
    Return a query string with the values of secret parameters masked.

    Args:
        query: As in the URL, without the question mark.
    """
    return "".join(map(_mask_parameter, re.split("([&;])", query))) if query else query


def is_secret_parameter(name: str) -> bool:
    """Whether a query parameter's value is secret, going by its name."""
    lower = name.lower()
    return bool(_SECRET_WORD.search(lower)) and not _PLACE_WORD.search(lower)


def _mask_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if value and (is_secret_parameter(unquote_plus(name)) or scanning.find(unquote_plus(value))):
        value = "*" * len(value)
    return f"{_mask_shapes(name)}{equals}{value}"


def _mask_shapes(text: str) -> str:
    return scanning.masked(text, scanning.find(text)) if len(text) >= 16 else text
