"""What a line consists of. How it looks is not decided here."""

from __future__ import annotations

import attrs

from perimeter_plugin_printer.redact import excerpt


_LONGEST_NAME = 200


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
    """

    at: float
    sign: str
    word: str
    style: str
    fields: list[Field]
    body: str = ""


def short(value: object) -> str:
    """Return a short text from outside, such as a model's name, masked and of limited length."""
    return excerpt(str(value), _LONGEST_NAME)


def counted(key: str, count: int, noun: str) -> Field:
    """Return a field such as `3 events`."""
    return Field(key, str(count), f"{count} {noun}{'s' * (count != 1)}", expendable=True)
