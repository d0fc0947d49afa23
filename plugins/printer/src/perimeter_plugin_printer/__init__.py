"""Perimeter's printer: traffic on the console, one line for each thing that happens."""

from perimeter_plugin_printer.config import PrinterConfig
from perimeter_plugin_printer.plugin import Printer


__all__ = ["Printer", "PrinterConfig"]
