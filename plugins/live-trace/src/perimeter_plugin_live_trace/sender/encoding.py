"""Records as frames, whatever plugins have put into their events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import attrs
import msgspec

from perimeter_plugin_live_trace.records import Happened, Record, frame


TOGETHER = 500
"""Records in a frame."""


def frames(records: Sequence[Record]) -> tuple[list[bytes], list[Exception]]:
    """Return records as frames, and why some could not be written."""
    made: list[bytes] = []
    failed: list[Exception] = []
    for some in _portions(records):
        try:
            made.append(frame(some))
        except Exception:  # noqa: BLE001 - found out one by one
            _one_by_one(some, made, failed)
    return made, failed


def _one_by_one(records: Sequence[Record], made: list[bytes], failed: list[Exception]) -> None:
    for record in records:
        try:
            made.append(frame([_plain(record)]))
        except Exception as error:  # noqa: BLE001 - told, and the others go on
            failed.append(error)


def _plain(record: Record) -> Record:
    """Return an event of which every value can be written: no lone surrogates, no huge numbers."""
    if isinstance(record, Happened):
        return msgspec.structs.replace(record, attributes=_value(record.attributes))
    return record


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_value(str(key)): _value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    if attrs.has(type(value)):
        return _value(attrs.asdict(value))
    return value


def _portions(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    left = iter(records)
    while some := list(islice(left, TOGETHER)):
        yield some
