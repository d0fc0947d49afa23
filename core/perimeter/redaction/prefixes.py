"""
Keys that begin with a prefix of their issuer's.

The shapes are what issuers document for their keys, or let scanners look for, as of 2026. A body
is asked to be long, and of few kinds of characters, so that names in ordinary text, such as those
that begin with "sk-learn", are none.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from functools import cache

import attrs

from perimeter.redaction.found import BOUNDARY, HOLD, Found, run_start


_TOKEN = "[A-Za-z0-9_-]"  # noqa: S105 - a kind of characters
_DOTTED = "[A-Za-z0-9_.~+/=-]"
_RUN = string.ascii_letters + string.digits + "_.~+/=-"


@attrs.frozen
class Prefix:
    """
    A prefix of keys.

    Attributes:
        text: It.
        body: Pattern of as much after it as makes it a key; of bounded length. What its first
            group matches, if it has one, is shown like the prefix.
        more: Pattern of one further character of the key.
    """

    text: str
    body: str
    more: str = _TOKEN


def _all(texts: str, body: str, more: str = _TOKEN) -> tuple[Prefix, ...]:
    return tuple(Prefix(text, body, more) for text in texts.split())


_LETTERS = "[A-Za-z0-9]{20}"
_ANY = "[A-Za-z0-9_-]{20}"
_HEX = "[0-9a-f]{32}"
_WEB_TOKEN = "[A-Za-z0-9_.-]"  # noqa: S105 - a kind of characters

_KINDS = r"(?:proj|svcacct|admin|None|ant(?>(?:-[a-z]{2,12}[0-9]{0,3}(?=-))?)|or-v[0-9]|lf)-"
_SK = (
    # OpenAI, Anthropic, OpenRouter, Langfuse: an unmistakable prefix, then any characters.
    rf"({_KINDS})[A-Za-z0-9_-]{{16}}"
    # Others, and old keys of OpenAI's: a long unbroken part, soon with a digit or capital in it.
    rf"|(?!{_KINDS})(?:(?=[a-z_-]{{0,23}}[0-9A-Z])(?:[A-Za-z0-9]{{0,15}}[_-]){{0,3}}[A-Za-z0-9]{{16}}"
    r"|[A-Za-z0-9]{20})"
)

PREFIXES: tuple[Prefix, ...] = (
    # Providers of models, and what is used around them.
    Prefix("sk-", _SK),
    *_all("gsk_ xai- pplx- hf_ api_org_ r8_ csk- fw_ tgp_v1_ ek_ jina_ e2b_", _LETTERS),
    *_all("nvapi- tvly- pcsk_ lsv2_pt_ lsv2_sk_ bedrock-api-key-", _ANY, _DOTTED),
    # Clouds.
    Prefix("AIza", "[A-Za-z0-9_-]{35}"),
    *_all("AQ.", "[A-Za-z0-9_-]{30}", _WEB_TOKEN),  # Google's, since 2026
    *_all("ya29.", _ANY, _WEB_TOKEN),
    *_all("GOCSPX-", _ANY),
    *_all("AKIA ASIA ABIA ACCA", "[A-Z0-9]{16}"),
    Prefix("ABSK", "[A-Za-z0-9+/]{60}", "[A-Za-z0-9+/=]"),
    *_all("dop_v1_ doo_v1_ dor_v1_ sbp_", _HEX),
    *_all("cfk_ cfut_ cfat_ pscale_tkn_ pscale_pw_ sb_secret_ hvs. hvb.", _ANY),
    # Forges and packages.
    *_all("ghp_ gho_ ghr_", _LETTERS),
    *_all("ghs_ ghu_", "[A-Za-z0-9_.]{20}", _WEB_TOKEN),  # since 2026 a JSON Web Token
    *_all("github_pat_", "[A-Za-z0-9_]{20}"),
    *_all("glpat- gldt- glrt- glptt- glft- glimt- glagent- gloas- glsoat-", _ANY, _WEB_TOKEN),
    *_all("npm_", "[A-Za-z0-9]{30}"),
    *_all("pypi-", "[A-Za-z0-9_-]{50}"),
    *_all("dckr_pat_ dckr_oat_", _ANY),
    *_all("rubygems_", _HEX),
    # Services.
    *_all("xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-", "(?=[A-Za-z-]{0,15}[0-9])" + _ANY),
    *_all("sk_live_ sk_test_ rk_live_ rk_test_ whsec_", "[A-Za-z0-9]{16}"),
    *_all("SG.", r"[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16}"),
    *_all("SK key-", _HEX),  # Twilio, Mailgun
    *_all("lin_api_ lin_oauth_ ntn_ glc_ glsa_ sntrys_ sntryu_", _LETTERS, _DOTTED),
    *_all("figd_ PMAK- ATATT3 ATCTT3 NRAK- HRKU-", _ANY, _DOTTED),
    *_all("shpat_ shpca_ shppa_ shpss_", "[0-9a-fA-F]{32}"),
    # JSON Web Tokens: header and payload are objects in Base64, which begin with {".
    Prefix("eyJ", r"[A-Za-z0-9_-]{16,400}\.eyJ[A-Za-z0-9_-]{8}", _WEB_TOKEN),
)

_AHEAD = "(?=[A-Za-z0-9_.-]{16})"  # no key is shorter, most words are


@cache
def patterns(prefix: Prefix) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """
    Return the pattern of a whole key, and that of what may follow.

    They are made when they are first needed: there are many, and most never are.
    """
    key = re.compile(f"{BOUNDARY}({re.escape(prefix.text)})(?:{prefix.body})")
    return key, re.compile(f"{prefix.more}*+")


@attrs.frozen
class Gate:
    """
    Looks for a few prefixes by one rare character that all of them have.

    Attributes:
        pattern: Matches around that character; the number of its group tells which prefix it is.
        keys: For each group the prefix, and how far it begins before the match.
    """

    pattern: re.Pattern[str]
    keys: tuple[tuple[Prefix, int], ...]


@attrs.frozen
class Prefixed:
    """
    The rule for keys with a prefix.

    Attributes:
        gates: One for each rare character.
        begun: Matches all that could become a key, up to the end.
    """

    gates: tuple[Gate, ...]
    begun: re.Pattern[str]

    def find(self, text: str, start: int, end: int) -> Iterator[Found]:
        """Yield what begins in a part of a text."""
        for gate in self.gates:
            for hit in gate.pattern.finditer(text, start, end):
                prefix, before = gate.keys[(hit.lastindex or 1) - 1]
                key, more = patterns(prefix)
                match = key.match(text, hit.start() - before, end)
                if match is not None:
                    shown = match.end(match.lastindex or 1)
                    yield Found(match.start(), shown, match.end(), more)

    def unfinished(self, text: str, start: int, end: int) -> int:
        """Return from where on the part could be a key's beginning; `end` if it can't."""
        begin = run_start(text, max(start, end - HOLD), end, _RUN)
        match = self.begun.search(text, begin, end) if begin < end else None
        return end if match is None else match.start()


def _gate(pivot: str, prefixes: Sequence[Prefix]) -> Gate:
    # The longest first: "csk-" ends like "sk-".
    prefixes = sorted(prefixes, key=lambda each: len(each.text), reverse=True)
    first = pivot == prefixes[0].text[0]
    if first:
        ways = "|".join(f"{re.escape(each.text[1:])}()" for each in prefixes)
        pattern = f"{pivot}(?:{ways})(?=[A-Za-z0-9_+/-]{{16}})"
    else:
        ways = "|".join(f"(?<={re.escape(each.text)})()" for each in prefixes)
        pattern = f"{re.escape(pivot)}{_AHEAD}(?:{ways})"
    keys = [(each, 0 if first else len(each.text) - 1) for each in prefixes]
    return Gate(re.compile(pattern), tuple(keys))


def _begun(prefixes: Sequence[Prefix]) -> re.Pattern[str]:
    """Match a part of a prefix, or a prefix with a body, up to the end."""
    parts = {each.text[:length] for each in prefixes for length in range(1, len(each.text))}
    bodies = [f"{re.escape(each.text)}[{re.escape(_RUN)}]*+" for each in prefixes]
    ways = [*bodies, *map(re.escape, sorted(parts, key=len, reverse=True))]
    return re.compile(rf"{BOUNDARY}(?:{'|'.join(ways)})\Z")


def _pivot(prefix: Prefix) -> str:
    """Return the character to look for: a separator or capital at the end, or at the beginning."""
    last = prefix.text[-1]
    return last if last in "-_.J" else prefix.text[0]


def rule() -> Prefixed:
    """Return the rule for all prefixes."""
    groups: dict[str, list[Prefix]] = {}
    for prefix in PREFIXES:
        groups.setdefault(_pivot(prefix), []).append(prefix)
    return Prefixed(tuple(_gate(*group) for group in groups.items()), _begun(PREFIXES))
