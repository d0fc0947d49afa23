"""`perimeter plugins`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.reporting import reported


if TYPE_CHECKING:
    from perimeter.discovery import Installed

HEAD = ("name", "distribution", "version", "state", "hooks")


@click.group()
def plugins() -> None:
    """Show the installed plugins."""


@plugins.command("list")
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration file [PERIMETER_CONFIG; ./perimeter.toml if it is there].",
)
def list_(config: Path | None) -> None:
    """
    List the installed plugins.

    Enabled ones come first, in the order in which their hooks are called. Idle ones are not named
    in the configuration, or switched off there. Broken ones cannot be loaded.
    """
    # Imported here because help must be fast.
    from perimeter.configuration import Overrides, load  # noqa: PLC0415
    from perimeter.discovery import install_line, installed  # noqa: PLC0415

    with reported():
        settings = load(config, environ=os.environ, overrides=Overrides(), require_upstream=False)
    known = installed()
    enabled = [name for name, table in settings.plugins.items() if table.get("enabled", True)]
    order = [*(n for n in enabled if n in known), *(n for n in known if n not in enabled)]
    _show([_row(known[name], is_enabled=name in enabled) for name in order])
    for name, plugin in known.items():
        if plugin.problem:
            click.echo(f"{name} is broken: {plugin.problem}", err=True)
    for name in enabled:
        if name not in known:
            click.echo(f"{name} is enabled but not installed: {install_line(name)}", err=True)


def _row(plugin: "Installed", *, is_enabled: bool) -> tuple[str, ...]:
    state = "enabled" if is_enabled else "idle"
    state = "broken" if plugin.problem else state
    return plugin.name, plugin.distribution, plugin.version, state, ", ".join(plugin.hooks)


def _show(rows: list[tuple[str, ...]]) -> None:
    """Print a table: fitted to a terminal, or in whole lines for other programs."""
    from rich import box  # noqa: PLC0415 - help must be fast
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    if not console.is_terminal:
        console.width = sum(max(map(len, column)) + 2 for column in zip(HEAD, *rows, strict=True))
    table = Table(*HEAD, box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console.print(table)
