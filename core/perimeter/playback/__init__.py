"""
Plays recorded exchanges back through the gateway, as if they happened now.

    player = Player(load_settings(None, ["printer"]))
    await player.play(recordings)  # `Recorded` exchanges, ordered by when they began

The plugins notice no difference: the same exchanges, sessions and events with the same times,
statuses, pieces and endings, and those that overlapped overlap. No network is opened, and no time
is waited unless that is asked for. A plugin class that says `replays = False` is left out.
"""

from perimeter.playback.player import Player
from perimeter.playback.recorded import Head, Recorded, RecordedSession, Rewritten
from perimeter.playback.settings import load_settings, log_as_configured
from perimeter.playback.timeline import PlaybackStuck


__all__ = [
    "Head",
    "PlaybackStuck",
    "Player",
    "Recorded",
    "RecordedSession",
    "Rewritten",
    "load_settings",
    "log_as_configured",
]
