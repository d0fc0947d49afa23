"""How the dashboard, its database and the stream from the proxy do."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Blob, Call, Event, Finding, Session


LAG_AMBER_US, LAG_RED_US = 2_000_000, 10_000_000
WAL_AMBER, WAL_RED = 64 * 1024**2, 512 * 1024**2
DISK_AMBER, DISK_RED = 2 * 1024**3, 256 * 1024**2


class Store(msgspec.Struct, frozen=True):
    """
    The database.

    Attributes:
        path: Its file.
        size: Bytes on disk, the log included.
        wal: Bytes of the log.
        free: Bytes that are free on that disk; None where it can't be told.
        rows: How many rows there are about, by what they are.
    """

    path: str
    size: int
    wal: int
    free: int | None
    rev: int
    rows: dict[str, int]
    oldest_us: int | None
    newest_us: int | None


class Check(msgspec.Struct, frozen=True):
    """One thing that is watched: `tone` is `ok`, `medium` or `critical`."""

    name: str
    value: str
    tone: str
    about: str


def store(reader: Reader) -> Store:
    """Return how large the database is and what is in it."""
    rows = {
        name: reader.value(model.select(fn.MAX(model.id)), 0) or 0
        for name, model in (("events", Event), ("calls", Call), ("blobs", Blob))
    }
    first = reader.value(Session.select(fn.MIN(Session.started_us)))
    last = reader.value(Session.select(fn.MAX(Session.last_us)))
    return Store(
        path=str(reader.path),
        size=reader.size(),
        wal=_size(reader, "-wal"),
        free=_free(reader),
        rev=reader.rev(),
        rows=_counted(reader, rows),
        oldest_us=first,
        newest_us=last,
    )


def _counted(reader: Reader, newest: dict[str, int]) -> dict[str, int]:
    """Return how many rows there are; those deleted at the begin are taken off, not counted."""
    found = {"sessions": reader.value(Session.select(fn.COUNT(Session.id)), 0)}
    for name, model in (("events", Event), ("calls", Call), ("blobs", Blob)):
        first = reader.value(model.select(fn.MIN(model.id)), 0) or 0
        found[name] = max(0, newest[name] - first + 1) if newest[name] else 0
    found["findings"] = reader.value(Finding.select(fn.MAX(Finding.id)), 0) or 0
    return found


def _size(reader: Reader, suffix: str) -> int:
    try:
        return reader.path.with_name(reader.path.name + suffix).stat().st_size
    except OSError:
        return 0


def _free(reader: Reader) -> int | None:
    try:
        return shutil.disk_usage(reader.path.parent).free
    except OSError:
        return None


def tone(value: float, amber: float, red: float) -> str:
    """Return how bad a value is, where larger ones are worse."""
    return "critical" if value >= red else "medium" if value >= amber else "ok"


def overall(tones: list[str]) -> str:
    """Return `ok`, `degraded` or `failing` for some tones."""
    if "critical" in tones:
        return "failing"
    return "degraded" if "medium" in tones else "ok"


def facts(site: Any) -> dict[str, Any]:
    """Return what the process says of itself, such as its pid and memory."""
    return dict(site.facts)
