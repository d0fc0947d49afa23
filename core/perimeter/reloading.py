"""The configuration loaded again while the proxy runs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

from perimeter import process
from perimeter.application import Application
from perimeter.errors import ConfigError, PerimeterError
from perimeter.settings import Settings


log = logging.getLogger("perimeter.supervisor")

NOT_RELOADED = "the configuration was not reloaded: %s"

Load = Callable[[], Settings]
"""Loads the configuration as it was loaded at the start."""


def on_hangup(
    application: Application,
    load: Load | None,
    stop: Callable[[], None],
    then: Callable[[Settings], None] = lambda _: None,
) -> None:
    """
    Load the configuration again on SIGHUP.

    A terminal that is closed sends that signal, too: a proxy that was started in it stops then.

    Args:
        application: What it applies to.
        load: Loads it; None where nothing can be loaded again.
        stop: Stops the proxy.
        then: Given what applies from then on.
    """
    if load is None or not hasattr(signal, "SIGHUP"):
        return
    loading, had_terminal = load, _has_terminal()

    def hung_up() -> None:
        if had_terminal and not _has_terminal():
            stop()
        elif reload(application, loading):
            then(application.settings)

    process.on_signal(signal.SIGHUP, hung_up)


def reload(application: Application, load: Load) -> bool:
    """Apply the configuration as it is now; tell whether that was possible."""
    try:
        waiting = application.reload(load())
    except ConfigError as error:
        for problem in error.problems:
            log.error(NOT_RELOADED, problem)  # noqa: TRY400 - not a defect
        return False
    except (PerimeterError, OSError, ValueError) as error:
        log.error(NOT_RELOADED, error)  # noqa: TRY400 - not a defect
        return False
    if waiting:
        log.warning("needs a restart: %s", ", ".join(waiting))
    log.info("configuration reloaded")
    return True


def _has_terminal() -> bool:
    """Whether this process has a terminal that controls it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True
