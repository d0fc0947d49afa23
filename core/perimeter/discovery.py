"""Which plugins are installed, and whether they fit the configuration; nothing is started here."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import attrs

from perimeter.configuration import structure_plugin, structure_table
from perimeter.errors import ConfigError, Problem
from perimeter.settings import Settings
from perimeter.validation import implementations, problems_of


GROUP = "perimeter.plugins"

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_RECORDERS = frozenset({"message_logger", "event_recorder", "http_recorder"})

log = logging.getLogger("perimeter.plugins")


@attrs.define(eq=False, slots=False)
class Installed:
    """
    An installed plugin. Its code is imported when it is first asked for.

    Attributes:
        name: The entry point's name, which is also that of its table.
        distribution: The distribution it comes from; "" where a program handed it over.
        version: That distribution's version.
        sources: Its entry points; more than one is a mistake.
        given: The class, where a program handed it over.
    """

    name: str
    distribution: str = ""
    version: str = ""
    sources: tuple[EntryPoint, ...] = ()
    given: type | None = None

    @property
    def plugin(self) -> type | None:
        """Its class; None if it cannot be imported."""
        return self._loaded[0]

    @property
    def problems(self) -> list[str]:
        """Why it is broken; empty if it is not."""
        return self._loaded[1]

    @property
    def problem(self) -> str:
        """Why it is broken, in one line; empty if it is not."""
        return "; ".join(self.problems)

    @property
    def config_class(self) -> type | None:
        """The class of its table."""
        found = getattr(self.plugin, "Config", None)
        return found if isinstance(found, type) and attrs.has(found) else None

    @cached_property
    def hooks(self) -> list[str]:
        """The hooks it implements."""
        return list(implementations(self.plugin)) if self.plugin else []

    @property
    def runs_without_options(self) -> bool:
        """Whether an empty table is enough for it."""
        if self.problems or self.config_class is None:
            return False
        try:
            structure_table(self.config_class, {})
        except ConfigError:
            return False
        return True

    @property
    def demo_options(self) -> Mapping[str, Any]:
        """What it wants to be different in a demonstration: its class's `demo_options`."""
        return getattr(self.plugin, "demo_options", {})

    @cached_property
    def _loaded(self) -> tuple[type | None, list[str]]:
        if not _NAME.fullmatch(self.name):
            return None, ["has a name that is not made of lower-case letters, digits and _"]
        if len(self.sources) > 1:
            names = " and ".join(_distribution(source)[0] for source in self.sources)
            return None, [f"comes from several distributions, uninstall all but one: {names}"]
        if self.given is not None:
            return self.given, problems_of(self.given)
        return _import(self.sources[0])


def find(extra: Mapping[str, type] | None = None) -> dict[str, Installed]:
    """
    Find the installed plugins, ordered by name, without importing any.

    Args:
        extra: Further plugin classes by name; they go before installed ones of the same name.
    """
    sources = defaultdict(list)
    for entry in entry_points(group=GROUP):
        sources[entry.name].append(entry)
    found = {
        name: Installed(name, *_distribution(entries[0]), sources=tuple(entries))
        for name, entries in sorted(sources.items())
    }
    given = {name: Installed(name, given=cls) for name, cls in (extra or {}).items()}
    return {**found, **given}


def installed() -> dict[str, Installed]:
    """Import every installed plugin, ordered by name; whatever goes wrong is kept as a problem."""
    found = find()
    for each in found.values():
        _ = each.plugin
    return found


def install_line(name: str) -> str:
    """Say how a plugin that is not there is got, by the convention for distributions' names."""
    distribution = "recorders" if name in _RECORDERS else name.replace("_", "-")
    return f"pip install perimeter-plugin-{distribution}"


def enabled(settings: Settings) -> list[str]:
    """Return the names of the plugins that are to run, in call order."""
    return [name for name, table in settings.plugins.items() if table.get("enabled", True)]


def problems_of_plugins(
    settings: Settings, known: Mapping[str, Installed] | None = None
) -> list[Problem]:
    """Find what is wrong with the enabled plugins: absent, broken, or at odds with their table."""
    if known is None:
        known = find()
    return [
        problem
        for name in enabled(settings)
        for problem in _problems(name, known.get(name), settings)
    ]


def config_of(plugin: Installed, settings: Settings) -> Any:
    """
    Turn a sound plugin's table into its `Config`.

    Raises:
        ConfigError: With a problem for everything that is wrong in the table.
    """
    if plugin.config_class is None:
        raise TypeError(plugin.problem)
    return structure_plugin(settings, plugin.name, plugin.config_class)


def _problems(name: str, plugin: Installed | None, settings: Settings) -> Iterator[Problem]:
    file = str(settings.source) if settings.source else None
    line = settings.lines.get(("plugins", name))
    if plugin is None:
        message = f"is not installed: {install_line(name)}"
        yield Problem(message, file, f"plugins.{name}", line)
    elif plugin.problems:
        for message in plugin.problems:
            yield Problem(message, file, f"plugins.{name}", line)
    else:
        try:
            config_of(plugin, settings)
        except ConfigError as error:
            yield from error.problems


def _import(entry: EntryPoint) -> tuple[type | None, list[str]]:
    try:
        plugin = entry.load()
    except (Exception, SystemExit) as error:
        log.debug("%s cannot be imported", entry.value, exc_info=True)
        return None, [f"{entry.value} cannot be imported: {error!r}"]
    if not isinstance(plugin, type):
        return None, [f"{entry.value} is no class"]
    return plugin, problems_of(plugin)


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("?", "?")
