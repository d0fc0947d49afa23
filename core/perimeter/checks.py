"""Validators for options: attrs validators whose message can follow an option's name.

No message repeats a value that might be a credential.
"""

import math
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from perimeter.options import Secret, Validator


YEAR = 365 * 86_400.0
"""The longest duration accepted, in seconds; event loops cannot hold timers of any length."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: token
_HOST = re.compile(r"[0-9A-Za-z._:%-]+")
_PREFIX = re.compile(r"(/[0-9A-Za-z._~-]+)+")
_RESERVED = frozenset({"-", "agent-workflow", "health", "metrics", "config", ".", ".."})
_LONGEST_PATTERN = 500
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")


def between(low: int, high: int) -> Validator:
    """Accept integers from ``low`` to ``high``, both included."""

    def check(_instance: Any, _attribute: Any, value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")

    return check


def at_least(low: int) -> Validator:
    """Accept integers that are not below ``low``."""

    def check(_instance: Any, _attribute: Any, value: int) -> None:
        if value < low:
            raise ValueError(f"must be at least {low}, not {value}")

    return check


def duration(_instance: Any, _attribute: Any, value: float) -> None:
    """Accept seconds above zero, up to a year; TOML's ``inf`` and ``nan`` are neither."""
    if not 0 < value <= YEAR:
        raise ValueError(f"must be a number of seconds above 0 and up to a year, not {value}")


def duration_or_zero(_instance: Any, _attribute: Any, value: float) -> None:
    """Accept zero ("not at all") besides what ``duration`` accepts."""
    if math.isnan(value) or not 0 <= value <= YEAR:
        raise ValueError(f"must be a number of seconds from 0 up to a year, not {value}")


def fraction(_instance: Any, _attribute: Any, value: float) -> None:
    """Accept 0 to 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"must be from 0 to 1, not {value:g}")


def not_blank(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept texts that say something."""
    if not value.strip():
        raise ValueError("must not be blank")


def each(check: Validator) -> Validator:
    """Apply a validator to every item of a list."""

    def check_all(instance: Any, attribute: Any, values: Iterable[Any]) -> None:
        for position, value in enumerate(values, 1):
            try:
                check(instance, attribute, value)
            except ValueError as error:
                raise ValueError(f"item {position} {error}") from error

    return check_all


def one_of(*choices: str) -> Validator:
    """Accept only these strings."""

    def check(_instance: Any, _attribute: Any, value: str) -> None:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}, not {value!r}")

    return check


def http_url(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept an absolute http or https URL without credentials, query or fragment."""
    complaint = _url_complaint(value)
    if complaint:
        raise ValueError(complaint)


def _url_complaint(value: str) -> str:
    """Say what is wrong with a base URL, or nothing; never repeat it, it may hold a password."""
    if not value.isascii() or not value.isprintable() or " " in value:
        return "must be a URL without spaces, control characters or non-ASCII letters"
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"must be a URL: {error}" if "@" not in value else "must be a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "must be an absolute URL such as https://api.example.com"
    if "@" in parts.netloc:
        return "must not hold credentials; set api_key instead"
    if "?" in value or "#" in value:
        return "must not have a query or a fragment"
    return ""


def path_prefix(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept nothing, or a path such as ``/openai`` that hides none of the proxy's own paths."""
    if not value:
        return
    if not _PREFIX.fullmatch(value):
        raise ValueError(
            "must look like /name: a leading slash, no trailing one, no spaces or escapes"
        )
    segments = value[1:].split("/")
    if segments[0] in _RESERVED or segments[0].startswith("-") or {".", ".."} & set(segments):
        raise ValueError(f"must not be {value}, which is reserved")


def path_pattern(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept a pattern of paths: it begins like a path, or with what stands for any text."""
    if not value.startswith(("/", "*")) or not value.isprintable() or " " in value:
        raise ValueError("must be a path such as /v1/files/*, beginning with a slash or *")
    if len(value) > _LONGEST_PATTERN:
        raise ValueError(f"must have at most {_LONGEST_PATTERN} characters")


def header_name(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept nothing, or the name of an HTTP header."""
    if value and not _HEADER_NAME.fullmatch(value):
        raise ValueError("must be the name of an HTTP header")


def header_secret(_instance: Any, _attribute: Any, value: Secret) -> None:
    """Accept a secret that can stand in a header: printable ASCII without spaces around it."""
    text = value.reveal()
    if not text.isascii() or not text.isprintable() or text != text.strip():
        raise ValueError(
            "must be printable ASCII without line breaks or surrounding spaces (it is not shown)"
        )


def client_token(instance: Any, attribute: Any, value: Secret) -> None:
    """Accept a token in plain text, or as ``sha256:`` and the hexadecimal digest of it."""
    if not value:
        raise ValueError("must not hold an empty token")
    if value.reveal().startswith("sha256:") and not _DIGEST.fullmatch(value.reveal()):
        raise ValueError("must have 64 hexadecimal digits after sha256:")
    header_secret(instance, attribute, value)


def host_name(_instance: Any, _attribute: Any, value: str) -> None:
    """Accept a host name or an IP address, the latter without brackets."""
    if not _HOST.fullmatch(value):
        raise ValueError("must be a host name or an IP address, without scheme, path or brackets")
