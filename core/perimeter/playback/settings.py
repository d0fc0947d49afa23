"""The configuration of a playback: a proxy's, without anything that reaches out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from perimeter import discovery, logs
from perimeter.checks import YEAR
from perimeter.configuration import Overrides, load
from perimeter.settings import UPSTREAM_TYPE_NAMES, Settings, UpstreamSettings


ADDRESS = "http://recording.invalid"
"""What stands for an upstream's address; nothing is ever sent there (RFC 6761 §6.4)."""

_ENOUGH = 1 << 40
_FINISHING = 300.0
"""Seconds that plugins get at the end for what they still have to write."""


def load_settings(
    config: Path | None, plugins: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Settings:
    """
    Read the configuration as `perimeter run` does; there need be no upstream.

    Args:
        config: The file; None for the one that `run` would find.
        plugins: Names of plugins to run beside the file's.
        environ: The environment's variables.

    Raises:
        ConfigError: With everything that is wrong.
    """
    return load(
        config,
        environ=environ,
        overrides=Overrides(plugins=tuple(plugins)),
        require_upstream=False,
        check_plugins=discovery.problems_of_plugins,
    )


def log_as_configured(settings: Settings) -> None:
    """Log where and how the configuration says, but of the exchanges themselves only trouble."""
    level = settings.logging.level
    quiet = attrs.evolve(settings.logging, level="WARNING" if level == "INFO" else level)
    logs.configure(quiet, settings.secrets())


def left_out(settings: Settings, plugins: Mapping[str, type] | None = None) -> list[str]:
    """
    Return the names of enabled plugins that must not see playbacks: `replays = False`.

    Args:
        settings: The effective configuration.
        plugins: Further plugin classes by name, beside the installed ones.
    """
    known = discovery.find(plugins)
    return [
        name
        for name in discovery.enabled(settings)
        if name in known and getattr(known[name].plugin, "replays", True) is False
    ]


def playable(settings: Settings, without: Sequence[str]) -> Settings:
    """
    Return the settings of the application that plays.

    What was taken then is taken now, and no deadline counts but those that passed then.

    Args:
        settings: The effective configuration.
        without: Names of plugins that are left out.
    """
    upstreams = {name: _upstream(type=name, base_url=ADDRESS) for name in UPSTREAM_TYPE_NAMES}
    server = attrs.evolve(
        settings.server,
        body_budget=_ENOUGH,
        max_body_size=_ENOUGH,
        shutdown_timeout=max(settings.server.shutdown_timeout, _FINISHING),
    )
    plugins = {name: table for name, table in settings.plugins.items() if name not in without}
    return attrs.evolve(
        settings, server=server, upstreams=upstreams, default_upstream="raw", plugins=plugins
    )


def _upstream(**table: Any) -> UpstreamSettings:
    return UpstreamSettings(
        **table, first_byte_timeout=YEAR, idle_timeout=YEAR, max_retries=0, retry_statuses=[]
    )
