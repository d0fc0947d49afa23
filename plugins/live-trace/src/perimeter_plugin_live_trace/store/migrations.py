"""
Steps from one version of the schema to the next.

They say in SQL what they make, not by the models, which go on changing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import attrs

from perimeter_plugin_live_trace.store.histogram import Histogram


@attrs.frozen
class Migration:
    """
    A step from one version of the schema to the next.

    Attributes:
        version: The version that it leads to.
        run: Does it, inside a transaction.
    """

    version: int
    run: Callable[[sqlite3.Connection], object]


_SUMS = ("calls", "errors", "tok_in", "tok_out", "tok_cached", "cost_nano", "lat_us")
_ROLLUPS = """
    CREATE TABLE "{table}" (
        "size" TEXT NOT NULL, "kind" TEXT NOT NULL, "bucket_us" INTEGER NOT NULL, {agent}
        "name" TEXT NOT NULL, {sums}, "hist" BLOB NOT NULL,
        PRIMARY KEY ("size", "kind", "bucket_us", {key} "name")
    ) WITHOUT ROWID
"""


def rollups_of_all(connection: sqlite3.Connection) -> None:
    """Add the rollups of all agents, and put those of models and of tools apart."""
    connection.create_aggregate("merged", 1, _Merged)  # type: ignore[arg-type]  # no integer
    columns, sums = ", ".join(_SUMS), ", ".join(f"sum({name})" for name in _SUMS)
    made = ", ".join(f'"{name}" INTEGER NOT NULL' for name in _SUMS)
    agent, key = '"agent_id" INTEGER NOT NULL,', '"agent_id",'
    connection.execute("ALTER TABLE rollups RENAME TO old")
    connection.execute(_ROLLUPS.format(table="rollups", sums=made, agent=agent, key=key))
    connection.execute(_ROLLUPS.format(table="rollups_of_all", sums=made, agent="", key=""))
    connection.execute(
        f"INSERT INTO rollups SELECT size, kind, bucket_us, agent_id, name, {columns}, hist"  # noqa: S608 - our own names
        " FROM old"
    )
    connection.execute("DROP TABLE old")
    connection.execute(
        f"INSERT INTO rollups_of_all SELECT size, kind, bucket_us, name, {sums}, merged(hist)"  # noqa: S608 - our own names
        " FROM rollups GROUP BY size, kind, bucket_us, name"
    )


class _Merged:
    """Puts histograms together, as an aggregate function of SQLite."""

    def __init__(self) -> None:
        self._whole = Histogram()

    def step(self, data: bytes) -> None:
        self._whole.merge(Histogram.from_bytes(data))

    def finalize(self) -> bytes:
        return self._whole.to_bytes()


MIGRATIONS: tuple[Migration, ...] = (Migration(2, rollups_of_all),)
"""In order."""
