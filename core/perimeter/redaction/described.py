"""What is masked, in words: for people who want to know what is kept of their traffic."""

from __future__ import annotations

import attrs

from perimeter.redaction.fields import CREDENTIAL_HEADERS
from perimeter.redaction.named import NAMES, PARAMETERS
from perimeter.redaction.prefixes import PREFIXES


@attrs.frozen
class Kind:
    """
    A kind of secret.

    Attributes:
        what: How it is recognised.
        such_as: By what exactly: names, or how such values begin.
    """

    what: str
    such_as: tuple[str, ...]


def kinds() -> tuple[Kind, ...]:
    """Return all that is masked, from the rules themselves where those are words."""
    headers = sorted(name.decode() for name in CREDENTIAL_HEADERS)
    return (
        Kind("Values of header fields", (*headers, "cookie", "set-cookie")),
        Kind("Keys that begin with", tuple(prefix.text for prefix in PREFIXES)),
        Kind("Values whose name ends with", tuple(NAMES.replace("+", "_").split())),
        Kind("Parameters of addresses", tuple(PARAMETERS.split())),
        Kind(
            "What stands in a known place",
            ("behind Bearer and Basic", "the password in an address", "private keys in PEM form"),
        ),
    )
