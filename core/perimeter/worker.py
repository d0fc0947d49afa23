"""
The one bounded batch queue that recorders, exporters and stores use to get work off the data path.

Producers never wait: an item is appended to a deque, and the consumer is only woken where it
sleeps. A thread shares the interpreter with the event loop, so heavy computation belongs into a
process of its own even behind this queue.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, Literal, TypeVar, cast

import attrs

from perimeter.dispatch import LOG_SECONDS


T = TypeVar("T")
OnFull = Literal["drop_oldest", "drop_newest"]
Handler = Callable[[list[T]], Awaitable[None] | None]

_NEVER = sys.maxsize


@attrs.define(eq=False)
class Worker(Generic[T]):
    """
    Hands items in batches to a handler: a function in a thread, an async one on the loop.

    Attributes:
        handler: Takes a batch. An exception from it is logged and counted, and costs that batch.
        name: For the log and the thread's name.
        queue: How many items may wait.
        batch: How many items the handler gets at most.
        linger: Seconds that items may wait for a batch to fill.
        on_full: Which item is lost where the queue is full.
        log: Where losses and failures are reported.
        dropped: How many items were lost: no room, no time at the end, or after `close`.
        failures: How many batches the handler failed on.
    """

    handler: Handler[T]
    name: str = attrs.field(default="worker", kw_only=True)
    queue: int = attrs.field(default=10_000, kw_only=True, validator=attrs.validators.ge(1))
    batch: int = attrs.field(default=100, kw_only=True, validator=attrs.validators.ge(1))
    linger: float = attrs.field(default=0.5, kw_only=True, validator=attrs.validators.ge(0))
    on_full: OnFull = attrs.field(
        default="drop_oldest",
        kw_only=True,
        validator=attrs.validators.in_(("drop_oldest", "drop_newest")),
    )
    log: logging.Logger = attrs.field(factory=lambda: logging.getLogger(__name__), kw_only=True)
    dropped: int = attrs.field(default=0, init=False)
    failures: int = attrs.field(default=0, init=False)
    _items: deque[T] = attrs.field(factory=deque, init=False)
    _wake_at: int = attrs.field(default=_NEVER, init=False)  # items to ring at
    _closed: bool = attrs.field(default=False, init=False)
    _abandoned: bool = attrs.field(default=False, init=False)
    _started: bool = attrs.field(default=False, init=False)
    _overflowing: bool = attrs.field(default=False, init=False)
    _in_hand: int = attrs.field(default=0, init=False)
    _quiet_until: float = attrs.field(default=0.0, init=False)
    _full_quiet_until: float = attrs.field(default=0.0, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _bell: threading.Event | asyncio.Event = attrs.field(factory=threading.Event, init=False)
    _ring: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    _ended: Future[None] = attrs.field(factory=Future, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    @property
    def depth(self) -> int:
        """How many items wait."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """
        Queue an item, from any thread. Never blocks, never raises.

        Returns:
            Whether it was taken; False where there is no room for it, and after `close`.
        """
        if self._closed:
            self._lost()
            return False
        items = self._items
        if len(items) >= self.queue and not self._make_room():
            return False
        items.append(item)
        if len(items) >= self._wake_at:
            self._wake_at = _NEVER  # it is woken once, not by every item until it runs
            self._ring()
        return True

    def start(self) -> None:
        """Begin to consume; an async handler needs the running loop. Further calls do nothing."""
        if self._started:
            return
        if _is_async(self.handler):
            self._start_task(asyncio.get_running_loop())
        else:
            self._ring = self._bell.set
            thread = threading.Thread(target=self._run, name=f"perimeter-{self.name}", daemon=True)
            thread.start()
        self._started = True

    def close(self) -> None:
        """Take nothing more. What waits is still handled, at once."""
        self._closed = True
        self._ring()

    async def drain(self, deadline: float) -> bool:
        """
        Close, and wait until everything is handled.

        Args:
            deadline: Seconds that this may take; what is left then is dropped.

        Returns:
            Whether everything was handled.
        """
        self.close()
        if not self._started:
            self.start()
        over = asyncio.Event()
        self._ended.add_done_callback(_setter(asyncio.get_running_loop(), over))
        try:
            async with asyncio.timeout(deadline):
                await over.wait()
        except TimeoutError:
            return self._give_up(deadline)
        return True

    def _make_room(self) -> bool:
        if self.on_full == "drop_oldest":
            try:
                self._items.popleft()
            except IndexError:  # the consumer was faster
                return True
        if self._lost(overflow=True):
            which = "oldest" if self.on_full == "drop_oldest" else "newest"
            self.log.warning(
                "%s is full (%d items): the %s are dropped", self.name, self.queue, which
            )
        return self.on_full == "drop_oldest"

    def _lost(self, *, overflow: bool = False) -> bool:
        """Count a lost item, and return whether that is news: queues at their limit flap."""
        with self._lock:
            self.dropped += 1
            now = time.monotonic()
            news = overflow and not self._overflowing and now >= self._full_quiet_until
            if news:
                self._overflowing = True
                self._full_quiet_until = now + LOG_SECONDS
        return news

    def _steps(self) -> Iterator[list[T] | float | None]:
        """Yield what the consumer does next: handle a batch, or wait for the bell (seconds)."""
        while True:
            yield from self._wait(1, None)
            yield from self._wait(self.batch, self.linger)
            if self._abandoned or not self._items:
                return
            yield self._take()
            self._in_hand = 0

    def _wait(self, wanted: int, seconds: float | None) -> Iterator[float | None]:
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            # Clear, announce, then look: an item that comes in between rings the bell again.
            self._bell.clear()
            self._wake_at = wanted
            left = None if until is None else until - time.monotonic()
            enough = len(self._items) >= wanted or self._closed
            if enough or (left is not None and left <= 0):
                self._wake_at = _NEVER
                return
            yield left

    def _take(self) -> list[T]:
        taken: list[T] = []
        with suppress(IndexError):
            while len(taken) < self.batch:
                taken.append(self._items.popleft())
        self._in_hand = len(taken)
        if self._overflowing and len(self._items) <= self.queue // 2:
            with self._lock:
                self._overflowing = False
            self.log.warning("%s has room again; %d items dropped so far", self.name, self.dropped)
        return taken

    def _run(self) -> None:
        """Consume, as the main function of a thread."""
        bell = cast("threading.Event", self._bell)
        for step in self._steps():
            if not isinstance(step, list):
                bell.wait(step)
                continue
            try:
                self.handler(step)
            except BaseException as error:  # else the thread would end unnoticed
                self._failed(error)
        self._ended.set_result(None)

    def _start_task(self, loop: asyncio.AbstractEventLoop) -> None:
        bell = self._bell = asyncio.Event()
        own = threading.get_ident()
        elsewhere = _setter(loop, bell)
        self._ring = lambda: bell.set() if threading.get_ident() == own else elsewhere()
        self._task = loop.create_task(self._serve(bell), name=f"perimeter-{self.name}")
        self._task.add_done_callback(lambda _: self._ended.set_result(None))

    async def _serve(self, bell: asyncio.Event) -> None:
        """Consume, as a task."""
        for step in self._steps():
            if isinstance(step, list):
                await self._handle(step)
                await asyncio.sleep(0)  # a handler that never waits must not keep the loop
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(step):
                        await bell.wait()

    async def _handle(self, batch: list[T]) -> None:
        try:
            await cast("Awaitable[None]", self.handler(batch))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failed(error)  # something that the handler waited for was cancelled, not we
        except (Exception, SystemExit) as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self.failures += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            message = "%s could not handle a batch (failure %d)"
            self.log.error(message, self.name, self.failures, exc_info=error)

    def _give_up(self, deadline: float) -> bool:
        self._abandoned = True
        lost = len(self._items) + self._in_hand
        self._items.clear()
        if self._task is not None:
            self._task.cancel()
        if lost:
            self.dropped += lost
            message = "%s was not done after %g s: %d items are lost"
            self.log.error(message, self.name, deadline, lost)
        return not lost


def _is_async(handler: Callable[..., Any]) -> bool:
    call = getattr(handler, "__call__", None)  # noqa: B004 - an object may be a coroutine function
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def _setter(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[..., None]:
    """Return what sets an event of the loop from any thread, even after the loop's end."""

    def set_event(*_: object) -> None:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(event.set)

    return set_event
