"""Values that are secret because of the name in front of them."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator

import attrs

from perimeter.redaction.found import Found


NAMES = """
    authorization password passwd pwd passphrase secret secret+key secret+access+key client+secret
    api+key access+key private+key account+key signing+key encryption+key master+key
    subscription+key access+token refresh+token id+token auth+token bearer+token session+token
    security+token oauth+token bot+token
"""
"""What names of secrets end with, in any case; + is nothing, a hyphen or an underscore."""

PARAMETERS = """
    key token sig signature x-amz-signature x-amz-credential x-amz-security-token x-goog-signature
    x-goog-credential
"""
"""Further names of secrets, where they are parameters of a URL."""


def _spelled(names: str) -> list[str]:
    """Write the names in all ways."""
    joined = (name.replace("+", joint) for name in names.split() for joint in ("", "-", "_"))
    return sorted(set(joined), key=len, reverse=True)


_SPELLED = _spelled(NAMES)
_SECRETS = tuple(_SPELLED)
_QUERY = frozenset(_spelled(PARAMETERS))
_VARIABLES = ("_KEY", "_TOKEN", "_PAT")

_LONGEST = 48
"""Characters looked at for a name."""

_LETTERS = string.ascii_letters + string.digits + "_-"


@attrs.frozen
class Name:
    """
    The name of a secret, in front of its value.

    Attributes:
        begin: Where it begins.
        parameter: Whether it is one of a URL's parameters.
        quoted: Whether it is in quotation marks.
    """

    begin: int
    parameter: bool
    quoted: bool


def _name(text: str, sign: int) -> Name | None:
    """Return the name of a secret that ends in front of a `:` or `=`, if one does."""
    low = max(0, sign - _LONGEST)
    name = text[low:sign].removesuffix(" ")
    quoted = name.endswith(("'", '"'))
    if quoted:
        name = name[:-1].rstrip("\\")
    word = len(name.rstrip(_LETTERS))
    lower = name[word:].lower()
    known = lower.endswith(_SECRETS)
    if not quoted and text[sign] == "=":
        marked = name[:word].endswith(("?", "&", ";"))
        if name[:word].endswith("\\") and lower.startswith("u0026"):  # & as some write it in JSON
            marked, lower = True, lower[len("u0026") :]
        if marked and (known or lower in _QUERY):
            return Name(low + word - 1, parameter=True, quoted=False)
    if known or name.endswith(_VARIABLES):
        return Name(low + word, parameter=False, quoted=quoted)
    return None


def _any_case(word: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in word)


# How names end. The last two letters by themselves are looked at first, which rules out most names
# at the least cost; re.IGNORECASE would make each comparison dearer.
_ENDS = "[aeirswAEIRSW][degklntyDEGKLNTY]"
_TAILS = ("key", "ret", "ken", "ase", "ord", "swd", "pwd", "sig", "ure", "ial", "pat")
_TAIL = "|".join(map(_any_case, _TAILS))
_AUTHORIZATION = _any_case("ization")

GATES = (
    # "api_key": "...", also inside a JSON string, and api_key: ...
    re.compile(
        rf":(?:(?<={_ENDS}[\"'\s]:)(?<=(?:{_TAIL})[\"'\s]:)"
        rf"|(?<={_ENDS}:)(?<=(?:{_TAIL}):)"
        rf"|(?<=[\"'] :)(?:(?<=(?:{_TAIL})[\"'] :)|(?<={_AUTHORIZATION}[\"'] :))"
        rf"|(?<=\\[\"']:)(?:(?<=(?:{_TAIL})\\[\"']:)|(?<=\\\\[\"']:)|(?<={_AUTHORIZATION}\\[\"']:))"
        rf"|(?<={_AUTHORIZATION}[\"']:))"
        r"(?=[ \t]{0,4}\\{0,7}[\"'A-Za-z0-9+])"
    ),
    # API_KEY=..., api_key = "...", AccountKey=..., ?key=...
    re.compile(
        rf"=(?:(?<=(?:{_TAIL})=)|(?<=(?:{_TAIL}) =))"
        r"(?=[ \t]{0,4}\\{0,7}[\"']?[^\s&;\"'<>\\=])"
    ),
)

_OPENING = re.compile(r"[ \t]{0,4}(\\{0,7})([\"'])")
_PARAMETER = re.compile(r"[^&;\s\"'<>\\#]*+")
# A long unbroken value, with digits in it or very long: neither prose nor part of a program. (One
# in a thousand random ones has no digit among the first 40.)
_ASSIGNED = re.compile(
    r"[ \t]{0,4}\\{0,7}[\"']?(?=[A-Za-z+/]{0,63}[0-9]|[A-Za-z+/]{64})"
    r"(?P<value>[A-Za-z0-9+][A-Za-z0-9+/]{19})"
)
_ASSIGNED_MORE = re.compile(r"[A-Za-z0-9+/=_-]*+")


def _member(quote: str, escaped: int) -> re.Pattern[str]:
    """
    Return the pattern of a JSON string's rest, up to its closing quotation mark.

    Args:
        quote: The quotation mark.
        escaped: How many backslashes stand in front of it: 1 inside of another JSON string.
    """
    plain = rf"[^{quote}\\\n]"
    if escaped == 0:
        return re.compile(rf"(?:{plain}|\\.)*+")
    if escaped == 1:
        return re.compile(rf"(?:{plain}|\\\\(?:\\\\|\\{quote}|{plain})|\\[^{quote}\\])*+")
    return re.compile(rf"(?:{plain}|\\++[^{quote}\\])*+")


_MEMBERS = {(quote, depth): _member(quote, depth) for quote in "\"'" for depth in (0, 1, 2)}


@attrs.frozen
class Named:
    """The rule for values with a name: JSON members, assignments, parameters of URLs."""

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """Yield what begins in a part of a text."""
        for gate in GATES:
            for hit in gate.finditer(text, start, end):
                found = _value(text, hit.start(), end)
                if found is not None:
                    yield found

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be a named value's beginning; `end` if it can't."""
        tail = text[max(start, end - 3 * _LONGEST) : end]
        sign = max(tail.rfind(":"), tail.rfind("="))
        if sign >= 0 and _BEGUN.match(tail, sign + 1):
            name = _name(tail, sign)
            if name is not None:
                return end - len(tail) + name.begin
        return end - _length_of_name(tail)


