"""
Pages of lists: rows after or before a place, never counted, never skipped over.

A place is the values of the columns that a list is sorted by, the row's id last, so that no two
rows share one. A page costs the same wherever it is. Its cursor is that place as base64url: opaque,
not secret, and checked, because anybody can write one into an address.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import msgspec
from peewee import SQL, Select, Tuple, fn

from perimeter_plugin_live_trace.store import Reader


MOST_COUNTED = 10_000
"""Rows that are counted; more are "10,000+"."""

Value = int | float | str
_decode = msgspec.json.Decoder(list[Value]).decode


class Asked(Protocol):
    """The parameters of an address, see `web.page.Params`."""

    problems: list[str]

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter."""


@attrs.frozen
class Place:
    """
    Where a page begins.

    Attributes:
        values: Of the sorted columns, in their order.
        back: Whether the page ends before it, instead of beginning after it.
    """

    values: tuple[Value, ...]
    back: bool = False


class Page(msgspec.Struct, frozen=True):
    """
    A page of a list.

    Attributes:
        rows: As the query has them.
        prev: Cursor of the page before, "" for none.
        next: Cursor of the page after, "" for none.
        size: Rows at most.
    """

    rows: list[Any] = []
    prev: str = ""
    next: str = ""
    size: int = 0


class Count(msgspec.Struct, frozen=True):
    """How many rows there are; `more` says that there are more than were counted."""

    number: int
    more: bool = False

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.number:,}{'+' if self.more else ''}"


def cursor(values: Sequence[Value]) -> str:
    """Return a place as text for an address."""
    return urlsafe_b64encode(msgspec.json.encode(list(values))).decode().rstrip("=")


def read_cursor(text: str, kinds: Sequence[type]) -> tuple[Value, ...] | None:
    """Return the place that a text stands for; None where it is none of such columns."""
    try:
        values = _decode(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return None
    fits = len(values) == len(kinds) and all(map(_fits, values, kinds))
    return tuple(values) if fits else None


def _fits(value: Value, kind: type) -> bool:
    return isinstance(value, kind) and not (isinstance(value, int) and abs(value) >= 2**63)


def place(asked: Asked, kinds: Sequence[type]) -> Place | None:
    """Return where the address wants its page to begin; a forged cursor becomes a problem."""
    for name, back in (("after", False), ("before", True)):
        text = asked.text(name)
        if not text:
            continue
        values = read_cursor(text, kinds)
        if values is not None:
            return Place(values, back)
        asked.problems.append(f"“{name}” is no place in this list, so its beginning is shown.")
    return None


def page(
    reader: Reader,
    query: Any,
    keys: Sequence[Any],
    *,
    at: Place | None = None,
    size: int = 50,
    down: bool = True,
) -> Page:
    """
    Return a page.

    Args:
        reader: The database.
        query: Without order; it selects all of `keys`.
        keys: The columns that it is sorted by, the id last; an index has them in this order.
        at: Where it begins; None for the first page.
        size: Rows at most.
        down: Whether the largest come first.
    """
    back = at is not None and at.back
    rows = reader.rows(ordered(query, keys, at, down=down).limit(size + 1))
    more, rows = len(rows) > size, rows[:size]
    if back and not more:  # the beginning: show a full page of it
        return page(reader, query, keys, size=size, down=down)
    if back:
        rows.reverse()
    if not rows:
        # Nothing follows any more, perhaps because it was deleted: lead back.
        return Page([], cursor(at.values) if at else "", "", size)
    return Page(
        rows,
        cursor(_values(rows[0], keys)) if at is not None else "",
        cursor(_values(rows[-1], keys)) if more or back else "",
        size,
    )


def ordered(query: Any, keys: Sequence[Any], at: Place | None, *, down: bool) -> Any:
    """Return a query in the order of its keys, from a place on."""
    down = down != (at is not None and at.back)
    if at is not None:
        # One comparison of rows is one range of an index, in SQLite as in PostgreSQL.
        here, there = Tuple(*keys), Tuple(*at.values)
        query = query.where(here < there if down else here > there)
    return query.order_by(*(key.desc() if down else key.asc() for key in keys))


def _values(row: Any, keys: Sequence[Any]) -> list[Value]:
    return [getattr(row, key.column_name) for key in keys]


def capped_count(reader: Reader, query: Any, most: int = MOST_COUNTED) -> Count:
    """Return how many rows a query finds, counted up to a limit."""
    some = query.select(SQL("1")).limit(most + 1).alias("some")
    number = int(reader.value(Select((some,), (fn.COUNT(SQL("*")),)), 0))
    return Count(min(number, most), number > most)
