"""Exports: what a list shows, with the same filters, as a file of any length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from perimeter_plugin_live_trace.queries import exports as ask_exports
from perimeter_plugin_live_trace.queries.exports import FORMATS, Record
from perimeter_plugin_live_trace.web.page import Ask, Download, NotFound, Refused, page
from perimeter_plugin_live_trace.web.pages import exported


@page("/export/{name}", template="pages/connect.html")
def export(ask: Ask) -> Download:
    """
    Write sessions, events or findings as JSONL, CSV or JSON.

    Raises:
        NotFound: There is no such list, or no such format.
        Refused: A filter can't be understood; without it there would be more than was meant.
    """
    what, _, form = ask.path["name"].partition(".")
    form = "json" if ask.json else form
    if what not in exported.LISTS or form not in FORMATS:
        raise NotFound("Exports are sessions, events and findings, as .jsonl, .csv or .json.")
    listed = exported.LISTS[what](ask)
    if ask.params.problems:
        raise Refused("Nothing was exported. " + " ".join(ask.params.problems))
    records = _records(listed)
    pieces = ask_exports.written(records, form, listed.columns)
    return Download(f"perimeter-{what}.{form}", FORMATS[form], pieces)


def _records(listed: exported.Listed) -> Iterator[list[Record]]:
    for rows in listed.batches:
        yield [_record(listed, row) for row in rows]


def _record(listed: exported.Listed, row: Any) -> Record:
    return listed.record(row)


routes = (export,)
