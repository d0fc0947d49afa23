"""Which store the configuration asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from perimeter.errors import ConfigError, Problem
from perimeter.sessions.evidence import SessionStore
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.sessions.snapshot import SharedStore
from perimeter.settings import SessionSettings


StoreFactory = Callable[[Limits, Callable[[], float]], SessionStore]
"""Makes a store from what is kept and a clock of Unix time; plugins offer them by name."""

FILE = "sessions.sqlite3"
"""Where the `sqlite` store keeps sessions, in the data folder."""


def open_store(
    settings: SessionSettings,
    offered: Mapping[str, StoreFactory],
    clock: Callable[[], float],
    data_root: Path,
) -> SessionStore:
    """
    Return the store that the configuration names.

    Args:
        settings: The `[session]` table.
        offered: What plugins offer, by name.
        clock: Tells Unix time, seconds.
        data_root: The folder for files that have no place of their own.

    Raises:
        ConfigError: Nobody has a store of that name, or a newer version has made its file.
    """
    limits = limits_of(settings)
    if settings.store == "memory":
        return MemoryStore(limits, clock)
    if settings.store == "sqlite":
        from perimeter.sessions.sqlite import SQLiteStore  # noqa: PLC0415 - most have no file

        path = Path(settings.store_path).expanduser() if settings.store_path else data_root / FILE
        return SQLiteStore(limits, clock, path.absolute())
    factory = offered.get(settings.store)
    if factory is not None:
        return factory(limits, clock)
    known = ", ".join(["memory", "sqlite", *offered])
    message = f'[session] store names no store: "{settings.store}"; there is {known}'
    raise ConfigError([Problem(message)])


def open_shared(
    settings: SessionSettings, clock: Callable[[], float], data_root: Path
) -> SharedStore | None:
    """
    Return the store that one process has for several workers; None where a plugin has it.

    Raises:
        ConfigError: A newer version has made its file.
    """
    if settings.store == "memory":
        return SharedStore(limits_of(settings), clock)
    if settings.store == "sqlite":
        return cast("SharedStore", open_store(settings, {}, clock, data_root))
    return None


def limits_of(settings: SessionSettings) -> Limits:
    """Return the limits that the `[session]` table sets."""
    return Limits(
        max_sessions=settings.max_sessions,
        ttl=settings.session_ttl_seconds,
        completion_timeout=settings.completion_timeout,
        fuzzy_threshold=settings.fuzzy_threshold,
        short=settings.max_messages_for_new_session,
    )
