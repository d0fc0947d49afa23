"""
Which agent a call comes from, told by its system prompt.

An agent is a system prompt. What changes in it from call to call without changing the agent (the
date, the time, an id) is masked before it is hashed; nothing else is, so that "agent 1" and
"agent 2" are two.
"""

from __future__ import annotations

import re
import unicodedata
from collections import OrderedDict
from hashlib import blake2b

import attrs


DEFAULT_AGENT = "prompt-default"
"""The agent of all calls without a system prompt."""


@attrs.frozen
class Agent:
    """
    An agent as its system prompt shows it.

    Attributes:
        id: `prompt-` and twelve hexadecimal digits, or `prompt-default`.
        key: 64 bits of the same digest, 0 for no system prompt.
    """

    id: str
    key: int


def agent_of(system: str) -> Agent:
    """Return the agent that a system prompt stands for; its id does not change with the version."""
    return _AGENTS.get(system)


class AgentCache:
    """
    The agents of the system prompts seen last.

    Attributes:
        characters: Of all prompts that are kept.
    """

    def __init__(self, max_prompts: int = 4096, max_characters: int = 8 * 1024 * 1024) -> None:
        """
        Make an empty one.

        Args:
            max_prompts: Most prompts to keep.
            max_characters: Most characters they may have together.
        """
        self._max_prompts = max_prompts
        self._max_characters = max_characters
        self._agents: OrderedDict[str, Agent] = OrderedDict()
        self.characters = 0

    def __len__(self) -> int:
        return len(self._agents)

    def get(self, system: str) -> Agent:
        """Return the agent of a system prompt."""
        agent = self._agents.get(system)
        if agent is not None:
            self._agents.move_to_end(system)
            return agent
        agent = identify(system)
        if len(system) > self._max_characters:
            return agent
        self._agents[system] = agent
        self.characters += len(system)
        while len(self._agents) > self._max_prompts or self.characters > self._max_characters:
            self.characters -= len(self._agents.popitem(last=False)[0])
        return agent


def identify(system: str) -> Agent:
    """Work out the agent of a system prompt, in time linear in its length."""
    text = normalised(system)
    if not text:
        return Agent(DEFAULT_AGENT, 0)
    # Half a surrogate pair is not text, but JSON may hold it.
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return Agent(f"prompt-{digest.hexdigest()[:12]}", int.from_bytes(digest.digest(), "big"))


def normalised(system: str) -> str:
    """Return a system prompt as it is hashed: composed, single-spaced, volatile pieces masked."""
    text = " ".join(_composed(system).split())
    if len(text) <= 2 * MASK_REACH:
        return _masked(text)
    return _masked(text[:MASK_REACH]) + text[MASK_REACH:-MASK_REACH] + _masked(text[-MASK_REACH:])


MASK_REACH = 128 * 1024
"""Where a prompt is longer than twice this, only so much of either end is searched for dates."""

# Putting combining marks in order takes the square of their number, so text with a long run of what
# is no letter, digit or space stays as it came.
_MARKS = re.compile(r"[^\w\s\x00-\x7f]{64}")


def _composed(text: str) -> str:
    if text.isascii() or _MARKS.search(text):
        return text
    return unicodedata.normalize("NFC", text)


def _masked(text: str) -> str:
    for pattern, mask in _VOLATILE:
        text = pattern.sub(mask, text)
    return text


# No pattern repeats without a bound but the run of digits, which nothing follows: so each takes
# linear time. Each begins with a set of characters or \b, which the engine looks for quickly, and
# only then looks back for the beginning of a word. Replacements are constant, because a megabyte of
# dates would mean 100,000 calls of a function.
_WORD = r"(?<![0-9A-Za-z].)"
_HEX = "[0-9A-Fa-f]"
_UUID = rf"{_HEX}{_WORD}{_HEX}{{7}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}(?!{_HEX})"

_ZONE = r"(?: ?(?:Z|UTC|GMT|[+-][01][0-9]:?[0-5][0-9])(?![0-9A-Za-z]))?"
_HALF = r"(?: ?(?:[AaPp][Mm]|[ap]\.m\.)(?![0-9A-Za-z]))?"
_FROM_MINUTES = rf":[0-5][0-9](?::[0-6][0-9](?:[.,][0-9]{{1,9}})?)?{_HALF}{_ZONE}(?!:?[0-9])"
_FROM_YEAR_2 = rf"[0-9]{{3}}-[01][0-9]-[0-3][0-9](?:T[0-2][0-9]{_FROM_MINUTES}|(?![0-9]))"

_MONTH = (
    "(?:J(?:an(?:uary)?|une?|uly?)|Feb(?:ruary)?|Ma(?:r(?:ch)?|y)|A(?:pr(?:il)?|ug(?:ust)?)"
    r"|Sep(?:t(?:ember)?)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)(?![a-z])\.?"
)
_WEEKDAY = (
    "(?:Mon(?:day)?|Tue(?:s(?:day)?)?|Wed(?:nesday)?|Thu(?:r(?:s(?:day)?)?)?|Fri(?:day)?"
    r"|Sat(?:urday)?|Sun(?:day)?)(?![a-z])\.?"
)
_YEAR = r"(?:,?[ -][12][0-9]{3}(?![0-9]))?"
_FROM_DAY_2 = rf"[0-9]?(?:st|nd|rd|th)?[ -](?=[ADFJMNOSo])(?:of )?{_MONTH}{_YEAR}"
_FROM_MONTH = rf"{_MONTH}[ -][0-3]?[0-9](?:st|nd|rd|th)?(?![0-9A-Za-z:]){_YEAR}"
_THEN_WEEKDAY = rf"(?:,? \(?{_WEEKDAY}\)?)?"
_WORDS = (
    rf"\b(?=[ADFJMNOSTW])(?:{_WEEKDAY},? (?:{_FROM_MONTH}|[0-9](?:{_FROM_DAY_2}|{_FROM_YEAR_2}))"
    rf"|{_FROM_MONTH}){_THEN_WEEKDAY}"
)
_DIGITS = (
    rf"[0-9](?<![0-9].)(?:{_FROM_YEAR_2}{_THEN_WEEKDAY}|{_WORD}{_FROM_DAY_2}{_THEN_WEEKDAY}"
    rf"|(?<![A-Za-z.:].)[0-9]?{_FROM_MINUTES}|[0-9]{{7,}})"
)

_VOLATILE = [
    (re.compile(pattern, re.ASCII), mask)
    # The first digits of an id must not be taken for something else.
    for pattern, mask in ((_UUID, "<uuid>"), (_WORDS, "<time>"), (_DIGITS, "<time>"))
]

_AGENTS = AgentCache()