_BEGUN = re.compile(r"[ \t]{0,4}\\{0,7}[\"']?[A-Za-z0-9+/]{0,64}\Z")
_NAME_CHARACTERS = _LETTERS + "?&;\\"


def _parts(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name[:length] for name in names for length in range(1, len(name) + 1))


_MARKS = ("?", "&", ";", "\\u0026")
_PARTS = _parts(
    (
        *_SPELLED,
        *(mark + name for name in (*_QUERY, *_SPELLED) for mark in _MARKS),
        *map(str.lower, _VARIABLES),
    )
)


def _length_of_name(tail: str) -> int:
    """Return how much at the end is, or begins, a name without its value."""
    bare = tail.rstrip(" ")
    bare = bare[:-1] if bare.endswith(("'", '"')) else bare
    bare = bare.rstrip("\\")
    word = bare[len(bare.rstrip(_NAME_CHARACTERS)) :][-_LONGEST:].lower()
    for place in range(len(word)):
        if word[place:] in _PARTS:
            return len(tail) - len(bare) + len(word) - place
    return 0


def _value(text: str, place: int, end: int) -> Found | None:
    """Return the value after a `:` or `=`, if a secret's name stands in front of that."""
    name = _name(text, place)
    if name is None:
        return None
    after = place + 1
    if name.parameter:
        return Found(name.begin, after, after, _PARAMETER)
    if name.quoted:
        opening = _OPENING.match(text, after, end)
        if opening is None:
            return None
        member = _MEMBERS[opening[2], min(len(opening[1]), 2)]
        return Found(name.begin, opening.end(), opening.end(), member)
    assigned = _ASSIGNED.match(text, after, end)
    if assigned is None:
        return None
    return Found(name.begin, assigned.start("value"), assigned.end(), _ASSIGNED_MORE)
