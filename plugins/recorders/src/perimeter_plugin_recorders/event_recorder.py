"""The event recorder: keeps what happened in each session."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

import attrs

from perimeter import hookimpl
from perimeter.events import to_json
from perimeter_plugin_recorders.config import EventRecorderConfig
from perimeter_plugin_recorders.documents import Documents, Part
from perimeter_plugin_recorders.encoding import to_line, weight
from perimeter_plugin_recorders.sink import Sink, open_journal


if TYPE_CHECKING:
    from perimeter import Event, PluginContext

FORMAT = "perimeter-events"


@attrs.define(eq=False)
class EventRecorder:
    """Record events: each as a line when it comes, or all of a session in a document at its end."""

    Config: ClassVar[type[EventRecorderConfig]] = EventRecorderConfig

    config: EventRecorderConfig
    context: PluginContext
    _sink: Sink = attrs.field(init=False)
    _produce: Callable[[Event], Iterable[object]] = attrs.field(init=False)

    @hookimpl
    def startup(self) -> None:
        """Start the thread that writes."""
        journal = open_journal(self.context, self.config, "events", FORMAT)
        whole = self.config.format == "json"
        self._produce = self._part if whole else self._line
        store = Documents(journal) if whole else journal
        self._sink = Sink(self.context, self.config, store)
        self._sink.start()

    @hookimpl
    async def shutdown(self) -> None:
        """Write what waits."""
        await self._sink.stop()

    @hookimpl
    def on_session_event(self, event: Event) -> None:
        """Record an event."""
        if event.recorded:
            self._sink.put(weight(event), self._produce, event)

    def _line(self, event: Event) -> Iterable[bytes]:
        """Make an event's line, in the thread."""
        return (to_line(to_json(event), redact=self.context.redact),)

    def _part(self, event: Event) -> Iterable[Part]:
        """Make a part of a session's document, in the thread."""
        line = to_line(to_json(event), redact=self.context.redact)
        return (Part(line, event.session_id, event.name == "session.end"),)
