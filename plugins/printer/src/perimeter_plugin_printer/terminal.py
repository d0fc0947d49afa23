"""Lines for people: coloured, and never wider than the terminal."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime
from itertools import cycle
from typing import TextIO

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from perimeter_plugin_printer.line import SESSION_STYLE, Field, Line
from perimeter_plugin_printer.text import escape


_GAP = "  "
_SIGN_CELLS = 2
_LEAST_ELASTIC = 20
_BODY_INDENT = " " * 13
_BODY_EDGE = "│ "
_LEAST_BODY = 16

_SESSIONS_REMEMBERED = 4096
_FEW_COLORS = (
    *("cyan", "magenta", "yellow", "green", "blue"),
    *("bright_cyan", "bright_magenta", "bright_yellow", "bright_green", "bright_blue"),
)
_MANY_COLORS = tuple(
    f"color({number})" for number in (39, 208, 41, 170, 178, 44, 141, 203, 107, 205, 137, 69)
)
"""Of the 256; all can be read on black and on white. Neighbours are unlike each other."""

_Piece = tuple[str, str]
"""A text and its style."""

_Shown = tuple[Field, str]
"""A field, and what is shown of it."""


class Terminal:
    """Lines for people. What the terminal can do is up to rich."""

    def __init__(self, stream: TextIO, *, color: bool, width: int | None) -> None:
        """
        Prepare for a terminal.

        Args:
            stream: The terminal; it is only asked what it can do.
            color: Whether there are colours.
            width: Width in cells, or None to follow the terminal's.
        """
        self._console = Console(file=stream, force_terminal=True, width=width)
        self._color = color and self._console.color_system is not None
        many = self._console.color_system in {"256", "truecolor"}
        self._system = ColorSystem.EIGHT_BIT if many else ColorSystem.STANDARD
        self._palette = cycle(_MANY_COLORS if many else _FEW_COLORS)
        self._colors: OrderedDict[str, str] = OrderedDict()

    def render(self, line: Line) -> str:
        """Return the line as text that ends with a newline; its body follows on further lines."""
        width = self._console.width
        rows = [_head(line, width), *_body(line.body, width)]
        own = self._color_of(line.session)
        return "".join(f"{''.join(self._colored(piece, own) for piece in row)}\n" for row in rows)

    def _colored(self, piece: _Piece, own: str) -> str:
        text, style = piece
        if style == SESSION_STYLE:
            style = own
        if not self._color or not style:
            return text
        return Style.parse(style).render(text, color_system=self._system)

    def _color_of(self, session: str) -> str:
        """Return a session's colour: the next one for a new session, so that neighbours differ."""
        if not session or not self._color:
            return ""
        if session not in self._colors:
            if len(self._colors) >= _SESSIONS_REMEMBERED:
                self._colors.popitem(last=False)
            self._colors[session] = next(self._palette)
        self._colors.move_to_end(session)
        return self._colors[session]


def _head(line: Line, width: int) -> list[_Piece]:
    sign = (set_cell_size(line.sign, _SIGN_CELLS), line.style)
    pieces = [(_clock(line.at), "dim"), (" ", ""), sign]
    room = width - sum(cell_len(text) for text, _ in pieces) - 1
    fields = [(field, escape(field.human)) for field in line.fields if field.human]
    gap = " "
    for field, shown in _fitted(_kept(fields, room), room):
        pieces += [(gap, ""), (shown, field.style)]
        gap = _GAP
    return _cut(pieces, width)


def _cut(pieces: list[_Piece], width: int) -> list[_Piece]:
    """Cut off what does not fit at the end, with an ellipsis."""
    if sum(cell_len(text) for text, _ in pieces) <= width:
        return pieces
    room = width - 1
    kept: list[_Piece] = []
    for text, style in pieces:
        fitting = min(cell_len(text), room)
        kept.append((set_cell_size(text, fitting), style))
        room -= fitting
    return [*kept, ("…", "")]


def _kept(fields: list[_Shown], room: int) -> list[_Shown]:
    """Leave out what is expendable, from the left, until the rest can be made to fit."""
    kept = list(fields)
    for field in fields:
        if _cells(kept, elastic_at_most=_LEAST_ELASTIC) <= room:
            break
        if field[0].expendable:
            kept.remove(field)
    return kept


def _fitted(fields: list[_Shown], room: int) -> Iterator[_Shown]:
    """Shorten what may be shortened, from the left, until all of it fits."""
    excess = _cells(fields) - room
    for field, shown in fields:
        fitted = shown
        if field.elastic and excess > 0:
            fitted = shorten(shown, max(_LEAST_ELASTIC, cell_len(shown) - excess))
            excess -= cell_len(shown) - cell_len(fitted)
        yield field, fitted


def _cells(fields: list[_Shown], elastic_at_most: int = sys.maxsize) -> int:
    """Return how wide these fields are, gaps included."""
    widths = [
        min(cell_len(shown), elastic_at_most if field.elastic else sys.maxsize)
        for field, shown in fields
    ]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def shorten(text: str, cells: int) -> str:
    """Return `text` in at most this many cells, with an ellipsis where something is missing."""
    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, max(0, cells - 1)).rstrip() + "…"


def _body(body: str, width: int) -> list[list[_Piece]]:
    room = max(_LEAST_BODY, width - len(_BODY_INDENT) - len(_BODY_EDGE))
    edge = (_BODY_INDENT + _BODY_EDGE, "dim")
    return [
        [edge, (piece, "")]
        for row in body.splitlines()
        for piece in chop_cells(escape(row), room) or [""]
    ]


def _clock(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp).astimezone().strftime("%H:%M:%S")
