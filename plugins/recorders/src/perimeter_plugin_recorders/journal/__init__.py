"""Append-only files of lines: written, rotated, compressed, deleted, and read back."""

from perimeter_plugin_recorders.journal.options import JournalOptions
from perimeter_plugin_recorders.journal.reading import TORN, Bad, Line, files, lines
from perimeter_plugin_recorders.journal.writer import Journal


__all__ = ["TORN", "Bad", "Journal", "JournalOptions", "Line", "files", "lines"]
