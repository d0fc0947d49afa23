"""What a line consists of. How it looks is not decided here."""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

from perimeter.redaction import HOLD, excerpt


SESSION_STYLE = "session"
"""The style of what shows a session: each one has a colour of its own."""

_LONGEST_NAME = 200
_OWN_ID = re.compile("ses-[0-9a-f]{16}")
_SHORT_ID = len("ses-") + 8


@attrs.define
class Field:
    """
    One thing that a line says.

    Attributes:
        key: Its name in plain lines; "" leaves it out there.
        value: Its value in plain lines; not escaped yet.
        human: What a terminal shows, "" for nothing; not escaped yet.
        style: How a terminal shows it.
        elastic: Whether it is shortened first where a line is too long for the terminal.
        expendable: Whether it is left out where that is not enough.
    """

    key: str
    value: str
    human: str
    style: str = ""
    elastic: bool = False
    expendable: bool = False


@attrs.define
class Line:
    """
    One line, and perhaps a text below it.

    Attributes:
        at: When it happened; Unix time, seconds.
        sign: A symbol that says what it is about.
        word: The same for people who search.
        style: How a terminal shows the sign.
        fields: What there is to say, in order.
        body: A longer text, or "".
        session: The id of the session it is about, or "".
    """

    at: float
    sign: str
    word: str
    style: str
    fields: list[Field]
    body: str = ""
    session: str = ""


def short(value: object) -> str:
    """Return a short text from outside, such as a model's name, masked and of limited length."""
    return _masked(str(value)[: _LONGEST_NAME + HOLD])


@lru_cache(maxsize=2048)
def _masked(text: str) -> str:
    """Mask a name; the same few come again and again."""
    return excerpt(text, _LONGEST_NAME)


def counted(key: str, count: int, noun: str) -> Field:
    """Return a field such as `3 events`."""
    return Field(key, str(count), f"{count} {noun}{'s' * (count != 1)}", expendable=True)


def session_fields(session: str, agent: str) -> list[Field]:
    """
    Return fields that say which conversation a line is about.

    A terminal shows enough of an id that the proxy made up to tell sessions apart, and all that
    fits of an id that a client chose. The agent is left to the line that begins the session.
    """
    if not session:
        return []
    whole = short(session)
    human = whole[:_SHORT_ID] if _OWN_ID.fullmatch(whole) else whole
    fields = [Field("session", whole, human, SESSION_STYLE, elastic=True)]
    if agent:
        fields.append(Field("agent", short(agent), ""))
    return fields
