"""Finding the lines of keys in a TOML file; the parser itself does not keep them."""

import re

from perimeter.configuration.problems import KeyPath


_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:\\.|[^"\\\n])*)"|'([^'\n]*)')[ \t]*""")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'  # strings first, because they may hold anything
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|(?P<open>[\[{])|(?P<close>[\]}])|(?P<end>\n)"
    r"""|[^"'#\[\]{}\n]+|.""",
    re.DOTALL,
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """Map the path of every table and key that starts a line to that line, counted from 1.

    The text must be valid TOML. Keys inside inline tables are left out: they share their table's
    line or are close.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    position = _skip_blank(text, 0)
    line, counted = 1, 0
    while position < len(text):
        line, counted = line + text.count("\n", counted, position), position
        if text.startswith("[", position):
            table, position = _header(text, position, counts)
            path = table
        else:
            names, position = _names(text, position)
            path = table + names
            position = _after_value(text, position + 1)
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
        position = _skip_blank(text, position)
    return lines


def _skip_blank(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match else position


def _header(text: str, position: int, counts: dict[KeyPath, int]) -> tuple[KeyPath, int]:
    """Read ``[table]`` or ``[[array]]``; an array's position is the newest element's."""
    is_array = text.startswith("[[", position)
    names, position = _names(text, position + (2 if is_array else 1))
    path: KeyPath = ()
    for name in names[:-1]:
        path += (name,)
        path += (counts[path],) if path in counts else ()
    path += names[-1:]
    if is_array:
        counts[path] = counts.get(path, -1) + 1
        path += (counts[path],)
    return path, position + (2 if is_array else 1)


def _names(text: str, position: int) -> tuple[KeyPath, int]:
    """Read a dotted key and stop at what follows it."""
    names: list[str] = []
    while match := _KEY.match(text, position):
        names.append(next(group for group in match.groups() if group is not None))
        position = match.end()
        if not text.startswith(".", position):
            break
        position += 1
    return tuple(names), position


def _after_value(text: str, position: int) -> int:
    """Skip a value up to the end of its line, or of the line on which its last bracket closes."""
    depth = 0
    for match in _TOKEN.finditer(text, position):
        depth += bool(match["open"]) - bool(match["close"])
        if match["end"] and depth <= 0:
            return match.end()
    return len(text)
