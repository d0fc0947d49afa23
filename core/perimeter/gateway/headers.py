"""Which header fields pass, in either direction."""

from __future__ import annotations

from collections.abc import Iterable

from perimeter.verdicts import Headers, header


HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields about one connection only (RFC 9110 §7.6.1); trailers are not forwarded."""

NOT_FORWARDED = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"proxy-authorization"}
OURS = (b"x-perimeter-", b"x-cylestio-")


def to_upstream(headers: Iterable[tuple[bytes, bytes]], *, identity: bool = False) -> Headers:
    """
    Return the fields of a request that go upstream, in order.

    Args:
        headers: As the client sent them, names lower-case.
        identity: Ask for an unencoded response, whatever the client accepts.
    """
    drop = NOT_FORWARDED | _named_by_connection(headers)
    if identity:
        drop |= {b"accept-encoding"}
    kept = [field for field in headers if field[0] not in drop and not field[0].startswith(OURS)]
    if identity:
        kept.append((b"accept-encoding", b"identity"))
    return tuple(kept)


def to_client(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields of an upstream's response that go to the client, in order."""
    drop = HOP_BY_HOP | _named_by_connection(headers)
    if header(headers, b"transfer-encoding") is not None:
        # RFC 9112 §6.3: transfer-encoding overrides content-length, which then must go.
        drop |= {b"content-length"}
    return [field for field in headers if field[0] not in drop]


def without(headers: Iterable[tuple[bytes, bytes]], *names: bytes) -> Headers:
    """Return the fields that have none of these names."""
    return tuple(field for field in headers if field[0] not in names)


def media_type(headers: Headers) -> str:
    """Return the content type's value, or ""."""
    value = header(headers, b"content-type")
    return "" if value is None else value.decode("latin-1")


def is_encoded(headers: Headers) -> bool:
    """Whether the body has a content-encoding."""
    value = header(headers, b"content-encoding")
    return value is not None and value.strip().lower() not in {b"", b"identity"}


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return the declared length of the body, or None where there is none (or it is no number)."""
    for name, value in headers:
        if name == b"content-length":
            # Python refuses to read thousands of digits, even where all but a few are zeros.
            return int(value.lstrip(b"0") or b"0") if value.isdigit() else None
    return None


_COMMON = {b"keep-alive", b"close", b"Keep-Alive", b"Close"}
_NOTHING: frozenset[bytes] = frozenset()


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = _NOTHING
    for name, value in headers:
        if name == b"connection" and value not in _COMMON:
            named |= {token.strip().lower() for token in value.split(b",")}
    return named
