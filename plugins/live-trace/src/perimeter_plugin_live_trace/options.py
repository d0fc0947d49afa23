"""What the plugin tells the process that it starts, and what that answers."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from perimeter import Secret
from perimeter.pricing import Price
from perimeter_plugin_live_trace.config import Config


class Options(msgspec.Struct):
    """
    The first line on the process's standard input.

    Attributes:
        config: The plugin's options, secrets in clear.
        data_dir: The plugin's folder.
        ingest: The socket to listen on for workers; "" to show a database only.
        proxy: The proxy's address, or "".
        host: Where the dashboard listens.
        extensions: What other plugins add: factory and options by plugin.
        dialects: Those of other plugins, by name; see `carrying`.
        pricing: What models cost, where the configuration says so: `Price`s as JSON values.
    """

    config: dict[str, Any]
    data_dir: str
    ingest: str
    proxy: str
    host: str
    extensions: dict[str, tuple[str, dict[str, Any]]] = {}
    dialects: dict[str, bytes] = {}
    pricing: dict[str, dict[str, float | None]] = {}

    def settings(self) -> Config:
        """Return the plugin's options."""
        return Config(**{**self.config, "token": Secret(self.config.get("token", ""))})

    def prices(self) -> dict[str, Price]:
        """Return the configured prices."""
        return {model: Price(**price) for model, price in self.pricing.items()}  # type: ignore[arg-type]


class Ready(msgspec.Struct):
    """
    The line on the process's standard output once it serves, or why it does not.

    Attributes:
        url: Where the dashboard is.
        open: The same with the token in it, for this user's own browser.
        notes: What the user should know, line by line.
        error: Why it can't serve; "" if it does.
    """

    url: str = ""
    open: str = ""
    notes: list[str] = []
    error: str = ""


def plain(config: Config) -> dict[str, Any]:
    """Return options as JSON values, secrets in clear: for a pipe, never for a log."""
    values = attrs.asdict(config)
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in values.items()
    }
