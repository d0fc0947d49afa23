"""The command `perimeter`: a group whose commands are imported when they are invoked.

Plugins add commands through the entry-point group `perimeter.commands` (name = command, value =
click command). Help lists them by name without loading them: a broken one breaks only itself.
"""

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from perimeter import __version__


GROUP = "perimeter.commands"

CORE: Mapping[str, tuple[str, str]] = {
    "run": ("perimeter.cli.run:run", "Run the proxy."),
    "demo": ("perimeter.cli.demo:demo", "Show everything at work, without a key or a network."),
    "generate-config": (
        "perimeter.cli.config_commands:generate_config",
        "Write a complete, commented configuration file.",
    ),
    "validate-config": (
        "perimeter.cli.config_commands:validate_config",
        "Check a configuration file and its plugins' tables.",
    ),
    "plugins": ("perimeter.cli.plugins:plugins", "Show the installed plugins."),
}
"""Core's commands: where they are, and their help for the list."""

ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "live-trace": ("perimeter-plugin-live-trace", "Show the dashboard."),
    "recordings": ("perimeter-plugin-recorders", "Look into recorded traffic."),
    "replay": ("perimeter-plugin-recorders", "Play recorded traffic again, or serve it."),
}
"""Commands of first-party plugins: where they come from, and their help for the list."""


class LazyGroup(click.Group):
    """Finds commands by name in core and in entry points, and imports the one that is invoked."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take options without a command as those of `run`: `perimeter --config FILE`."""
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name core's commands in their order, then the plugins'."""
        return [*CORE, *sorted(set(_contributed()) - set(CORE))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name in CORE:
            module, _, name = CORE[cmd_name][0].partition(":")
            command: click.Command = getattr(import_module(module), name)
            return command
        entry = _contributed().get(cmd_name)
        return _load(entry) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command to invoke; if there is none, say what would help."""
        if args[0] not in self.list_commands(ctx):
            ctx.fail(_unknown(args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        contributed = _contributed()
        rows = [
            (name, CORE[name][1] if name in CORE else _provenance(contributed[name]))
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _contributed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _provenance(entry: EntryPoint) -> str:
    distribution, summary = ELSEWHERE.get(entry.name, ("", ""))
    if entry.dist is None:
        return "From a plugin."
    own = entry.dist.name == distribution
    return summary if own else f"From the plugin {entry.dist.name}."


def _load(entry: EntryPoint) -> click.Command:
    """Import a plugin's command; whatever goes wrong there is told in one line."""
    try:
        command = entry.load()
    except Exception as error:
        message = f"the command {entry.name!r} ({entry.value}) cannot be loaded: {error!r}"
        raise click.UsageError(message) from error
    if not isinstance(command, click.Command):
        raise click.UsageError(f"the command {entry.name!r} ({entry.value}) is no click command")
    return command


def _unknown(name: str, known: list[str]) -> str:
    if name in ELSEWHERE:
        return f"{name!r} comes with a plugin: pip install {ELSEWHERE[name][0]}"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"No such command {name!r}.{hint}"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options without a command are those of run: perimeter --config FILE.",
)
@click.version_option(__version__, message="perimeter %(version)s")
def main(**_: Any) -> None:
    """Perimeter, a proxy between AI agents and LLM providers."""
