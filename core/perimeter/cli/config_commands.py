"""`perimeter generate-config` and `perimeter validate-config`."""

import os
from pathlib import Path

import click

from perimeter.cli.reporting import reported
from perimeter.errors import ConfigError, Problem


FILE = click.Path(path_type=Path, readable=False)  # whoever reads it says why it cannot


@click.command("generate-config")
@click.argument("path", type=FILE)
@click.option("--force", is_flag=True, help="Overwrite a file that is there already.")
def generate_config(path: Path, force: bool) -> None:
    """Write a configuration file with every option, commented.

    Options of the installed plugins are included. Keys are references to environment variables.
    """
    from perimeter.configuration import render_example  # noqa: PLC0415 - help must be fast

    with reported():
        _write(path, render_example(_config_classes()), force=force)
    click.echo(f"wrote {path}; start with: perimeter run --config {path}")


def _config_classes() -> dict[str, type]:
    """Give the configuration classes of the installed plugins; warn about those that are broken."""
    from perimeter.discovery import installed  # noqa: PLC0415 - help must be fast

    classes = {}
    for name, plugin in installed().items():
        if plugin.config_class is not None:
            classes[name] = plugin.config_class
        else:
            click.echo(f"warning: {name} is left out: {plugin.problem}", err=True)
    return classes


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a file that only its owner can read, because keys may come to stand in it."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(
            path, "w", encoding="utf-8", opener=lambda p, _: os.open(p, flags, 0o600)
        ) as file:
            file.write(text)
    except FileExistsError:
        problem = Problem("is there already; --force overwrites it", str(path))
        raise ConfigError([problem]) from None
    except OSError as error:
        problem = Problem(f"cannot be written: {error.strerror}", str(path))
        raise ConfigError([problem]) from None


@click.command("validate-config")
@click.argument("path", type=FILE)
def validate_config(path: Path) -> None:
    """Check a configuration file as `run` would, with the tables of all enabled plugins.

    Nothing is started. It may lack an upstream, which the command line can give.
    """
    from perimeter.configuration import Overrides, load  # noqa: PLC0415
    from perimeter.discovery import problems_of_plugins  # noqa: PLC0415 - help must be fast

    with reported():
        settings = load(
            path,
            environ=os.environ,
            overrides=Overrides(),
            require_upstream=False,
            check_plugins=problems_of_plugins,
        )
    upstreams = ", ".join(settings.upstreams) or "none"
    plugins = ", ".join(n for n, t in settings.plugins.items() if t.get("enabled", True)) or "none"
    click.echo(f"{path} is valid; upstreams: {upstreams}; plugins: {plugins}")
