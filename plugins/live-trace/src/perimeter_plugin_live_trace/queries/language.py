"""
The query language of lists: `refund "charged twice" agent:support-* cost:>0.10 -status:done`.

Words and phrases are looked for in what was said; `key:value` filters; `-` in front negates. What
can't be understood becomes a message for people, with a suggestion, and is left out: reading a
query never fails.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Literal

import msgspec


LONGEST = 500
"""Characters of a query that are read."""
MOST_TERMS = 30

Kind = Literal["text", "number", "money", "duration", "severity", "status", "has", "tag"]

KEYS: dict[str, Kind] = {
    "agent": "text",
    "model": "text",
    "tool": "text",
    "tag": "tag",
    "status": "status",
    "sev": "severity",
    "cost": "money",
    "tokens": "number",
    "dur": "duration",
    "errors": "number",
    "turns": "number",
    "has": "has",
    "owasp": "text",
    "id": "text",
    "workflow": "text",
    "run": "text",
}
"""What can be filtered by, and what its values are."""
ALIASES = {
    "severity": "sev",
    "duration": "dur",
    "session": "id",
    "calls": "turns",
    "error": "errors",
}
STATUSES = ("active", "done", "stalled", "error")
SEVERITIES = ("none", "low", "medium", "high", "critical")
HAVING = ("pii", "findings", "errors", "tags", "tools", "rewrites", "replays")

_TERM = re.compile(
    r"""
    (?P<not>-)?
    (?: (?P<key>[^\W\d][\w-]*) : (?!//)
        (?: "(?P<quoted>[^"]*)"? | (?P<value>\S*) )
      | "(?P<phrase>[^"]*)"?
      | (?P<word>\S+)
    )
    """,
    re.VERBOSE,
)
_AMOUNT = re.compile(
    r"(?P<op>>=|<=|>|<|=)?\$?(?P<number>\d{1,15}(?:\.\d{1,9})?|\.\d{1,9})(?P<unit>[a-zµ]*)",
    re.IGNORECASE,
)
_COUNTS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_SPANS = {"": 1_000_000, "us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "sec": 1_000_000,
          "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}  # fmt: skip
_LARGEST = 2**62


class Term(msgspec.Struct, frozen=True):
    """
    A part of a query.

    Attributes:
        key: One of `KEYS`; "" for words.
        value: Its text: the words, the name, `key=value` of a tag.
        op: How a number is compared: `=`, `>`, `>=`, `<`, `<=`.
        number: In the unit of the column: a count, billionths of a dollar, microseconds, 0 to 4.
        negated: Whether it must not be so.
        phrase: Whether the words belong together.
        source: As it was typed.
    """

    key: str
    value: str = ""
    op: str = "="
    number: int = 0
    negated: bool = False
    phrase: bool = False
    source: str = ""


class Query(msgspec.Struct, frozen=True):
    """
    What somebody typed, understood.

    Attributes:
        terms: What must be true, all of it.
        problems: What was not understood, for people.
    """

    terms: tuple[Term, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """The words and phrases that must be there, as `store.search.match_query` reads them."""
        wanted = [term for term in self.terms if not term.key and not term.negated]
        return " ".join(f'"{term.value}"' if term.phrase else term.value for term in wanted)

    def without(self, term: Term) -> str:
        """Return the query as it is typed without one of its terms."""
        return " ".join(each.source for each in self.terms if each is not term)


class _Misread(ValueError):
    """A value is none of its key; the message says what it has to be."""


def parse(text: str) -> Query:
    """Return what somebody typed as a query. Never raises."""
    terms: list[Term] = []
    problems: list[str] = []
    for found in _TERM.finditer(text[:LONGEST]):
        if len(terms) >= MOST_TERMS:
            problems.append(f"Only the first {MOST_TERMS} parts of the query are used.")
            break
        try:
            term = _term(found)
        except _Misread as problem:
            problems.append(str(problem))
            continue
        if term is not None:
            terms.append(term)
    return Query(tuple(terms), tuple(dict.fromkeys(problems)))


def _term(found: re.Match[str]) -> Term | None:
    negated, source = found["not"] is not None, found[0]
    if found["key"] is None:
        value = found["phrase"] if found["word"] is None else found["word"]
        if not value or not re.search(r"\w", value):
            return None
        return Term("", value.replace('"', " "), negated=negated, phrase=found["word"] is None,
                    source=source)  # fmt: skip
    key = _key(found["key"].lower())
    value = found["quoted"] if found["value"] is None else found["value"]
    op, value, number = _value(key, value)
    return Term(key, value, op, number, negated, source=source)


def _key(name: str) -> str:
    key = ALIASES.get(name, name)
    if key in KEYS:
        return key
    near = get_close_matches(name, [*KEYS, *ALIASES], 1, 0.5)
    hint = f" Did you mean “{near[0]}:”?" if near else f" There are {', '.join(KEYS)}."
    message = f"There is no filter “{name[:40]}:”.{hint} Quotes search for the words themselves."
    raise _Misread(message)


def _value(key: str, value: str) -> tuple[str, str, int]:
    """Return operator, text and number of a filter's value."""
    kind = KEYS[key]
    if not value:
        message = f"“{key}:” needs a value, such as {EXAMPLES[key]}."
        raise _Misread(message)
    if kind in {"number", "money", "duration"}:
        return _amount(key, kind, value)
    if kind == "severity":
        op = next((each for each in (">=", "<=", ">", "<", "=") if value.startswith(each)), "")
        word = _word(key, value.removeprefix(op), SEVERITIES)
        return op or "=", word, SEVERITIES.index(word)
    if kind in {"status", "has"}:
        return "=", _word(key, value, STATUSES if kind == "status" else HAVING), 0
    return "=", value.upper() if key == "owasp" else value, 0


def _amount(key: str, kind: Kind, value: str) -> tuple[str, str, int]:
    found = _AMOUNT.fullmatch(value)
    units = {"number": _COUNTS, "money": {"": 1_000_000_000}, "duration": _SPANS}[kind]
    factor = units.get(found["unit"].lower()) if found else None
    if found is None or factor is None:
        message = (
            f"“{key}:” is compared with a number, such as {EXAMPLES[key]}, not “{value[:40]}”."
        )
        raise _Misread(message)
    number = min(round(float(found["number"]) * factor), _LARGEST)
    return found["op"] or "=", value, number


def _word(key: str, value: str, words: tuple[str, ...]) -> str:
    if value.lower() in words:
        return value.lower()
    near = get_close_matches(value.lower(), words, 1, 0.5)
    hint = f" Did you mean “{near[0]}”?" if near else ""
    message = f"“{key}:” is one of {', '.join(words)}, not “{value[:40]}”.{hint}"
    raise _Misread(message)


EXAMPLES: dict[str, str] = {
    "agent": "agent:support-triage or agent:support-*",
    "model": "model:gpt-4.1 or model:claude-*",
    "tool": "tool:web_search",
    "tag": "tag:env=prod",
    "status": "status:error",
    "sev": "sev:>=high",
    "cost": "cost:>0.10",
    "tokens": "tokens:>10k",
    "dur": "dur:>30s",
    "errors": "errors:>0",
    "turns": "turns:>=5",
    "has": "has:pii",
    "owasp": "owasp:LLM01",
    "id": "id:session-7",
    "workflow": "workflow:helpdesk",
    "run": "run:run-7",
}
"""For help, and for messages."""
