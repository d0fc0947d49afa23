"""
Rows in memory, and the SQL that writes them.

The writer changes a row many times before it is written once, and peewee's own objects take ten
times as long for that. Both the classes and the statements are made from the models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import attrs
import peewee

from perimeter_plugin_live_trace.store import models


class Table:
    """
    How rows of a model are made and written.

    Attributes:
        key: The columns of the primary key.
        row: Makes a row; all columns have defaults.
        insert: SQL that adds one.
        update: SQL that changes all columns of one; its id comes last.
        values: The columns of a row, in the order of `insert`.
        changes: Those of `update`.
    """

    def __init__(self, model: type[peewee.Model], **extra: Any) -> None:
        """
        Prepare.

        Args:
            model: The model.
            extra: Further attributes of its rows, which are not written, with their factories.
        """
        self.name: str = model._meta.table_name
        self.fields: list[str] = model._meta.sorted_field_names
        self.key: tuple[str, ...] = _key(model)
        columns = {name: attrs.field(default=_default(model, name)) for name in self.fields}
        columns |= {name: attrs.field(factory=factory) for name, factory in extra.items()}
        self.row: Callable[..., Any] = attrs.make_class(
            f"{model.__name__}Row", columns, slots=True, eq=False
        )
        self.insert = insert_sql(self.name, self.fields)
        self.values: Callable[[Any], Sequence[Any]] = attrgetter(*self.fields)
        self.update, self.changes = self.partial([name for name in self.fields if name != "id"])
        self.select = f"SELECT {_names(self.fields)} FROM {self.name}"  # noqa: S608 - our own names

    def partial(self, fields: Sequence[str]) -> tuple[str, Callable[[Any], Sequence[Any]]]:
        """Return the SQL that changes some columns of a row, and what takes them from it."""
        settings = ", ".join(f'"{name}" = ?' for name in fields)
        text = f"UPDATE {self.name} SET {settings} WHERE id = ?"  # noqa: S608 - our own names
        return text, attrgetter(*fields, "id")

    def load(self, found: Sequence[Any]) -> Any:
        """Return the row that was read with `select`."""
        return self.row(*found)


def insert_sql(table: str, fields: Sequence[str], verb: str = "INSERT") -> str:
    """Return the SQL that adds a row."""
    marks = ", ".join("?" * len(fields))
    return f"{verb} INTO {table} ({_names(fields)}) VALUES ({marks})"


def _names(fields: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in fields)


def _key(model: type[peewee.Model]) -> tuple[str, ...]:
    key: Any = model._meta.primary_key
    return tuple(key.field_names) if isinstance(key, peewee.CompositeKey) else (key.name,)


def _default(model: type[peewee.Model], name: str) -> Any:
    default = getattr(model, name).default
    return default() if callable(default) else default


AGENTS = Table(models.Agent)
SESSIONS = Table(
    models.Session,
    calls_hist=lambda: None,
)
"""`calls_hist` is the histogram, once it is needed."""
CALLS = Table(models.Call, asked=lambda: None, answered=lambda: None)
"""What was asked and answered in words, for the events that tell of it and come later."""
EVENTS = Table(models.Event)
FINDINGS = Table(models.Finding)
GROUPS = Table(models.FindingGroup)
ROLLUPS = Table(models.Rollup, latencies=lambda: None)
ROLLUPS_OF_ALL = Table(models.RollupOfAll, latencies=lambda: None)

CALL_ANSWER = CALLS.partial(
    [
        *("end_seq", "model", "stream", "state", "outcome", "http_status", "finish"),
        *("error_type", "error", "dur_us", "ttft_us", "tok_in", "tok_out", "tok_cached"),
        *("tok_cache_write", "tok_reasoning", "cost_nano", "response_blob"),
        *("response_headers_blob", "response_size", "response_cut", "attempts", "overhead_us"),
        "verdicts",
    ]
)
"""What changes of a call when it ends; its other columns are in indexes that need no change."""
