"""The commands `perimeter recordings` and `perimeter replay`."""

from perimeter_plugin_recorders.commands.recordings import recordings
from perimeter_plugin_recorders.commands.replay import replay


__all__ = ["recordings", "replay"]
