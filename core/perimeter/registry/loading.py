"""From the configuration to plugins that are ready to start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from perimeter import discovery
from perimeter.context import Clock, Jobs, PluginContext, Services
from perimeter.dialects import Dialect
from perimeter.discovery import Installed
from perimeter.dispatch import Hooks
from perimeter.errors import ConfigError, PerimeterError, PluginError
from perimeter.metrics import Metrics, PluginInfo
from perimeter.registry.calls import chain, contributions, describe_error, managed
from perimeter.registry.registry import LoadedPlugin, Registry


if TYPE_CHECKING:
    from perimeter.settings import Settings


def load(
    settings: Settings,
    *,
    metrics: Metrics,
    clock: Clock | None = None,
    extra: Mapping[str, type] | None = None,
) -> Registry:
    """
    Build the enabled plugins. Nothing is started.

    Args:
        settings: The effective configuration.
        metrics: Where they count.
        clock: Tells them the time.
        extra: Further plugin classes by name, beside the installed ones.

    Raises:
        ConfigError: Plugins are missing or broken, or their tables are wrong; with every problem.
        PluginError: A plugin can't be built.
    """
    known = discovery.find(extra)
    if problems := discovery.problems_of_plugins(settings, known):
        raise ConfigError(problems)
    services = Services(
        clock=clock or Clock(), redact=settings.recording.redact, pricing=settings.pricing
    )
    running = {
        name: _build(known[name], settings, metrics, services)
        for name in discovery.enabled(settings)
    }
    manager = managed({name: each.instance for name, each in running.items()})
    hooks = Hooks.compile(manager, timeout=settings.server.guard_timeout)
    services.events.hooks = hooks
    lifecycle = {name: chain(manager, name) for name in ("supervise", "startup", "shutdown")}
    dialects = _dialects(manager)
    routes = contributions(manager, "routes")
    idle = {
        name: LoadedPlugin(name, distribution=each.distribution, version=each.version)
        for name, each in known.items()
        if name not in running
    }
    plugins = {**running, **idle}
    registry = Registry(settings, plugins, hooks, lifecycle, dialects, routes, manager, services)
    services.contributions = registry.contributions
    services.plugins = registry.describe
    services.hook_calls = registry.hook_calls
    _watch(metrics, registry)
    return registry


def dialects_of(settings: Settings) -> tuple[list[Dialect], list[PerimeterError]]:
    """
    Return the dialects that the enabled plugins add, where no proxy runs.

    Each plugin is built apart from the others, and only if it adds any. Nothing is started.

    Args:
        settings: The effective configuration.

    Returns:
        The dialects, and why those of some plugins are missing.
    """
    found: list[Dialect] = []
    problems: list[PerimeterError] = []
    known = discovery.find()
    for name in discovery.enabled(settings):
        plugin = known.get(name)
        if plugin is not None and not plugin.problems and "dialects" not in plugin.hooks:
            continue
        alone = attrs.evolve(settings, plugins={name: settings.plugins[name]})
        try:
            found += load(alone, metrics=Metrics()).dialects
        except PerimeterError as error:
            problems.append(error)
    return found, problems


def _build(
    plugin: Installed, settings: Settings, metrics: Metrics, services: Services
) -> LoadedPlugin:
    jobs = Jobs(plugin.name)
    config = discovery.config_of(plugin, settings)
    context = PluginContext(plugin.name, metrics.plugin(plugin.name), services, jobs)
    cls: Any = plugin.plugin
    try:
        instance = cls(config, context)
    except (Exception, SystemExit) as error:
        raise PluginError(plugin.name, f"can't be built: {describe_error(error)}") from error
    return LoadedPlugin(
        plugin.name, instance, plugin.distribution, plugin.version, "loaded", config, jobs
    )


def _dialects(manager: pluggy.PluginManager) -> list[Dialect]:
    found = []
    for plugin, dialects in contributions(manager, "dialects").items():
        for each in dialects:
            if not isinstance(each, Dialect):
                message = f"dialects returned {type(each).__name__}, which is no Dialect"
                raise PluginError(plugin, message)
            found.append(each)
    return found


def _watch(metrics: Metrics, registry: Registry) -> None:
    metrics.watch(
        bound=lambda: registry.bound,
        workers=lambda: (
            (name, worker)
            for name, each in registry.plugins.items()
            for worker in each.jobs.workers
        ),
        plugins=lambda: (
            PluginInfo(each.name, each.version, each.state) for each in registry.plugins.values()
        ),
    )
