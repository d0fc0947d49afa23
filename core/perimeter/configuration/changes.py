"""What of a new configuration a running proxy can take over."""

from __future__ import annotations

import attrs

from perimeter.settings import ServerSettings, Settings


AT_ONCE = frozenset(
    {
        "admin_token",
        "allowed_hosts",
        "body_budget",
        "capture_limit",
        "default_upstream",
        "drain_delay",
        "max_body_size",
        "response_headers",
        "shutdown_timeout",
        "tokens",
    }
)
"""The options of `[server]` that can change while a proxy runs."""

_TABLES = ("session", "recording", "pricing", "plugins")


def applicable(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """
    Return what applies from now on, and the keys of what needs a restart to apply.

    Args:
        old: The configuration that applies.
        new: The one that is wanted.
    """
    waiting = [name for name in _names(ServerSettings) if _differ(old.server, new.server, name)]
    kept = {name: getattr(old.server, name) for name in waiting}
    tables = [name for name in _TABLES if getattr(old, name) != getattr(new, name)]
    if list(old.plugins) != list(new.plugins) and "plugins" not in tables:
        tables.append("plugins")  # their order is the order of their calls
    settings = attrs.evolve(
        new,
        server=attrs.evolve(new.server, **kept),
        **{name: getattr(old, name) for name in tables},
    )
    return settings, [*(f"server.{name}" for name in waiting), *tables]


def _names(cls: type[attrs.AttrsInstance]) -> list[str]:
    return [field.name for field in attrs.fields(cls) if field.name not in AT_ONCE]


def _differ(old: object, new: object, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))
