"""What a plugin gets from Perimeter beside its configuration."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from perimeter.dispatch import LOG_SECONDS, Bound, HookCalls, Hooks, notify
from perimeter.worker import Handler, OnFull, Worker


if TYPE_CHECKING:
    import httpx

    from perimeter.metrics import PluginMetrics
    from perimeter.model import Event, Session
    from perimeter.pricing import Price

T = TypeVar("T")

MAX_DEPTH = 8
"""How long a chain of events may be in which each was emitted on seeing the one before."""
HTTP_SECONDS = 30.0
"""The shared HTTP client's patience, where a plugin does not say otherwise."""

log = logging.getLogger("perimeter.plugins")


class Clock:
    """Tells the time; tests put another one in its place."""

    def time(self) -> float:
        """Return Unix time, in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


@attrs.define(eq=False)
class Events:
    """
    Hands events to the observers, each to all of them before the next one.

    Attributes:
        hooks: Who observes.
        dropped: How many events were lost because they were a reaction to a reaction to ...
    """

    hooks: Hooks = attrs.field(factory=Hooks)
    dropped: int = 0
    _waiting: deque[tuple[int, Session | None, Event]] = attrs.field(factory=deque)
    _depth: int | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: int = 0
    _quiet_until: float = 0.0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take events from other threads too, by way of this loop."""
        self._loop = loop
        self._thread = threading.get_ident()

    def publish(self, session: Session | None, event: Event) -> None:
        """Hand over an event, after the one that is being handed over now if there is one."""
        if self._loop is not None and threading.get_ident() != self._thread:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self.publish, session, event)
        elif self._depth is None:
            self._deliver(session, event)
        elif self._depth < MAX_DEPTH:
            self._waiting.append((self._depth + 1, session, event))
        else:
            self._drop(event)

    def _deliver(self, session: Session | None, event: Event) -> None:
        self._depth = 0
        try:
            notify(self.hooks.on_session_event, session, event)
            while self._waiting:
                self._depth, session, event = self._waiting.popleft()
                notify(self.hooks.on_session_event, session, event)
        finally:
            self._depth = None

    def _drop(self, event: Event) -> None:
        self.dropped += 1
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_SECONDS
            message = "%s was dropped: plugins react to each other's events without end (%d so far)"
            log.error(message, event.name, self.dropped)


