"""What errors of SQLite say about the disk."""

from __future__ import annotations

import sqlite3
from typing import Literal


Condition = Literal["open", "busy", "full", "read-only", "gone"]
"""How a database is doing that is written to."""

MENDABLE = frozenset({"busy", "full", "read-only"})
"""Conditions in which the same may be written some time later."""


def about_disk(error: Exception) -> bool:
    """Whether an error is about the file, and not about what was to be written."""
    if isinstance(error, OSError):
        return True
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError
    )


def condition(error: Exception) -> tuple[Condition, str]:
    """Return what an error means, for programs and for people."""
    text = str(error).lower()
    if "locked" in text or "busy" in text:
        return "busy", "another process writes to the database"
    if "full" in text or "no space" in text:
        return "full", "the disk is full"
    if "readonly" in text or "read-only" in text:
        return "read-only", "the database can't be written to"
    return "gone", f"the database can't be used: {error}"
