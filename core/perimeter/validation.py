"""
Whether a class can be a plugin, told from the class alone.

pluggy checks the names of hooks and arguments; most other mistakes would only show as a hook that
is never called, or as a call that fails in the middle of traffic.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any

import attrs

import perimeter
from perimeter.hookspecs import (
    PROJECT,
    SPECS,
    ContributeSpecs,
    ObserveSpecs,
)


MARK = f"{PROJECT}_impl"

SPECIFIED: dict[str, type] = {
    name: family for family in SPECS for name in vars(family) if not name.startswith("_")
}
"""Every hook, with the family it belongs to."""


def implementations(cls: type) -> dict[str, Any]:
    """Return the functions that a class marks as hooks, by the name of the hook."""
    found = {}
    for attribute in dir(cls):
        options = getattr(function_of(cls, attribute), MARK, None)
        if options is not None:
            found[options.get("specname") or attribute] = function_of(cls, attribute)
    return found


def problems_of(cls: type) -> list[str]:
    """Return what keeps a class from being a plugin; each says what to do about it."""
    return [*_generation(cls), *_config(cls), *_identity(cls), *_unmarked(cls), *_hooks(cls)]


def _generation(cls: type) -> Iterator[str]:
    wanted = getattr(cls, "api", 1)
    if wanted != perimeter.API:
        yield (
            f"is written for plugin API {wanted!r}, this Perimeter has {perimeter.API}: "
            "install a version of the plugin that fits"
        )


def _config(cls: type) -> Iterator[str]:
    config = getattr(cls, "Config", None)
    if not isinstance(config, type) or not attrs.has(config):
        yield "has no Config, which must be a frozen attrs class (empty if there are no options)"
        return
    if not _is_frozen(config):
        yield "its Config can be changed: decorate it with @attrs.frozen"
    for field in attrs.fields(config):
        if not field.init:
            continue
        if field.default is attrs.NOTHING:
            yield f"its option {field.name} has no default: declare it with perimeter.option()"
        if not field.metadata.get("help"):
            yield f"its option {field.name} has no help: declare it with perimeter.option()"
        if field.alias == "enabled":
            yield "its option `enabled` has the name of the switch that every plugin has: rename it"


def _is_frozen(config: type) -> bool:
    probe: Any = object.__new__(config)
    try:
        probe.anything = None
    except attrs.exceptions.FrozenInstanceError:
        return True
    except AttributeError:  # it has slots, and can be changed
        pass
    return False


def _identity(cls: type) -> Iterator[str]:
    if getattr(cls, "__hash__", None) is None:
        yield "compares by value, but there is one of it: decorate it with @attrs.define(eq=False)"


def _unmarked(cls: type) -> Iterator[str]:
    for name in SPECIFIED:
        function = function_of(cls, name)
        if function is not None and not hasattr(function, MARK):
            yield f"its method {name} is named like a hook: put @hookimpl on it, or rename it"


def _hooks(cls: type) -> Iterator[str]:
    found = implementations(cls)
    for name, function in found.items():
        if name in SPECIFIED:
            yield from (f"its hook {name} {problem}" for problem in _hook(name, function, cls))
        elif not getattr(function, MARK).get("optionalhook"):
            close = difflib.get_close_matches(name, SPECIFIED, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(SPECIFIED)}"
            yield f"its hook {name} is not known; {hint}"
    lets_streams_pass = "guard_response" in found and "guard_stream" not in found
    if lets_streams_pass and getattr(cls, "streams_may_pass", False) is not True:
        yield (
            "has guard_response, but streams pass it: implement guard_stream, or say "
            "`streams_may_pass = True` on the class if that is meant"
        )


def _hook(name: str, function: Callable[..., Any], cls: type) -> Iterator[str]:
    family = SPECIFIED[name]
    options = getattr(function, MARK)
    if options.get("wrapper") or options.get("hookwrapper"):
        yield "is a wrapper, which Perimeter does not call: make it an ordinary hook"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield "has a `yield` and would never run: return the result instead"
    elif inspect.iscoroutinefunction(function) and family is ObserveSpecs:
        yield "is async, but observers are not: give slow work to context.worker or context.spawn"
    elif inspect.iscoroutinefunction(function) and family is ContributeSpecs:
        yield "is async, but it is called before there is a loop: make it an ordinary function"
    yield from _parameters(name, function, cls)


def _parameters(name: str, function: Callable[..., Any], cls: type) -> Iterator[str]:
    offered = _names(getattr(SPECIFIED[name], name))[1:]
    bound = isinstance(inspect.getattr_static(cls, function.__name__, None), staticmethod)
    for parameter in list(inspect.signature(function).parameters.values())[0 if bound else 1 :]:
        known = f"it may take {', '.join(offered)}" if offered else "it takes none"
        if parameter.kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}:
            yield f"has the argument *{parameter.name}: name the arguments; {known}"
        elif parameter.name not in offered:
            yield f"has the unknown argument {parameter.name}; {known}"
        elif parameter.kind is Parameter.KEYWORD_ONLY:
            yield f"takes {parameter.name} by keyword only: put it before the *"
        elif parameter.default is not Parameter.empty:
            yield f"gives {parameter.name} a default: leave it out, it is always given"


def _names(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def function_of(cls: type, attribute: str) -> Any:
    """Return a function of a class as it is, without evaluating properties, or None."""
    found = inspect.getattr_static(cls, attribute, None)
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return found if inspect.isroutine(found) else None
