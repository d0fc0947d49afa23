"""Sends records to the live-trace process, and keeps them as long as they are not safe there."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

import perimeter_plugin_live_trace.records as wire
from perimeter_plugin_live_trace.records import Hello, Record
from perimeter_plugin_live_trace.sender.encoding import frames
from perimeter_plugin_live_trace.sender.link import Link
from perimeter_plugin_live_trace.sender.making import weight


if TYPE_CHECKING:
    from prometheus_client import Gauge

    from perimeter import PluginContext

MOST_HELD = 64 * 1024 * 1024
"""Bytes that wait to be sent or to be safe; more are not taken."""
GATHER_SECONDS = 0.025
"""How long records wait for others to go with."""
GATHERED = 1000
"""Records that go at once, because they are enough for a frame."""
RETRY_SECONDS = (0.05, 2.0)
"""Between attempts to connect: at first and at most."""
END_SECONDS = 3.0
"""What the other process gets to write everything at the end."""
QUIET_SECONDS = 20.0


@attrs.define(eq=False, repr=False)
class Sender:
    """
    Takes records on the loop; never waits, and never fails.

    Attributes:
        context: The plugin's.
        most_held: Bytes that may wait.
        lost: How many records were not taken because too much waited.
        held: Bytes that wait.
    """

    context: PluginContext
    most_held: int = MOST_HELD
    lost: int = 0
    held: int = 0
    _new: list[Record] = attrs.field(factory=list)
    _new_weight: int = 0
    _frames: deque[bytes] = attrs.field(factory=deque)
    _link: Link | None = None
    _timer: asyncio.TimerHandle | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _empty: asyncio.Event = attrs.field(factory=asyncio.Event)
    _quiet_until: float = 0.0
    _count_lost: Callable[[float], None] = attrs.field(init=False)
    _connected: Gauge = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        metrics = self.context.metrics
        self._count_lost = metrics.counter(
            "dropped", "Records that were lost because the live-trace process did not keep up."
        ).inc
        self._connected = metrics.gauge("connected", "1 while the live-trace process listens.")

    def start(self, path: Path) -> None:
        """Begin to send to a socket; needs the running loop."""
        self._loop = asyncio.get_running_loop()
        self.context.spawn(self._keep_connected(path), name="live trace: connection")

    def put(self, record: Record) -> None:
        """Take a record."""
        size = weight(record)
        if self.held + size > self.most_held:
            self._lose()
            return
        self.held += size
        self._new_weight += size
        self._new.append(record)
        if len(self._new) >= GATHERED:
            self._flush()
        elif self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(GATHER_SECONDS, self._flush)

    async def stop(self) -> None:
        """Wait until everything is safe, but not for ever."""
        self._flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while self._frames and self._link is not None:
                    self._empty.clear()
                    await self._empty.wait()
        if self._frames:
            message = "live trace: the last %d bytes of records could not be handed over"
            self.context.log.warning(message, self.held)
        if self._link is not None:
            self._link.close()

    def _flush(self) -> None:
        """Make frames of what is new, and send them if there is somebody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._new:
            return
        made, failed = frames(self._new)
        self.held += sum(map(len, made)) - self._new_weight
        self._new, self._new_weight = [], 0
        for error in failed:
            self._lose()
            self.context.log.warning("a record could not be written: %s", error)
        self._frames.extend(made)
        if self._link is not None:
            self._link.send(made)

    def _safe(self, frames_written: int) -> None:
        """Forget the oldest frames, which the other process has written."""
        for _ in range(min(frames_written, len(self._frames))):
            self.held -= len(self._frames.popleft())
        if not self._frames:
            self._empty.set()

    async def _keep_connected(self, path: Path) -> None:
        patience = RETRY_SECONDS[0]
        while True:
            link = await self._connect(path)
            if link is not None:
                patience = RETRY_SECONDS[0]
                await link.gone
                self._link = None
                self._connected.set(0)
                self._empty.set()
            await asyncio.sleep(patience)
            patience = min(patience * 2, RETRY_SECONDS[1])

    async def _connect(self, path: Path) -> Link | None:
        """Connect, and send again what was not safe when the connection before this one ended."""
        hello = wire.frame([Hello.of(self.context.address, self.lost)])
        try:
            link = await Link.to(path, hello, self._safe)
        except OSError:
            return None
        self._link = link
        self._connected.set(1)
        link.send(self._frames)
        return link

    def _lose(self) -> None:
        self.lost += 1
        self._count_lost(1)
        now = self.context.clock.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            message = "the live-trace process does not keep up: %d records are lost so far"
            self.context.log.warning(message, self.lost)
