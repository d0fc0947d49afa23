"""Mask what looks like a secret, before it is shown to anybody."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus


MASK = "***"

_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|pwd|auth|credential|signature|^sig$")
"""Names of query parameters whose values are masked. Too many rather than too few."""

_FIELD = (
    r"(?i:(?:x[-_])?api[-_]?key|authorization|password|passwd|secret|client[-_]?secret"
    r"|secret[-_]?(?:access[-_]?)?key|private[-_]?key|(?:access|refresh|id|auth|bearer)[-_]?token)"
)

_PREFIXED = (  # by issuers who want scanners to find them; the prefix is kept, the rest is not
    r"(?P<prefix>(?<![A-Za-z0-9])(?:"
    r"sk-(?:[a-z]+[0-9]{0,4}-){0,4}"  # OpenAI, Anthropic, OpenRouter and many others
    r"|[rs]k_(?:live|test)_"  # Stripe
    r"|gh[oprsu]_|github_pat_|glpat-"  # GitHub, GitLab
    r"|xox[abeoprs]-|hf_|gsk_|xai-|pplx-|nvapi-|r8_"  # Slack, Hugging Face, Groq, xAI, ...
    r"|AIza|ya29\.|AKIA|ASIA"  # Google, AWS
    r"))[A-Za-z0-9_-]{12,}"
)
# A JSON Web Token: header, payload, signature; the first two are JSON objects in Base64.
_JWT = r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"
# Long, or with a digit: "a bearer certificate" and "Basic understanding" are prose.
_CREDENTIALS = (
    r"(?P<scheme>\b(?i:bearer|basic)\s{1,4})"
    r"(?=[\w.~+/-]{20}|[\w.~+/-]{0,19}[0-9=])[\w.~+/-]{8,}=*"
)
_PRIVATE_KEY = r"(?P<begin>-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)[^-]*"
# "api_key": "...", also inside a JSON string, where the quotation marks are escaped.
_MEMBER = (
    r'(?P<field>(?P<open>(?P<escape>\\{1,7})?")' + _FIELD + r"(?P=open)\s{0,8}:\s{0,8}(?P=open))"
    r'(?(escape)[^"\\]+|(?:[^"\\]|\\.)+)'
)
# ?key=... inside a longer text, such as an error message that cites a URL.
_PARAMETER = r"(?P<parameter>[?&;](?:(?i:key|sig|signature|token)|" + _FIELD + r')=)[^&;\s"\'<>\\]+'

_SHAPES = (_PREFIXED, _JWT, _CREDENTIALS, _PRIVATE_KEY, _MEMBER, _PARAMETER)

_SECRET = re.compile("|".join(_SHAPES))

_KEPT = ("prefix", "scheme", "begin", "field", "parameter")

_OVERLAP = 4096
"""Characters looked at beyond what is kept, so that a secret across the end is recognised."""


def mask(text: str) -> str:
    """Return `text` with everything that has the shape of a secret masked."""
    return _SECRET.sub(_masked, text)


def excerpt(text: str, limit: int) -> str:
    """
    Return the beginning of `text`, masked.

    Args:
        text: A text of any length; only the part that is kept, and a little more, is searched.
        limit: How many characters to keep. A secret across that border is masked as a whole.
    """
    if len(text) <= limit:
        return mask(text)
    end = limit
    for match in _SECRET.finditer(text[: limit + _OVERLAP]):
        if match.start() < limit < match.end():
            end = match.end()
    return mask(text[:end])


def mask_query(query: str) -> str:
    """Return a raw query string with the values of secret parameters masked."""
    return "".join(map(_mask_parameter, re.split("([&;])", query)))


def _mask_parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    decoded = unquote_plus(value)
    if value and (_SECRET_NAME.search(unquote_plus(name)) or mask(decoded) != decoded):
        return f"{mask(name)}={MASK}"
    return f"{mask(name)}{equals}{value}"


def _masked(match: re.Match[str]) -> str:
    kept = next((match[name] for name in _KEPT if match[name]), "")
    return kept + MASK
