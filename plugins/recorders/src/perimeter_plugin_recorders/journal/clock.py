"""What tells a journal the time."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time, as the clock of a plugin's context does."""

    def time(self) -> float:
        """Return Unix time, in seconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""


class SystemClock:
    """Tells the system's time."""

    def time(self) -> float:
        """Return Unix time, in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
