"""Plugins as pluggy sees them, and calls of the hooks that are not part of the traffic."""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from perimeter.dashboard import Extension
from perimeter.dispatch import Bound
from perimeter.errors import PluginError
from perimeter.hookspecs import PROJECT, SPECS
from perimeter.validation import function_of


EXPECTED: dict[str, type] = {
    "routes": Sequence,
    "dialects": Sequence,
    "session_stores": Mapping,
    "dashboard": Extension,
}
"""What a hook of the contributing family returns."""


class _Manager(pluggy.PluginManager):
    """Looks for hooks on the class only: attributes of an instance may not be there yet."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return a hook's options, or None where the attribute is no hook."""
        if function_of(type(plugin), name) is None:
            return None
        return super().parse_hookimpl_opts(plugin, name)


def managed(instances: Mapping[str, Any]) -> pluggy.PluginManager:
    """Register plugins, given in call order."""
    manager = _Manager(PROJECT)
    for spec in SPECS:
        manager.add_hookspecs(spec)
    for name in reversed(list(instances)):  # pluggy calls what was registered last first
        try:
            manager.register(instances[name], name=name)
            manager.check_pending()
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(name, str(error)) from error
    return manager


def chain(manager: pluggy.PluginManager, hook: str) -> tuple[Bound, ...]:
    """Return the implementations of a hook without arguments, in call order."""
    found = reversed(getattr(manager.hook, hook).get_hookimpls())
    return tuple(Bound(each.plugin_name, hook, each.function) for each in found)


async def call(bound: Bound) -> Any:
    """Call a hook, and wait for it if it is async."""
    started = time.perf_counter()
    try:
        result = bound.call()
        return await result if inspect.isawaitable(result) else result
    finally:
        bound.seconds += time.perf_counter() - started
        bound.calls += 1


def contributions(manager: pluggy.PluginManager, hook: str) -> dict[str, Any]:
    """Call a hook of the contributing family once for each plugin; None is left out."""
    found = {}
    for bound in chain(manager, hook):
        try:
            made = bound.call()
        except (Exception, SystemExit) as error:
            raise failure(bound, error) from error
        if made is None:
            continue
        if not isinstance(made, EXPECTED[hook]):
            message = f"{hook} returned {type(made).__name__}, not {EXPECTED[hook].__name__}"
            raise PluginError(bound.plugin, message)
        found[bound.plugin] = made
    return found


def failure(bound: Bound, error: BaseException) -> PluginError:
    """Say what failed."""
    return PluginError(bound.plugin, f"{bound.hook} failed: {describe_error(error)}")


def describe_error(error: BaseException) -> str:
    """Return an exception's name, and its message if it has one."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
