"""The event loop of the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


def run(serving: Coroutine[Any, Any, None]) -> None:
    """Run on the fastest event loop that there is."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.run(serving)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - absent on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
