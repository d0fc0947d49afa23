"""Deletes sessions with everything that is only theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from perimeter_plugin_live_trace.store.transaction import Transaction


_MERGED = 200
"""Pages of the index that are put together after a deletion, so that its words leave the file."""

_REFERENCES = (
    ("events", "attributes_blob"),
    ("calls", "envelope_blob"),
    ("calls", "response_blob"),
    ("calls", "request_headers_blob"),
    ("calls", "response_headers_blob"),
    ("nodes", "blob_id"),
    ("agents", "prompt_blob"),
)
"""Who refers to blobs."""


@attrs.frozen
class Deleted:
    """How many rows were deleted."""

    events: int = 0
    calls: int = 0
    blobs: int = 0


def sessions(change: Transaction, ids: Sequence[int], reason: str) -> Deleted:
    """
    Delete sessions, with their events, calls, messages and findings.

    Args:
        change: The transaction.
        ids: Their ids, a few hundred at most.
        reason: What is said to those who look for them.
    """
    if not ids:
        return Deleted()
    _choose(change, "doomed", [(each,) for each in ids])
    gone = """
        INSERT OR REPLACE INTO gone (public_id, at_us, reason)
        SELECT public_id, ?, ? FROM sessions WHERE id IN doomed
    """
    change.sql(gone, (change.now_us, reason))
    for table in ("doomed_events", "doomed_calls"):
        name = table.removeprefix("doomed_")
        _select(change, table, f"SELECT id FROM {name} WHERE session_id IN doomed")  # noqa: S608
    _collect(change, "nodes", "session_id IN doomed")
    deleted = _events_and_calls(change)
    for table in ("nodes", "findings", "tags", "session_models", "session_tools", "documents"):
        change.sql(f"DELETE FROM {table} WHERE session_id IN doomed")  # noqa: S608 - our own names
    change.sql("DELETE FROM sessions WHERE id IN doomed")
    return attrs.evolve(deleted, blobs=_blobs(change))


def orphans(change: Transaction, before_us: int, limit: int) -> Deleted:
    """Delete events and calls of no session that are older than a moment."""
    for table, column in (("events", "ts_us"), ("calls", "started_us")):
        _select(
            change,
            f"doomed_{table}",
            f"SELECT id FROM {table} WHERE {column} < {before_us:d}"  # noqa: S608 - our own names
            f" AND session_id IS NULL LIMIT {limit:d}",
        )
    deleted = _events_and_calls(change)
    if not deleted.events and not deleted.calls:
        return deleted
    return attrs.evolve(deleted, blobs=_blobs(change))


def forgotten(change: Transaction, before_us: int) -> None:
    """Delete agents and groups of findings that nothing is left of, and notes of deletions."""
    idle = """
        last_us < ? AND name = ''
        AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.agent_id = agents.id)
        AND NOT EXISTS (SELECT 1 FROM finding_groups WHERE finding_groups.agent_id = agents.id)
    """
    change.sql(
        "DELETE FROM finding_groups WHERE last_us < ? AND state IN ('open', 'regressed')"
        " AND NOT EXISTS (SELECT 1 FROM findings WHERE group_id = finding_groups.id)",
        (before_us,),
    )
    _select(change, "doomed_blobs", "SELECT 0 WHERE 0")
    _collect(change, "agents", idle, (before_us,))
    change.sql(f"DELETE FROM agents WHERE {idle}", (before_us,))  # noqa: S608 - our own text
    change.sql("DELETE FROM gone WHERE at_us < ?", (before_us,))
    _blobs(change)


def _events_and_calls(change: Transaction) -> Deleted:
    """Delete the events and calls that were chosen, with what can be searched of them."""
    _collect(change, "events", "id IN doomed_events")
    _collect(change, "calls", "id IN doomed_calls")
    change.sql(
        "INSERT INTO fts (fts, rowid, words)"
        " SELECT 'delete', id, words FROM texts WHERE id IN doomed_events"
    )
    change.sql("DELETE FROM texts WHERE id IN doomed_events")
    change.sql("DELETE FROM findings WHERE event_id IN doomed_events")
    events = change.sql("DELETE FROM events WHERE id IN doomed_events").rowcount
    calls = change.sql("DELETE FROM calls WHERE id IN doomed_calls").rowcount
    if events:
        change.sql("INSERT INTO fts (fts, rank) VALUES ('merge', ?)", (_MERGED,))
    return Deleted(events, calls)


def _collect(
    change: Transaction, table: str, condition: str, params: Sequence[object] = ()
) -> None:
    """Note the blobs that rows refer to which are about to be deleted."""
    change.sql("CREATE TEMP TABLE IF NOT EXISTS doomed_blobs (id INTEGER PRIMARY KEY)")
    for column in _columns(table):
        change.sql(
            f"INSERT OR IGNORE INTO doomed_blobs SELECT {column} FROM {table}"  # noqa: S608 - ours
            f" WHERE {column} IS NOT NULL AND {condition}",
            params,
        )


def _columns(table: str) -> Iterator[str]:
    return (column for name, column in _REFERENCES if name == table)


def _blobs(change: Transaction) -> int:
    """Delete those of the noted blobs that nobody refers to any more; return how many."""
    unused = " AND ".join(
        f"NOT EXISTS (SELECT 1 FROM {table} WHERE {column} = blobs.id)"  # noqa: S608 - our own
        for table, column in _REFERENCES
    )
    query = f"DELETE FROM blobs WHERE id IN doomed_blobs AND {unused}"  # noqa: S608 - our own text
    count = change.sql(query).rowcount
    change.sql("DELETE FROM doomed_blobs")
    return count


def _choose(change: Transaction, name: str, rows: Sequence[tuple[int]]) -> None:
    """Fill a temporary table with ids."""
    change.sql(f"CREATE TEMP TABLE IF NOT EXISTS {name} (id INTEGER PRIMARY KEY)")
    change.sql(f"DELETE FROM {name}")  # noqa: S608 - our own name
    change.many(f"INSERT OR IGNORE INTO {name} VALUES (?)", rows)  # noqa: S608 - our own name


def _select(change: Transaction, name: str, query: str) -> None:
    """Fill a temporary table with ids that a query finds."""
    _choose(change, name, ())
    change.sql(f"INSERT INTO {name} {query}")
