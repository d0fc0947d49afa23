"""Saved views: addresses of the list of sessions that somebody gave a name."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Document


KIND = "view"
"""Of the documents that they are kept as."""
MOST = 50
LONGEST_NAME = 60
_LONGEST = 2000


class SavedView(msgspec.Struct, frozen=True):
    """
    A saved view.

    Attributes:
        name: What it is called.
        query: The query of its address, such as `q=cost%3A%3E1&sort=-cost`.
    """

    name: str
    query: str


def saved(reader: Reader) -> list[SavedView]:
    """Return all saved views by name."""
    query = Document.select(Document.key, Document.body).where(Document.kind == KIND)
    found = [
        (row[0], _query(row[1])) for row in reader.rows(query.order_by(Document.key).limit(MOST))
    ]
    return [SavedView(name, text) for name, text in found]


def _query(body: str) -> str:
    try:
        return msgspec.json.decode(body, type=dict[str, str]).get("query", "")[:_LONGEST]
    except msgspec.MsgspecError:
        return ""
