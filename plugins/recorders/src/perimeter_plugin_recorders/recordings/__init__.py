"""Recordings of HTTP traffic, read back: whole exchanges from the lines of files."""

from perimeter_plugin_recorders.journal.reading import Bad
from perimeter_plugin_recorders.recordings.indexing import Entry, entries, index, load
from perimeter_plugin_recorders.recordings.reading import read
from perimeter_plugin_recorders.recordings.recording import Recording


__all__ = ["Bad", "Entry", "Recording", "entries", "index", "load", "read"]
