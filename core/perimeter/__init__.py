"""
Perimeter: a proxy between AI agents and LLM providers, extended by plugins.

This module is what plugins import. Everything here is public and stable within one `API`
generation; of the submodules, those named in docs/writing-plugins.md are public too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perimeter.context import PluginContext, data_root
from perimeter.errors import ConfigError, ExchangeError, PerimeterError, PluginError
from perimeter.hookspecs import hookimpl
from perimeter.model import Chunk, Event, Exchange, Outcome, Request, Response, Session
from perimeter.options import Secret, option
from perimeter.verdicts import Block, Respond, Rewrite, Stop, StreamGuard, Verdict
from perimeter.worker import Worker


if TYPE_CHECKING:
    from perimeter.application import create_app

__version__ = "0.1.0"

API = 1
"""Generation of the plugin API; a plugin written for another one is refused."""

__all__ = [
    "API",
    "Block",
    "Chunk",
    "ConfigError",
    "Event",
    "Exchange",
    "ExchangeError",
    "Outcome",
    "PerimeterError",
    "PluginContext",
    "PluginError",
    "Request",
    "Respond",
    "Response",
    "Rewrite",
    "Secret",
    "Session",
    "Stop",
    "StreamGuard",
    "Verdict",
    "Worker",
    "__version__",
    "create_app",
    "data_root",
    "hookimpl",
    "option",
]


def __getattr__(name: str) -> Any:
    """Import the application only where it is asked for: plugins do not need the server."""
    if name == "create_app":
        from perimeter.application import create_app  # noqa: PLC0415 - see above

        return create_app
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
