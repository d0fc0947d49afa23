"""Turn records into text: plain lines that `grep` likes, or lines for people at a terminal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from perimeter_plugin_printer.config import PrinterConfig
from perimeter_plugin_printer.events import happened
from perimeter_plugin_printer.exchanges import decided, ended, sent
from perimeter_plugin_printer.line import Line
from perimeter_plugin_printer.records import Decided, Ended, Happened, Record, Sent
from perimeter_plugin_printer.text import quote


class Renderer(Protocol):
    """How lines look."""

    def render(self, line: Line) -> str:
        """Return the line as text that ends with a newline."""


class Plain:
    """
    One line per record, always, and nothing shortened but bodies.

    Time in UTC, sign, word, then `key=value` with values quoted like JSON where they need it:
    `2026-01-31T12:00:00.000Z → request exchange=0f3a upstream=openai path=/v1/models size=0`.
    """

    def render(self, line: Line) -> str:
        """Return the line as text that ends with a newline."""
        words = [_utc(line.at), line.sign, line.word]
        words += [f"{field.key}={quote(field.value)}" for field in line.fields if field.key]
        if line.body:
            words.append(f"body={quote(line.body)}")
        return " ".join(words) + "\n"


def line_of(record: Record, config: PrinterConfig) -> Line:
    """Say what a record means."""
    match record:
        case Sent():
            return sent(record, config)
        case Ended():
            return ended(record, config)
        case Decided():
            return decided(record, config)
        case Happened():
            return happened(record, config)


def _utc(timestamp: float) -> str:
    moment = datetime.fromtimestamp(timestamp, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
