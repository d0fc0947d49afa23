"""What becomes of writing while the disk is full, read-only or gone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import attrs

from perimeter_plugin_recorders.journal.clock import Clock


State = Literal["open", "stopped"]

RETRY_SECONDS = 3.0
"""How long nothing is tried after it failed."""

QUIET_SECONDS = 60.0
"""How long a disk that is full again and again is not reported again."""


@attrs.define(eq=False)
class Trouble:
    """
    Decides when writing is tried, and reports it once when it fails and when it goes on.

    Attributes:
        folder: Where files are.
        clock: Tells the time.
        log: Where it is reported.
        on_state: Is told when recording stops and goes on.
        state: `stopped` while nothing can be written.
        lost: Lines that could not be written.
    """

    folder: Path
    clock: Clock
    log: logging.Logger
    on_state: Callable[[State], None] = lambda _: None
    state: State = "open"
    lost: int = 0
    _retry_at: float = float("-inf")
    _quiet_until: float = float("-inf")
    _lost_before: int = 0

    @property
    def ready(self) -> bool:
        """Whether to try."""
        return self.clock.monotonic() >= self._retry_at

    def failed(self, error: OSError) -> None:
        """Give up for a few seconds."""
        now = self.clock.monotonic()
        self._retry_at = now + RETRY_SECONDS
        if self.state == "stopped":
            return
        self.state, self._lost_before = "stopped", self.lost
        self.on_state("stopped")
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            where, why = error.filename or self.folder, error.strerror or error
            message = "recording stopped, traffic goes on: %s: %s; it is tried again every %g s"
            self.log.error(message, where, why, RETRY_SECONDS)

    def worked(self) -> None:
        """Take note that everything could be written."""
        if self.state == "stopped":
            self.state = "open"
            self.on_state("open")
            self.log.warning("recording goes on; %d lines are lost", self.lost - self._lost_before)
