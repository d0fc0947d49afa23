"""The plugin: hands what it observes to the live-trace process, which it keeps running."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from perimeter import hookimpl
from perimeter_plugin_live_trace import config, socket_path
from perimeter_plugin_live_trace.child import Child
from perimeter_plugin_live_trace.records import Progress, State
from perimeter_plugin_live_trace.sender import Sender, making


if TYPE_CHECKING:
    from perimeter import Event, Exchange, PluginContext, Session

PROGRESS_SECONDS = 1.0
STATE_SECONDS = 5.0


@attrs.define(eq=False, repr=False)
class LiveTrace:
    """Show traffic while it happens, and keep it to be searched."""

    Config: ClassVar[type[config.Config]] = config.Config
    demo_options: ClassVar[dict[str, Any]] = {"storage_mode": "memory"}
    """What is different in a demonstration: nothing of it is kept."""

    config: config.Config
    context: PluginContext
    _sender: Sender = attrs.field(init=False)
    _asked: set[str] = attrs.field(factory=set, init=False)
    _streams: dict[str, Exchange] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._sender = Sender(self.context)

    # -- once per proxy

    @hookimpl
    async def supervise(self) -> Callable[[], Awaitable[None]]:
        """Start the process that keeps and shows what the workers tell."""
        child = Child(self.config, self.context)
        await child.start()
        return child.stop

    # -- in every worker

    @hookimpl
    def startup(self) -> None:
        """Begin to send."""
        self._sender.start(socket_path.of(self.context))
        self.context.spawn(self._tell_progress(), name="live trace: progress")
        self.context.spawn(self._tell_state(), name="live trace: state")

    @hookimpl
    async def shutdown(self) -> None:
        """Send what waits."""
        await self._sender.stop()

    @hookimpl
    def on_request(self, exchange: Exchange) -> None:
        """Tell of a request."""
        if _is_told(exchange):
            self._asked.add(exchange.id)
            self._sender.put(making.asked(exchange))

    @hookimpl
    def on_response_start(self, exchange: Exchange) -> None:
        """Watch a stream grow."""
        response = exchange.response
        if response is not None and response.framing is not None and exchange.id in self._asked:
            self._streams[exchange.id] = exchange

    @hookimpl
    def on_session_event(self, session: Session | None, event: Event) -> None:
        """Tell of an event."""
        if event.recorded:
            self._sender.put(making.happened(session, event))

    @hookimpl
    def on_response(self, exchange: Exchange) -> None:
        """Tell how an exchange ended."""
        self._ended(exchange)

    @hookimpl
    def on_error(self, exchange: Exchange) -> None:
        """Tell how an exchange ended."""
        self._ended(exchange)

    def _ended(self, exchange: Exchange) -> None:
        self._streams.pop(exchange.id, None)
        was_asked = exchange.id in self._asked
        self._asked.discard(exchange.id)
        if not _is_told(exchange):
            return
        if not was_asked:  # refused or answered by a guard: it never went upstream
            self._sender.put(making.asked(exchange))
        self._sender.put(making.answered(exchange))

    async def _tell_progress(self) -> None:
        """
        Tell how far streams are, once in a while.

        A timer for all of them, because something done for each piece of each stream would cost
        many times as much.
        """
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            for exchange in self._streams.values():
                if exchange.recorded and exchange.response is not None:
                    self._sender.put(Progress(exchange.id, exchange.response.size))

    async def _tell_state(self) -> None:
        while True:
            plugins = making.plugins(self.context)
            self._sender.put(State(os.getpid(), self._sender.lost, self._sender.held, plugins))
            await asyncio.sleep(STATE_SECONDS)


def _is_told(exchange: Exchange) -> bool:
    """Tell whether an exchange is for people to see: one that is kept, with a model."""
    return exchange.recorded and exchange.dialect.name != "raw"
