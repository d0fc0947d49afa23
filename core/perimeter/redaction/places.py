"""Secrets that are known by what stands around them: schemes, addresses, private keys."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator

import attrs

from perimeter.redaction.found import BOUNDARY, NOTHING, Found, beginning_of


@attrs.frozen
class Scheme:
    """
    Credentials after an authentication scheme.

    Attributes:
        name: Of the scheme, in small letters.
        credentials: Pattern of the scheme and, in a group, as much as tells that they are some.
        more: Pattern of what else belongs to them.
        accepts: Whether what the group matches is credentials.
        reach: Characters after the scheme after which it is clear.
    """

    name: str
    credentials: re.Pattern[str]
    more: re.Pattern[str]
    accepts: Callable[[str], bool]
    reach: int

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """Yield what begins in a part of a text."""
        most = self.name[1:]
        place = text.find(most, start, end)
        while place >= 0:
            match = self.credentials.match(text, max(0, place - 1), end)
            if match is not None and self.accepts(match[1]):
                yield Found(match.start(), match.start(1), match.end(), self.more)
            place = text.find(most, place + 1, end)

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be a credential's beginning; `end` if it can't."""
        tail = text[max(start, end - self.reach - 16) : end].lower()
        place = tail.rfind(self.name)
        if place >= 0 and _SCHEME_VALUE.match(tail, place + len(self.name)):
            return end - len(tail) + place
        return end - beginning_of(self.name, tail)


def _has_user(text: str) -> bool:
    """Whether a text is Base64 of printable characters with a colon among them."""
    try:
        user, colon, _ = base64.b64decode(text[: len(text) // 4 * 4]).partition(b":")
    except ValueError:
        return False
    return bool(colon) and user.isascii() and user.decode("ascii").isprintable()


_SPACES = r"(?:\s|%20|\+|\\[nrt]){1,4}"

BEARER = Scheme(
    "bearer",
    # Long, and soon with a digit or without a break for long, as prose about bearers is not.
    re.compile(
        rf"{BOUNDARY}[Bb]earer{_SPACES}"
        r"(?=[A-Za-z._~+/-]{0,31}[0-9]|[A-Za-z0-9]{24})([A-Za-z0-9._~+/-]{16})"
    ),
    re.compile(r"[A-Za-z0-9._~+/=-]*+"),
    bool,
    64,
)
BASIC = Scheme(
    "basic",
    re.compile(rf"{BOUNDARY}[Bb]asic{_SPACES}([A-Za-z0-9+/]{{6,400}}+={{0,2}}+)"),
    re.compile(r"[A-Za-z0-9+/=]*+"),
    _has_user,
    480,
)
_SCHEME_VALUE = re.compile(r"(?:\s|%(?:20?)?|\+|\\[nrt]?){0,4}[A-Za-z0-9._~+/=-]{0,404}\Z")


@attrs.frozen
class Password:
    """The password in a URL such as `https://user:password@host`."""

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """Yield what begins in a part of a text."""
        place = text.find("://", start, end)
        while place >= 0:
            match = PASSWORD.match(text, place, end)
            if match is not None:
                yield Found(place, match.start(1), match.end(1), NOTHING)
            place = text.find("://", place + 3, end)

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be such a URL; `end` if it can't."""
        low = max(start, end - 400)
        place = text.rfind("://", low, end)
        if place >= 0 and _PASSWORD_BEGUN.match(text, place, end):
            return place
        return end - 2 if text.endswith(":/", low, end) else end - text.endswith(":", low, end)


PASSWORD = re.compile(r"://[^\s/@:\"'<>\\?#&]{0,128}:([^\s/@\"'<>\\?#&]{1,256})@")
_PASSWORD_BEGUN = re.compile(r"://[^\s/@:\"'<>\\?#&]{0,128}(?::[^\s/@\"'<>\\?#&]{0,256})?\Z")


@attrs.frozen
class PrivateKey:
    """A private key in PEM form, its line breaks as they are or escaped as in JSON."""

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """Yield what begins in a part of a text."""
        place = text.find(BEGIN, start, end)
        while place >= 0:
            match = _PRIVATE_KEY.match(text, place, end)
            if match is not None:
                yield Found(place, match.end(1), match.end(), _PRIVATE_KEY_MORE)
            place = text.find(BEGIN, place + len(BEGIN), end)

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be a key's beginning; `end` if it can't."""
        low = max(start, end - 450)
        place = text.rfind(BEGIN, low, end)
        if place >= 0 and _PRIVATE_KEY_BEGUN.match(text, place, end):
            return place
        return end - beginning_of(BEGIN, text[low:end])


BEGIN = "-----BEGIN "
_BREAK = r"(?:\s|\\{1,4}[nr])"
_HEADER = (
    r"(?:(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): "
    rf"[^\s\\\"]{{1,40}}(?: [^\s\\\"]{{1,40}})?{_BREAK}{{1,4}})"
)
_PRIVATE_KEY = re.compile(
    rf"(-----BEGIN (?:[A-Z0-9]{{1,12}} ){{0,2}}PRIVATE KEY(?: BLOCK)?-----){_BREAK}{{0,8}}"
    rf"{_HEADER}{{0,2}}[A-Za-z0-9+/]{{24}}"
)
_PRIVATE_KEY_MORE = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\{1,4}[nr])*+")
# Up to the end: what may be a begin line, then what may be breaks, headers and a few characters.
_PRIVATE_KEY_BEGUN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}(?:-{1,4}|-----[^\"]{0,400})?\Z")


WORDS = ("earer", "asic", BEGIN)
"""Without one of these, and without `PASSWORD`, none of the rules finds anything."""


def rules() -> list[Scheme | Password | PrivateKey]:
    """Return the rules."""
    return [BEARER, BASIC, Password(), PrivateKey()]
