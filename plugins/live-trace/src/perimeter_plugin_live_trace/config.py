"""What can be configured about live trace: `[plugins.live_trace]`."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perimeter import Secret, option


_MIB = 1024 * 1024
_DAY = 24 * 3600.0


def _not_negative(_instance: Any, _attribute: Any, value: float) -> None:
    if not value >= 0:  # also refuses TOML's nan
        raise ValueError(f"must be 0 or more, not {value}")


def _elsewhere(_instance: Any, _attribute: Any, value: object) -> None:
    if value is not None:
        raise ValueError(
            "belongs to the security plugin: install perimeter-plugin-security and say so in "
            "[plugins.security]"
        )


def _port(_instance: Any, _attribute: Any, value: int) -> None:
    if not 0 <= value <= 65535:
        raise ValueError(f"must be a port from 0 to 65535, not {value}")


@attrs.frozen
class Config:
    """Options of `[plugins.live_trace]`."""

    server_host: str = option(
        "",
        help="Address of the dashboard; empty means this machine only, in a container everyone. "
        "Off loopback it asks for a token.",
    )
    server_port: int = option(
        7100,
        help="Port of the dashboard; where it is taken, and for 0, any free one.",
        validator=_port,
    )
    auto_open_browser: bool = option(
        True, help="Open the dashboard at start, where there is a desktop to open it on."
    )
    storage_mode: Literal["sqlite", "memory"] = option(
        "sqlite", help='Where traffic is kept: "sqlite" a file, "memory" nothing after the end.'
    )
    db_path: str = option(
        "", help="The database; empty means live-trace.db in the plugin's data folder."
    )
    max_age: float = option(
        30 * _DAY,
        help="Seconds after which sessions are deleted that nothing happened in; 0 keeps them.",
        validator=_not_negative,
    )
    max_sessions: int = option(
        100_000,
        help="Sessions above which the oldest are deleted; 0 for any number.",
        validator=_not_negative,
    )
    max_size: int = option(
        2048 * _MIB,
        help="Bytes of the database above which the oldest sessions are deleted; 0 for any size.",
        validator=_not_negative,
    )
    token: Secret = option(
        Secret(""),
        help="Token that the dashboard asks for; empty means none on loopback, else one is made.",
    )
    allowed_hosts: list[str] = option(
        attrs.Factory(list), help="Further names that the dashboard may be addressed by."
    )
    replay: bool = option(True, help="Let recorded calls be edited and sent again.")
    enable_presidio: bool | None = option(
        None,
        help="Refused here: PII is found by the security plugin, in [plugins.security].",
        validator=_elsewhere,
        hidden=True,
    )
