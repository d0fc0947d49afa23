"""Feeds recordings through the installed plugins, as the traffic that they are of."""

from perimeter_plugin_recorders.replay.convert import Unplayable, recorded_of
from perimeter_plugin_recorders.replay.run import Request, replay
from perimeter_plugin_recorders.replay.source import Source
from perimeter_plugin_recorders.replay.summary import Summary


__all__ = ["Request", "Source", "Summary", "Unplayable", "recorded_of", "replay"]
