"""What all calls share: the session store, the prices, and whom events are told to."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from perimeter.calls import LLMReply
from perimeter.context import Clock
from perimeter.metrics import Metrics
from perimeter.model import Event, Exchange, Session
from perimeter.sessions.evidence import Ended, Resolution, SessionStore
from perimeter.settings import SessionSettings
from perimeter.tracking import events
from perimeter.tracking.call import TrackedCall, trace_of
from perimeter.tracking.identity import Identifier, Tenants, plain


if TYPE_CHECKING:
    from perimeter.pricing import PriceTable

log = logging.getLogger("perimeter.tracking")

LARGE = 256 * 1024
"""Bytes of a request that are read in a thread, so that other streams are not kept waiting."""

PATIENCE = 0.05
"""Seconds that a store elsewhere gets before the response goes out without its session's id."""
SWEEP_SECONDS = 1.0
"""How often sessions that are over are looked for; `session.end` is late by at most this much."""

Publish = Callable[[Session | None, Event], None]


class Tracker:
    """
    Follows the calls of one worker.

    Attributes:
        store: Knows the sessions.
        identifier: Makes evidence of requests.
        publish: Tells the plugins about an event.
        observed: Whether anybody listens to events.
        matches: Whether calls are put together to sessions.
    """

    def __init__(
        self,
        settings: SessionSettings,
        store: SessionStore,
        metrics: Metrics,
        prices: PriceTable,
        publish: Publish,
        *,
        observed: bool,
        clock: Clock,
    ) -> None:
        self.store = store
        self.identifier = Identifier(
            Tenants(store.secret), frozenset(plain(each) for each in settings.reset_phrases)
        )
        self.publish = publish
        self.observed = observed
        self.matches = settings.enabled
        self.time = clock.time
        self.monotonic = clock.monotonic
        self._metrics = metrics
        self._prices = prices
        self._sweeper: asyncio.TimerHandle | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._pending: set[asyncio.Future[Any]] = set()
        self._waiting: dict[asyncio.Future[None], float] = {}
        self._watch: asyncio.TimerHandle | None = None

    def follow(self, exchange: Exchange) -> TrackedCall | None:
        """Return what follows an exchange, None where it is no call of a model."""
        return TrackedCall(self, exchange) if exchange.dialect.operation else None

    async def begin(self, call: TrackedCall) -> None:
        """
        Read a request, find its session, and tell that it goes upstream.

        Waits for a store elsewhere, for a moment only.
        """
        body = call.exchange.original.body
        if body is not None and len(body) >= LARGE:
            await self._read_apart(call)
        found = self._resolve(call)
        if found is None:
            call.begin()
            return
        if isinstance(found, Resolution):
            self._place(call, found)
            return
        if not isinstance(found, asyncio.Future):
            found = asyncio.get_running_loop().create_task(_result(found))
        await self._await(call, found)

    async def _await(self, call: TrackedCall, found: asyncio.Future[Resolution]) -> None:
        """Wait for a store elsewhere, but not for ever: what comes late is taken when it comes."""
        loop = found.get_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        call.awaited = True
        self._waiting[waiter] = loop.time() + PATIENCE
        if self._watch is None:
            self._watch = loop.call_later(PATIENCE, self._look, loop)
        self._pending.add(found)
        found.add_done_callback(functools.partial(self._found, call, waiter))
        await waiter

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those calls go on without their session that have waited for too long."""
        self._watch = None
        now = loop.time()
        while self._waiting:
            waiter, deadline = next(iter(self._waiting.items()))  # the one that waits for longest
            if deadline > now:
                self._watch = loop.call_at(deadline, self._look, loop)
                return
            self._metrics.session_store_timeout()
            self._go_on(waiter)

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        if self._waiting.pop(waiter, None) is not None and not waiter.done():
            waiter.set_result(None)

    def _found(
        self, call: TrackedCall, waiter: asyncio.Future[None], found: asyncio.Future[Resolution]
    ) -> None:
        """Take the answer of a store elsewhere."""
        self._pending.discard(found)
        try:
            resolution = found.result()
        except asyncio.CancelledError:
            call.abandon(RuntimeError("the session store gave the call up"))
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            call.abandon(error)
        else:
            self._place(call, resolution)
            call.settle()
        self._go_on(waiter)

    async def _read_apart(self, call: TrackedCall) -> None:
        if self._reader is None:
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="perimeter-reader")
        try:
            await asyncio.get_running_loop().run_in_executor(self._reader, call.read_apart)
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            call.abandon(error)

    def _resolve(self, call: TrackedCall) -> Resolution | Awaitable[Resolution] | None:
        if call.broken:
            return None
        try:
            if not call.begun:
                call.read()
            evidence = call.identify()
            return None if evidence is None else self.store.resolve(evidence, ())
        except Exception as error:  # noqa: BLE001 - logged with its traceback
            call.abandon(error)
            return None

    def defect(self, exchange: Exchange, error: Exception) -> None:
        """Log a defect of ours, which must not touch traffic."""
        self._metrics.parse_error(exchange.dialect.name)
        where = {"exchange": exchange.id}
        log.error("a call could not be followed", exc_info=error, extra=where)

    def unreadable(self, exchange: Exchange, error: Exception) -> str:
        """Count and log that something can't be read; return why."""
        self._metrics.parse_error(exchange.dialect.name)
        where = {"exchange": exchange.id}
        log.info("%s can't be read: %s", exchange.dialect.name, error, extra=where)
        return str(error)

    def count(self, call: TrackedCall, reply: LLMReply | None) -> None:
        """Count what a call used."""
        upstream = call.exchange.upstream
        model = (reply.model if reply is not None else "") or call.model
        if (seconds := call.time_to_first_token) is not None:
            self._metrics.first_token(upstream, model, seconds)
        if reply is None or reply.usage is None:
            return
        self._metrics.tokens(upstream, model, reply.usage)
        call.cost = self._prices.cost(model, reply.usage)
        if call.cost is None and model != call.model:
            call.cost = self._prices.cost(call.model, reply.usage)
        if call.cost is not None:
            self._metrics.cost(upstream, model, call.cost)

    # -- sessions

    def start(self) -> None:
        """
        Begin to look for sessions that are over; needs the running loop.

        The first look makes the connection to a store elsewhere, before a call needs it.
        """
        self._sweep()

    async def stop(self) -> None:
        """End all sessions."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._pending:
            await asyncio.wait(self._pending, timeout=PATIENCE)
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
        self._tell_ended(await self.store.close())

    def _place(self, call: TrackedCall, resolution: Resolution) -> None:
        call.place(resolution)
        tried, hit = resolution.score is not None, not resolution.is_new
        self._metrics.lookup(resolution.method, resolution.score, tried_fuzzy=tried, hit=hit)
        if not hit:
            self._metrics.session_created()
        if resolution.ended:
            self._tell_ended(resolution.ended)
        call.begin()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
        self.sweep()

    def sweep(self) -> None:
        """Look for sessions that are over, and tell of them."""
        ended = self.store.sweep()
        if inspect.isawaitable(ended):
            task = asyncio.get_running_loop().create_task(self._tell_later(ended))
            self._pending.add(task)
            task.add_done_callback(self._pending.discard)
        else:
            self._tell_ended(ended)

    async def _tell_later(self, ended: Awaitable[Sequence[Ended]]) -> None:
        self._tell_ended(await ended)

    def _tell_ended(self, ended: Iterable[Ended]) -> None:
        for each in ended:
            self._metrics.session_expired(each.reason)
            if self.observed:
                session = Session(each.session_id, each.agent_id, each.workflow_id)
                trace = trace_of(each.session_id, each.workflow_id)
                self.publish(session, events.session_end(each, self.time(), trace))


async def _result(found: Awaitable[Resolution]) -> Resolution:
    return await found
