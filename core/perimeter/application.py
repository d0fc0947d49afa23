"""Everything one worker runs, put together: plugins, upstreams, the data path and the admin."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from urllib.parse import unquote

import attrs
from litestar import Litestar, asgi

from perimeter import admin, logs, registry
from perimeter.configuration import Overrides, load
from perimeter.configuration.changes import applicable
from perimeter.context import Clock, data_root
from perimeter.gateway.client import Receive, Scope, Send
from perimeter.gateway.gateway import Gateway
from perimeter.gateway.routing import Router
from perimeter.gateway.upstream import Upstream
from perimeter.metrics import Metrics
from perimeter.pricing import PriceTable
from perimeter.registry import Registry
from perimeter.sessions.evidence import SessionStore
from perimeter.sessions.stores import open_store
from perimeter.settings import Settings, UpstreamSettings
from perimeter.tracking import Tracker
from perimeter.upstream import Transport
from perimeter.upstream.choice import transport_for


TransportFactory = Callable[[UpstreamSettings], Transport]


@attrs.define(eq=False)
class Application:
    """
    One worker's application.

    Attributes:
        settings: The effective configuration.
        registry: The plugins.
        metrics: What is counted.
        upstreams: By name, in the order of the configuration.
        gateway: The data path.
        tracker: Follows calls of models.
        started_at: Monotonic time at which it was built.
        draining: Whether it is stopping; `/health` says so.
        transport: Makes the connections to an upstream.
        asgi: The ASGI application, admin included.
    """

    settings: Settings
    registry: Registry
    metrics: Metrics
    upstreams: Mapping[str, Upstream]
    gateway: Gateway
    tracker: Tracker
    transport: TransportFactory = transport_for
    started_at: float = attrs.field(factory=time.monotonic)
    draining: bool = False
    asgi: Litestar = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        @asgi("/", is_mount=True, copy_scope=False)
        async def data_path(scope: Scope, receive: Receive, send: Send) -> None:
            # The mount has rewritten the path, which the server's access log goes on to show.
            if raw := scope.get("raw_path"):
                scope["path"] = unquote(raw.decode("latin-1"))
            await self.gateway(scope, receive, send)

        self.asgi = Litestar(
            [data_path, *admin.handlers(self), *admin.plugin_routers(self)],
            openapi_config=None,
            logging_config=None,
            lifespan=[self._lifespan],
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Run all of a proxy's life in a foreign server; our own one starts without it."""
        close = await self.registry.supervise()
        await self.startup()
        try:
            yield
        finally:
            await self.shutdown()
            await close()

    async def startup(self) -> None:
        """
        Start the plugins.

        Raises:
            PluginError: One of them can't start; those that had started are shut down again.
        """
        await self.registry.startup()
        self.tracker.start()

    def reload(self, settings: Settings, log_to: Callable[..., None] = logs.configure) -> list[str]:
        """
        Take over a new configuration, as far as that is possible while calls are under way.

        Args:
            settings: What is wanted.
            log_to: Sets up logging, as `logs.configure` does.

        Returns:
            The keys of what needs a restart.

        Raises:
            ConfigError: The log can't be written as it says; nothing has changed.
            OSError: An upstream's certificate can't be read; nothing has changed.
        """
        settings, waiting = applicable(self.settings, settings)
        upstreams = self._upstreams(settings)
        log_to(settings.logging, [*self.settings.secrets(), *settings.secrets()])
        replaced = [each for each in self.upstreams.values() if each not in upstreams.values()]
        self.settings = self.registry.settings = settings
        self.upstreams = upstreams
        self.gateway.configure(settings.server, _router(settings, upstreams, self.registry))
        self.gateway.retirement.add(replaced)
        return waiting

    def _upstreams(self, settings: Settings) -> dict[str, Upstream]:
        """Return the upstreams of a configuration: those whose table is the same stay."""
        return {
            name: self.upstreams[name]
            if name in self.upstreams and self.upstreams[name].settings == table
            else Upstream.build(name, table, self.transport(table))
            for name, table in settings.upstreams.items()
        }

    def places(self) -> list[str]:
        """Return lines that say what is written where."""
        path = getattr(self.tracker.store, "path", None)
        return [*self.registry.places(), *([f"sessions: {path}"] if path else [])]

    async def shutdown(self) -> None:
        """End all sessions, stop the plugins, then close every connection."""
        self.gateway.afterwards.finish()
        await self.tracker.stop()
        await self.registry.shutdown()
        await self.close_upstreams()

    async def close_upstreams(self) -> None:
        """Close every connection to an upstream."""
        for upstream in self.upstreams.values():
            await upstream.transport.close()
        await self.gateway.retirement.close()


def build(
    settings: Settings,
    *,
    plugins: Mapping[str, type] | None = None,
    transport: TransportFactory = transport_for,
    clock: Clock | None = None,
    store: SessionStore | None = None,
    gateway: type[Gateway] = Gateway,
    guards: bool = True,
) -> Application:
    """
    Put an application together. Nothing is opened yet.

    Args:
        settings: The effective configuration, with at least one upstream.
        plugins: Further plugin classes by name, beside the installed ones, for tests and embedding.
        transport: Makes the connections to an upstream.
        clock: Tells the time to plugins and the data path.
        store: Knows the sessions; None for the one that the settings name.
        gateway: The data path.
        guards: Whether plugins decide; else they only observe.

    Raises:
        ConfigError: A plugin is missing, or its table is wrong.
        PluginError: A plugin can't be loaded.
    """
    clock = clock or Clock()
    metrics = Metrics(clock.monotonic)
    loaded = registry.load(settings, metrics=metrics, clock=clock, extra=plugins or {})
    upstreams = {
        name: Upstream.build(name, table, transport(table))
        for name, table in settings.upstreams.items()
    }
    if store is None:
        store = _open_store(settings, loaded, clock)
    tracker = Tracker(
        settings.session,
        store,
        metrics,
        PriceTable.packaged(settings.pricing),
        loaded.publish,
        observed=bool(loaded.hooks.on_session_event),
        clock=clock,
    )
    metrics.bind_sessions(lambda: tracker.store.active)
    router = _router(settings, upstreams, loaded)
    data_path = gateway(
        settings.server,
        router,
        loaded.hooks if guards else loaded.hooks.observers,
        metrics,
        tracker,
        recording=settings.recording,
        clock=clock.monotonic,
        wall_clock=clock.time,
    )
    application = Application(settings, loaded, metrics, upstreams, data_path, tracker, transport)
    metrics.bind(
        in_flight=lambda: data_path.in_flight,
        connections=lambda: {
            name: upstream.transport.connections for name, upstream in application.upstreams.items()
        },
    )
    return application


def _router(settings: Settings, upstreams: Mapping[str, Upstream], loaded: Registry) -> Router:
    default = settings.default_upstream or next(iter(upstreams))
    return Router(upstreams, default, loaded.dialects)


def _open_store(settings: Settings, loaded: Registry, clock: Clock) -> SessionStore:
    offered = {
        name: factory
        for factories in loaded.contributions("session_stores").values()
        for name, factory in factories.items()
    }
    return open_store(settings.session, offered, clock.time, data_root(os.environ))


def create_app() -> Litestar:
    """
    Return the ASGI application, configured by `PERIMETER_CONFIG` or `LLM_*`.

    For `uvicorn --factory perimeter:create_app`; `perimeter run` starts it with stricter limits.

    Raises:
        ConfigError: The configuration can't be used.
        PluginError: A plugin can't be loaded.
    """
    return build(load(None, environ=os.environ, overrides=Overrides())).asgi
