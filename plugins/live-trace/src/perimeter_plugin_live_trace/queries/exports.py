"""
Everything that a list shows, as a file: walked by key in steps, so that memory stays flat.

Values are as they are stored, which is masked. Times are ISO 8601 in UTC. Cells of CSV that a
spreadsheet would run as a formula get a `'` in front.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from peewee import Tuple


STEP = 1000
"""Rows that are read at a time."""
FORMATS = {
    "jsonl": "application/x-ndjson; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Record = dict[str, Any]
Fetch = Callable[[Any], list[Any]]


def iso(us: int | None) -> str | None:
    """Return a time as ISO 8601 in UTC; None where there is none."""
    if us is None:
        return None
    try:
        moment = _EPOCH + timedelta(microseconds=us)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cell(value: object) -> str:
    """Return a value for a cell of CSV, of which no spreadsheet makes a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)  # also a negative number, which is no formula
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def written(records: Iterator[list[Record]], form: str, columns: list[str]) -> Iterator[bytes]:
    """Return batches of records as a file of one of `FORMATS`, piece by piece."""
    if form == "csv":
        return _csv(records, columns)
    return _jsonl(records) if form == "jsonl" else _json(records)


def _jsonl(batches: Iterator[list[Record]]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode_lines
    for batch in batches:
        if batch:
            yield encode(batch)


def _json(batches: Iterator[list[Record]]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    yield b"["
    between = b"\n"
    for batch in batches:
        for record in batch:
            yield between + encode(record)
            between = b",\n"
    yield b"\n]\n"


def _csv(batches: Iterator[list[Record]], columns: list[str]) -> Iterator[bytes]:
    yield _lines([columns])
    for batch in batches:
        if batch:
            yield _lines([[cell(record.get(name)) for name in columns] for record in batch])


def _lines(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def walk(fetch: Callable[[Any], Any], key: Any, identity: Any, query: Any) -> Iterator[list[Any]]:
    """
    Yield the rows of a query in steps, the largest key first; each row once.

    Args:
        fetch: What runs a query, `Reader.rows`.
        key: The column that is walked along; with `identity` it is an index.
        identity: The row's id.
        query: The query, without order; it selects both.
    """
    after: tuple[Any, Any] | None = None
    while True:
        step = query
        if after is not None:  # one comparison of rows is one range of an index
            step = query.where(Tuple(key, identity) < Tuple(*after))
        rows = fetch(step.order_by(key.desc(), identity.desc()).limit(STEP))
        if rows:
            yield rows
        if len(rows) < STEP:
            return
        after = (getattr(rows[-1], key.column_name), getattr(rows[-1], identity.column_name))
