"""One page of a list, as the address and the reader's preferences ask for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from peewee import TextField

from perimeter_plugin_live_trace.queries.paging import Page, page, place
from perimeter_plugin_live_trace.web.page import Ask


__all__ = ["Page", "paged"]


def paged(ask: Ask, query: Any, keys: Sequence[Any], sort: str) -> tuple[list[Any], Page]:
    """
    Return rows, and the cursors to go on from.

    Args:
        ask: What is asked.
        query: Without order; it selects the keys.
        keys: The columns that are sorted by, the row's id last.
        sort: With `-` in front for the largest first.
    """
    at = place(ask.params, [str if isinstance(key, TextField) else int for key in keys])
    down = sort.startswith("-")
    found = page(ask.reader, query, keys, at=at, size=ask.prefs.page_size, down=down)
    return found.rows, msgspec.structs.replace(found, rows=[])