@attrs.define(eq=False)
class Services:
    """
    What all plugins of an application share.

    Attributes:
        data_root: The folder that holds each plugin's own.
        clock: Tells the time.
        events: Hands events to the observers.
        keeps_data: Whether a plugin has asked for its folder.
        redact: Whether plugins mask secrets in what they keep.
        pricing: What models cost, where the configuration says so.
        address: Where the proxy listens, once that is known.
        places: Lines of plugins that tell where something can be found.
        contributions: Gives what plugins add through a hook, by plugin.
        plugins: Describes the plugins.
        hook_calls: Counts the calls of hooks.
    """

    data_root: Path = attrs.field(factory=lambda: data_root(os.environ))
    clock: Clock = attrs.field(factory=Clock)
    events: Events = attrs.field(factory=Events)
    keeps_data: bool = False
    redact: bool = True
    pricing: Mapping[str, Price] = attrs.field(factory=dict)
    address: str = ""
    places: list[str] = attrs.field(factory=list)
    contributions: Callable[[str], Mapping[str, Any]] = lambda _: {}
    plugins: Callable[[], list[dict[str, Any]]] = list
    hook_calls: Callable[[], Mapping[str, Mapping[str, HookCalls]]] = dict
    _http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """The HTTP client, which is made when it is first asked for."""
        if self._http is None:
            import httpx  # noqa: PLC0415 - most plugins need none, and it loads slowly

            self._http = httpx.AsyncClient(timeout=HTTP_SECONDS)
        return self._http

    def data_dir(self, plugin: str) -> Path:
        """Return a plugin's folder, which only the user can look into."""
        folder = self.data_root / plugin
        for each in (self.data_root, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.keeps_data = True
        return folder

    async def close(self) -> None:
        """Close the HTTP client."""
        client, self._http = self._http, None
        if client is not None:
            await client.aclose()


@attrs.define(eq=False)
class Jobs:
    """
    What a plugin has running in the background.

    Attributes:
        plugin: The plugin's name.
        workers: Its workers.
        tasks: Its tasks that are not over.
        failures: Counts the tasks that failed.
    """

    plugin: str
    workers: list[Worker[Any]] = attrs.field(factory=list)
    tasks: set[asyncio.Task[Any]] = attrs.field(factory=set)
    failures: Bound = attrs.field(init=False)
    _opened: bool = False

    def __attrs_post_init__(self) -> None:
        self.failures = Bound(self.plugin, "task", lambda: None)

    def open(self) -> None:
        """Start the workers, those made so far and those to come; needs the running loop."""
        self._opened = True
        for worker in self.workers:
            worker.start()

    def add_worker(self, worker: Worker[Any]) -> None:
        """Keep a worker, and start it if it is time."""
        self.workers.append(worker)
        if self._opened:
            worker.start()

    def add_task(self, task: asyncio.Task[Any]) -> None:
        """Keep a task until it is over."""
        self.tasks.add(task)
        task.add_done_callback(self._over)

    async def drain(self, deadline: float) -> None:
        """Let the workers finish, for so many seconds at most."""
        await asyncio.gather(*(worker.drain(deadline) for worker in self.workers))

    async def cancel(self, deadline: float) -> None:
        """Cancel the tasks, and wait until they are over, for so many seconds at most."""
        for task in self.tasks:
            task.cancel()
        if not self.tasks:
            return
        _, left = await asyncio.wait(self.tasks, timeout=deadline)
        for task in left:
            message = "plugin %s: the task %s did not end when it was cancelled"
            log.error(message, self.plugin, task.get_name())

    def _over(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.failures.failed(error)


@attrs.define(eq=False)
class PluginContext:
    """
    What one plugin gets.

    Attributes:
        name: The plugin's name.
        metrics: Makes metrics that are called `perimeter_<plugin>_...`.
        log: The plugin's logger.
        clock: Tells the time: `time()` and `monotonic()`.
    """

    name: str
    metrics: PluginMetrics
    _services: Services
    _jobs: Jobs
    log: logging.Logger = attrs.field(init=False)
    clock: Clock = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = logging.getLogger(f"perimeter.plugin.{self.name}")
        self.clock = self._services.clock

    @property
    def data_dir(self) -> Path:
        """The folder for this plugin's files; it is made when it is first asked for."""
        return self._services.data_dir(self.name)

    @property
    def redact(self) -> bool:
        """Whether to mask secrets, with `perimeter.redaction`, in all that the plugin keeps."""
        return self._services.redact

    @property
    def pricing(self) -> Mapping[str, Price]:
        """What models cost, where the configuration says so (`[pricing]`), by name."""
        return self._services.pricing

    @property
    def address(self) -> str:
        """
        Where this machine's clients reach the proxy, such as `http://127.0.0.1:4000`.

        It is known from `supervise` and `startup` on, and "" under a server that is not our own.
        """
        return self._services.address

    def announce(self, place: str) -> None:
        """Show a line such as `dashboard: http://...` where the proxy says what was started."""
        self._services.places.append(place)

    def contributed(self, hook: str) -> Mapping[str, Any]:
        """
        Return what plugins, this one included, add through a hook such as `dashboard`.

        To be asked for from `supervise` and `startup` on, when every plugin has been built.

        Raises:
            PluginError: One of them failed.
        """
        return self._services.contributions(hook)

    def plugins(self) -> list[dict[str, Any]]:
        """Describe the installed plugins, as `/config` does: secrets are masked."""
        return self._services.plugins()

    def hook_calls(self) -> Mapping[str, Mapping[str, HookCalls]]:
        """Return what hooks have cost in this process so far, by plugin and hook."""
        return self._services.hook_calls()

    @property
    def http(self) -> httpx.AsyncClient:
        """An HTTP client, shared by all plugins; it is closed after the last `shutdown`."""
        return self._services.http

    def worker(
        self,
        handler: Handler[T],
        *,
        queue: int = 10_000,
        batch: int = 100,
        linger: float = 0.5,
        on_full: OnFull = "drop_oldest",
    ) -> Worker[T]:
        """
        Return a bounded queue whose items are handled in batches, off the data path.

        It begins with the plugins' start-up, and is drained after their `shutdown`.

        Args:
            handler: Takes a batch; a function runs in a thread of its own, an async one on the
                event loop.
            queue: How many items may wait.
            batch: How many items the handler gets at most.
            linger: Seconds that items may wait for a batch to fill.
            on_full: Which item is lost where the queue is full; losses are counted and logged.
        """
        worker = Worker(
            handler,
            name=self.name,
            queue=queue,
            batch=batch,
            linger=linger,
            on_full=on_full,
            log=self.log,
        )
        self._jobs.add_worker(worker)
        return worker

    def spawn(
        self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T]:
        """
        Run a coroutine in the background, until it ends or the proxy stops.

        Args:
            coroutine: What to run; if it raises, that is logged and counted.
            name: Of the task; the plugin's name where none is given.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(coroutine, name=name or self.name)
        self._jobs.add_task(task)
        return task

    def emit(self, event: Event) -> None:
        """
        Tell every plugin about an event, from any thread.

        They hear of it after the event that is being told now; a chain of events that plugins emit
        on seeing each other's ends after eight.
        """
        self._services.events.publish(None, event)


def data_root(environ: Mapping[str, str]) -> Path:
    """Return the folder that plugins' folders are in: `PERIMETER_DATA_DIR`, or the user's own."""
    configured = environ.get("PERIMETER_DATA_DIR")
    if configured:
        return Path(configured).expanduser().absolute()
    import platformdirs  # noqa: PLC0415 - plugins import this module, and few keep data

    return platformdirs.user_data_path("perimeter", appauthor=False)
