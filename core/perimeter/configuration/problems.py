"""Collecting what is wrong with a configuration, and saying where it stands."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from perimeter.errors import Problem


KeyPath = tuple[str | int, ...]
"""Where a value stands: names of tables and keys, and positions in arrays."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


class Invalid(Exception):
    """Values that cannot be used; carries a message for each of them with the path to it."""

    def __init__(self, complaints: Iterable[tuple[KeyPath, str]]) -> None:
        self.complaints = tuple(complaints)
        super().__init__(str(self.complaints))

    @classmethod
    def because(cls, message: str) -> "Invalid":
        """Complain about the value at hand."""
        return cls([((), message)])

    def under(self, key: str | int) -> Iterable[tuple[KeyPath, str]]:
        """Give the complaints as seen from the table or array that holds the value."""
        return [((key, *path), message) for path, message in self.complaints]


@attrs.frozen
class Locator:
    """Turns a path into the place where the user wrote the value.

    Attributes:
        file: The file that was read.
        lines: Lines of the paths found in it.
        origins: Names of the flags and variables that set values instead of the file.

    """

    file: str | None = None
    lines: Mapping[KeyPath, int] = attrs.Factory(dict)
    origins: Mapping[KeyPath, str] = attrs.Factory(dict)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """Build the problem for one path."""
        if path in self.origins:
            return Problem(message, key=self.origins[path])
        return Problem(message, file=self.file, key=dotted(path) or None, line=self._line(path))

    def _line(self, path: KeyPath) -> int | None:
        """Find the line of the path, or of the innermost table or array around it that has one."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def dotted(path: KeyPath) -> str:
    """Write a path as TOML does, with positions in brackets: ``server.tokens[2]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else _quoted(part))
    return text


def _quoted(key: str) -> str:
    return json.dumps(key, ensure_ascii=False)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or which there are."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there are: {', '.join(names)}" if names else ""


def kind_of(value: Any) -> str:
    """Name the kind of a value in TOML's words; never the value, it might be a key."""
    kinds: dict[type, str] = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "a table",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
