"""What can go wrong with the database, in words for people."""

from __future__ import annotations

from perimeter.errors import PerimeterError


class StoreError(PerimeterError):
    """The database can't be used; the message says why."""


class TooSlow(StoreError):
    """A query took longer than it may."""


class Busy(StoreError):
    """Another process holds the database."""
