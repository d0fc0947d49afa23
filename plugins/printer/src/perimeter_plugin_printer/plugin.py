"""The printer: shows traffic on the console as it happens."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import attrs

from perimeter import hookimpl
from perimeter_plugin_printer.config import PrinterConfig
from perimeter_plugin_printer.events import SESSION_EVENTS, TOOL_EVENTS
from perimeter_plugin_printer.line import Field, Line
from perimeter_plugin_printer.output import Output
from perimeter_plugin_printer.records import Decided, Ended, Happened, Record, Sent
from perimeter_plugin_printer.render import Plain, Renderer, line_of
from perimeter_plugin_printer.told import END_EVENTS, NOTHING, Told


if TYPE_CHECKING:
    from typing import TextIO

    from perimeter import Event, Exchange, PluginContext, Verdict, Worker

_MOST_HELD = 32 * 1024 * 1024
"""Bytes of bodies that may wait to be printed; above that, lines go without their bodies."""

_MOST_WAITING = 5000
"""Lines that may wait to be printed; with a terminal that stands still, further ones are lost."""

_LINGER = 0.05
"""Seconds that a line may wait for company; nobody at a terminal sees the difference."""

_PATIENCE = 2.0
"""Seconds that the proxy's end waits for a terminal that takes nothing."""

_UNLIMITED = 100_000
"""Cells in a line where coloured lines go into a pipe; `COLUMNS` says otherwise."""


@attrs.define(eq=False)
class Printer:
    """Show each request, response, error and verdict on the console, one line each."""

    Config: ClassVar[type[PrinterConfig]] = PrinterConfig

    config: PrinterConfig
    context: PluginContext
    _output: Output = attrs.field(init=False)
    _renderer: Renderer = attrs.field(init=False)
    _worker: Worker[Record] = attrs.field(init=False)
    _events: frozenset[str] = attrs.field(init=False)
    _told: Told = NOTHING
    _taken: int = attrs.field(init=False, default=0)
    _printed: int = attrs.field(init=False, default=0)
    _lost: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        sessions = SESSION_EVENTS if self.config.show_sessions else frozenset()
        tools = TOOL_EVENTS if self.config.show_tools else frozenset()
        self._events = sessions | tools

    @hookimpl
    def startup(self) -> None:
        """Look at where the lines go, and start the thread that prints them."""
        stream = sys.stdout if self.config.output == "stdout" else sys.stderr
        self._output = Output(stream)
        self._renderer = _renderer(stream, self.config.color)
        self._worker = self.context.worker(
            self._print, queue=_MOST_WAITING, linger=_LINGER, on_full="drop_newest"
        )

    @hookimpl
    def shutdown(self) -> None:
        """Do not let a terminal that stands still hold up the end."""
        self._take_told()
        self._output.hurry(_PATIENCE)

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Print that a request went upstream."""
        if self.config.log_requests and not self._output.closed:
            self._hand_over(Sent.of(exchange))

    @hookimpl
    def on_response(self, exchange: Exchange) -> None:
        """Print how an exchange was answered."""
        told = self._take_told(exchange.id)
        if self._output.closed:
            return
        if self.config.log_responses or told.failed:
            self._hand_over(Ended.of(exchange, bodies=self.config.log_body, told=told))
        self._put_tools(told)

    @hookimpl
    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """Print why an exchange failed, whatever the configuration leaves out."""
        told = self._take_told(exchange.id)
        if not self._output.closed:
            self._hand_over(Ended.of(exchange, error, bodies=self.config.log_body, told=told))
            self._put_tools(told)

    @hookimpl
    def on_verdict(self, exchange: Exchange, plugin: str, verdict: Verdict) -> None:
        """Print what a guard decided."""
        if not self._output.closed:
            self._worker.put(Decided.of(exchange, self.context.clock.time(), plugin, verdict))

    @hookimpl
    def on_session_event(self, event: Event) -> None:
        """Print the events that the configuration asks for."""
        if self._output.closed:
            return
        if event.name in END_EVENTS:
            self._take_told()
            self._told = Told.by(event)
        elif event.name in self._events:
            told = self._told
            if event.name == "tool.execution" and told.is_about(event):
                told.tools.append(event)
            else:
                self._worker.put(Happened(event))

    def _take_told(self, exchange_id: str | None = None) -> Told:
        """
        Return what events told about the end of this exchange, which is over.

        Events come right before the hook. What another exchange left, its hook never came for: its
        tools are printed at once.
        """
        told, self._told = self._told, NOTHING
        if told.exchange == exchange_id:
            return told
        self._put_tools(told)
        return NOTHING

    def _put_tools(self, told: Told) -> None:
        for event in told.tools:
            self._worker.put(Happened(event))

    def _hand_over(self, record: Sent | Ended) -> None:
        """Queue a record, with its body only while few bytes of bodies wait."""
        held = record.held
        if self._taken - self._printed + held > _MOST_HELD:
            record, held = record.without_body(), 0
        if self._worker.put(record):
            self._taken += held

    def _print(self, records: Sequence[Record]) -> None:
        """
        Print a batch, in the worker's thread.

        Raises:
            Exception: What one of the records caused; the others are printed nevertheless.
        """
        failure: Exception | None = None
        lines: list[str] = []
        for record in records:
            try:
                lines.append(self._renderer.render(line_of(record, self.config)))
            except Exception as error:  # noqa: BLE001 - raised below, for the worker to count and log
                failure = error
            self._printed += record.held
        self._output.write("".join(lines))
        self._admit_losses()
        if failure is not None:
            raise failure

    def _show(self, line: Line) -> None:
        self._output.write(self._renderer.render(line))

    def _admit_losses(self) -> None:
        """Say how many lines were lost since this was last said."""
        lost = self._worker.dropped - self._lost
        if lost:
            self._lost += lost
            fields = [Field("lines", str(lost), f"{lost} lines were not printed, it took too long")]
            self._show(Line(self.context.clock.time(), "…", "lost", "bold yellow", fields))


def _renderer(stream: TextIO | None, color: str) -> Renderer:
    """Choose how lines look: for people on a terminal, plain everywhere else."""
    interactive = stream is not None and stream.isatty()
    if stream is None or (not interactive and color != "always"):
        return Plain()
    from perimeter_plugin_printer.terminal import Terminal  # noqa: PLC0415 - rich loads slowly

    colored = color == "always" or (color == "auto" and not os.environ.get("NO_COLOR"))
    width = None if interactive or os.environ.get("COLUMNS") else _UNLIMITED
    return Terminal(stream, color=colored, width=width)
