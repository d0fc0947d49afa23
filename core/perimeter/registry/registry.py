"""The plugins of one application: started, shown and stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from perimeter.configuration import describe
from perimeter.context import Jobs, Services
from perimeter.dispatch import Bound, HookCalls, Hooks
from perimeter.registry.calls import call, contributions, failure
from perimeter.validation import implementations


if TYPE_CHECKING:
    import pluggy

    from perimeter.dialects import Dialect
    from perimeter.errors import PluginError
    from perimeter.model import Event, Session
    from perimeter.settings import Settings

SHUTDOWN_SECONDS = 5.0
"""What plugins get to finish where the configuration gives exchanges no time at all."""


@attrs.define(eq=False)
class LoadedPlugin:
    """
    A plugin, running or not.

    Attributes:
        name: Its name.
        instance: The plugin itself; None where it is idle.
        distribution: The distribution it comes from; "" where a program handed it over.
        version: That distribution's version.
        state: `idle` if it is installed and nothing else, `failed` if it could not start.
        config: Its options; None where it is idle.
        jobs: Its workers and background tasks.
    """

    name: str
    instance: Any = None
    distribution: str = ""
    version: str = ""
    state: Literal["loaded", "idle", "failed"] = "idle"
    config: Any = None
    jobs: Jobs = attrs.field(default=attrs.Factory(lambda self: Jobs(self.name), takes_self=True))


@attrs.define(eq=False)
class Registry:
    """
    The plugins of one application.

    Attributes:
        settings: The effective configuration.
        plugins: Running ones by name, in call order, then idle ones.
        hooks: The traffic hooks, ready to call.
        lifecycle: The implementations of `supervise`, `startup` and `shutdown`, in call order.
        dialects: The provider APIs that plugins add.
    """

    settings: Settings
    plugins: dict[str, LoadedPlugin]
    hooks: Hooks
    lifecycle: Mapping[str, tuple[Bound, ...]]
    dialects: Sequence[Dialect]
    _routes: Mapping[str, Sequence[Any]]
    _manager: pluggy.PluginManager
    _services: Services

    def routes(self) -> Mapping[str, Sequence[Any]]:
        """Return the route handlers that plugins add, by plugin."""
        return self._routes

    def contributions(self, hook: str) -> dict[str, Any]:
        """
        Return what plugins add through a hook, by plugin in call order.

        Raises:
            PluginError: One of them failed.
        """
        return contributions(self._manager, hook)

    def publish(self, session: Session | None, event: Event) -> None:
        """Tell every plugin about an event; in order with those that plugins emit."""
        self._services.events.publish(session, event)

    async def supervise(self) -> Callable[[], Awaitable[None]]:
        """
        Set up what there is one of per proxy.

        Returns:
            What to await at the very end.

        Raises:
            PluginError: A plugin failed; what had been set up is let go of again.
        """
        self._open()
        closers: list[Bound] = []

        async def close() -> None:
            for closer in reversed(closers):
                await self._quietly(closer)
            await self._services.close()

        for bound in self.lifecycle["supervise"]:
            try:
                closer = await call(bound)
            except BaseException as error:  # Ctrl-C cancels it
                await close()
                await self.release()
                if not isinstance(error, (Exception, SystemExit)):
                    raise
                raise self._failure(bound, error) from error
            if closer is not None:
                closers.append(Bound(bound.plugin, "supervise", closer))
        return close

    async def startup(self) -> None:
        """
        Start the plugins in call order.

        Raises:
            PluginError: One of them failed; those before it are shut down again.
        """
        self._open()
        for position, bound in enumerate(self.lifecycle["startup"]):
            try:
                await call(bound)
            except BaseException as error:  # Ctrl-C cancels it
                unstarted = {each.plugin for each in self.lifecycle["startup"][position:]}
                await self._shutdown(unstarted)
                if not isinstance(error, (Exception, SystemExit)):
                    raise
                raise self._failure(bound, error) from error

    async def shutdown(self) -> None:
        """Stop the plugins in reverse order; what fails or takes too long there is only logged."""
        await self._shutdown(set())

    def describe(self) -> list[dict[str, Any]]:
        """Describe each plugin: name, distribution, version, state, hooks, and options if any."""
        configs = {
            name: each.config for name, each in self.plugins.items() if each.instance is not None
        }
        options = describe(self.settings, configs)["plugins"]
        return [
            {
                "name": each.name,
                "distribution": each.distribution,
                "version": each.version,
                "state": each.state,
                "hooks": list(implementations(type(each.instance)))
                if each.instance is not None
                else [],
                "config": options.get(each.name),
            }
            for each in self.plugins.values()
        ]

    def places(self) -> list[str]:
        """Return lines that say where plugins can be found, and where they write to."""
        data = [f"data: {self._services.data_root}"] if self._services.keeps_data else []
        return [*self._services.places, *data]

    def located(self, host: str, port: int) -> None:
        """Tell plugins where the proxy listens."""
        host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        self._services.address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def bound(self) -> Iterable[Bound]:
        """Everything that is called of plugins, for the metrics."""
        yield from self.hooks.all
        for chain in self.lifecycle.values():
            yield from chain
        for plugin in self.plugins.values():
            if plugin.jobs.failures.failures:
                yield plugin.jobs.failures

    def hook_calls(self) -> dict[str, dict[str, HookCalls]]:
        """Return what hooks have cost so far, by plugin and hook; those that were called."""
        found: dict[str, dict[str, HookCalls]] = {}
        for each in self.bound:
            if each.calls or each.failures:
                of_plugin = found.setdefault(each.plugin, {})
                of_plugin[each.hook] = HookCalls(each.calls, each.seconds, each.failures)
        return found

    @property
    def _patience(self) -> float:
        return self.settings.server.shutdown_timeout or SHUTDOWN_SECONDS

    def _open(self) -> None:
        self._services.events.open(asyncio.get_running_loop())
        for plugin in self.plugins.values():
            plugin.jobs.open()

    async def _shutdown(self, unstarted: set[str]) -> None:
        for bound in reversed(self.lifecycle["shutdown"]):
            if bound.plugin not in unstarted:
                await self._quietly(bound)
        await self.release()

    async def release(self) -> None:
        """Let go of what contexts hold; `shutdown` does so at its end."""
        jobs = [plugin.jobs for plugin in self.plugins.values()]
        await asyncio.gather(*(each.drain(self._patience) for each in jobs))
        await asyncio.gather(*(each.cancel(self._patience) for each in jobs))
        await self._services.close()

    async def _quietly(self, bound: Bound) -> None:
        """Call what must not keep others from being called."""
        try:
            async with asyncio.timeout(self._patience):
                await call(bound)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - logged with its traceback
            bound.failed(error)

    def _failure(self, bound: Bound, error: BaseException) -> PluginError:
        self.plugins[bound.plugin].state = "failed"
        return failure(bound, error)
