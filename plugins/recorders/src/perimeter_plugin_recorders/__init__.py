"""Perimeter's recorders: keep conversations, events, and the traffic itself in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from perimeter_plugin_recorders.event_recorder import EventRecorder as EventRecorder
    from perimeter_plugin_recorders.http_recorder import HttpRecorder as HttpRecorder
    from perimeter_plugin_recorders.message_logger import MessageLogger as MessageLogger

__all__ = ["EventRecorder", "HttpRecorder", "MessageLogger"]

_MODULES = {
    "EventRecorder": "event_recorder",
    "HttpRecorder": "http_recorder",
    "MessageLogger": "message_logger",
}


def __getattr__(name: str) -> Any:
    """Import a recorder when it is asked for: most commands need none, or one."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - see above

    return getattr(import_module(f"{__name__}.{module}"), name)
