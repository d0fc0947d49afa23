"""Retention: sessions that are too old or too many are deleted, and their bytes leave the file."""

from __future__ import annotations

import sqlite3
from itertools import product

import attrs

from perimeter_plugin_live_trace.store import deleting
from perimeter_plugin_live_trace.store.rollups import SPANS
from perimeter_plugin_live_trace.store.transaction import Transaction


CHUNK = 200
"""Sessions that one transaction deletes at most."""
_ORPHANS = 2000
"""Events and calls without a session that one transaction deletes at most."""
_FREED = 0.9
"""Where the database is too large, it is made this much of what it may be."""
_PAGES = 4000
"""Pages that are given back to the file system at a time: 16 MB."""
_KEPT_US = {"m": 2 * SPANS["d"], "h": 400 * SPANS["d"]}
"""How long rollups are kept; those of days for ever."""


@attrs.frozen
class Limits:
    """
    What is kept.

    Attributes:
        max_age: Seconds since the last activity of a session; 0 for any age.
        max_sessions: Number of sessions; 0 for any.
        max_size: Bytes of the database; 0 for any.
    """

    max_age: float = 0.0
    max_sessions: int = 0
    max_size: int = 0


@attrs.frozen
class Tidied:
    """
    What was deleted.

    Attributes:
        sessions: How many sessions.
        events: How many events.
        blobs: How many blobs.
        more: Whether there is more to delete.
    """

    sessions: int = 0
    events: int = 0
    blobs: int = 0
    more: bool = False


def tidy(change: Transaction, limits: Limits) -> Tidied:
    """Delete a part of what is too old or too much."""
    ids, reason, more = _surplus(change, limits)
    cutoff = _cutoff(change, limits, ids)
    deleted = deleting.sessions(change, ids, reason)
    orphans = deleting.orphans(change, cutoff, _ORPHANS)
    _rollups(change)
    if limits.max_age:
        deleting.forgotten(change, change.now_us - int(limits.max_age * 1e6))
    return Tidied(
        len(ids),
        deleted.events + orphans.events,
        deleted.blobs + orphans.blobs,
        more or orphans.events + orphans.calls >= _ORPHANS,
    )


def _surplus(change: Transaction, limits: Limits) -> tuple[list[int], str, bool]:
    """Return sessions to delete, why, and whether there are more of them."""
    oldest = "SELECT id FROM sessions {} ORDER BY last_us, id LIMIT ?"
    if limits.max_age:
        before = change.now_us - int(limits.max_age * 1e6)
        query = oldest.format("WHERE last_us < ?")
        ids = [row[0] for row in change.sql(query, (before, CHUNK))]
        if ids:
            return ids, f"older than {_days(limits.max_age)}", len(ids) == CHUNK
    count = change.sql("SELECT count(*) FROM sessions").fetchone()[0]
    if limits.max_sessions and count > limits.max_sessions:
        surplus = count - limits.max_sessions
        ids = [row[0] for row in change.sql(oldest.format(""), (min(surplus, CHUNK),))]
        return ids, f"more than {limits.max_sessions} sessions", surplus > CHUNK
    return _too_large(change, limits.max_size, count)


def _too_large(change: Transaction, most: int, count: int) -> tuple[list[int], str, bool]:
    used = _used(change.connection)
    if not most or used <= most or not count:
        return [], "", False
    # As many as their average size says, so that none is deleted without need.
    surplus = max(1, min(CHUNK, int(count * (1 - _FREED * most / used))))
    query = "SELECT id FROM sessions ORDER BY last_us, id LIMIT ?"
    ids = [row[0] for row in change.sql(query, (surplus,))]
    return ids, f"the database was larger than {most} bytes", True


def _used(connection: sqlite3.Connection) -> int:
    """Return the bytes of the database that are in use."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _cutoff(change: Transaction, limits: Limits, ids: list[int]) -> int:
    """Return before when what belongs to no session is deleted, too."""
    cutoff = change.now_us - int(limits.max_age * 1e6) if limits.max_age else 0
    if ids:
        query = "SELECT last_us FROM sessions WHERE id = ?"
        cutoff = max(cutoff, change.sql(query, (ids[-1],)).fetchone()[0])
    elif limits.max_size and _used(change.connection) > limits.max_size:
        cutoff = change.now_us
    return cutoff


def _rollups(change: Transaction) -> None:
    for table, kind, size in product(("rollups", "rollups_of_all"), ("llm", "tool"), _KEPT_US):
        query = f"DELETE FROM {table} WHERE size = ? AND kind = ? AND bucket_us < ?"  # noqa: S608 - our own names
        change.sql(query, (size, kind, change.now_us - _KEPT_US[size]))


def _days(seconds: float) -> str:
    days = seconds / 86400
    return f"{days:g} days" if days != 1 else "1 day"


def give_back(connection: sqlite3.Connection, *, last: bool) -> bool:
    """
    Give freed pages back to the file system, some at a time.

    Args:
        connection: The database.
        last: Whether nothing more is to be deleted now; then the log is made small, too, unless
            somebody is reading.

    Returns:
        Whether there are more.
    """
    if not _free(connection):
        return False
    # As a script, since a statement gives back no more than one page in each of its steps.
    connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")
    if more := _free(connection) > 0:
        return more
    if last:
        waits = connection.execute("PRAGMA busy_timeout").fetchone()[0]
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {waits}")
    return False


def _free(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])
