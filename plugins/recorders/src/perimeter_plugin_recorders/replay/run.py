"""One run of `perimeter replay`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from perimeter_plugin_recorders.replay.progress import progress
from perimeter_plugin_recorders.replay.source import Source
from perimeter_plugin_recorders.replay.summary import Summary


if TYPE_CHECKING:
    from perimeter.model import Exchange
    from perimeter.playback import Player, Recorded

NO_PLUGIN = (
    "no plugin would see the replay: name one with --plugin, "
    "or a configuration file that enables some with --config"
)


class NothingToSeeIt(Exception):
    """No plugin takes part."""


@attrs.frozen
class Request:
    """
    What is asked for on the command line.

    Attributes:
        config: The configuration file, None for the one that `perimeter run` would find.
        plugins: Names of plugins beside the file's.
        speed: How many times faster than it happened; None for as fast as possible.
        delay: Seconds between exchanges, one after the other; None lets them overlap.
        resolve: Whether sessions are found anew.
        guards: Whether guards decide anew.
        shift: Whether it begins now instead of when it happened.
    """

    config: Path | None = None
    plugins: Sequence[str] = ()
    speed: float | None = None
    delay: float | None = None
    resolve: bool = False
    guards: bool = False
    shift: bool = False


def player_for(request: Request) -> Player:
    """
    Return what plays, with the plugins that take part.

    Raises:
        ConfigError: The configuration can't be used.
        NothingToSeeIt: No plugin would take part.
    """
    from perimeter.playback import Player, load_settings, log_as_configured  # noqa: PLC0415

    settings = load_settings(request.config, request.plugins)
    player = Player(
        settings,
        guards=request.guards,
        resolve=request.resolve,
        shift=request.shift,
        speed=request.speed,
        delay=request.delay,
    )
    enabled = {name for name, table in settings.plugins.items() if table.get("enabled", True)}
    if not enabled - set(player.left_out):
        left = f" ({', '.join(player.left_out)}: not made for replays)" if player.left_out else ""
        raise NothingToSeeIt(NO_PLUGIN + left)
    log_as_configured(settings)
    return player


def replay(source: Source, player: Player) -> Summary:
    """
    Play a source that has been scanned, until its end or Ctrl-C.

    Raises:
        PerimeterError: It can't be played.
    """
    summary = Summary(source, player.left_out)
    with asyncio.Runner() as runner:
        runner.run(_play(source, player, summary))
    return summary


async def _play(source: Source, player: Player, summary: Summary) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        summary.stopped = True
        player.stop()
        loop.remove_signal_handler(signal.SIGINT)  # the second one ends it the usual way

    with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
        loop.add_signal_handler(signal.SIGINT, stop)
    with progress(source.total) as advance:

        def over(_: Recorded, exchange: Exchange) -> None:
            summary.count(exchange)
            advance()

        try:
            await player.play(source, over)
        finally:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(signal.SIGINT)
