"""`perimeter live-trace`: the dashboard on a database, without a proxy."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click


if TYPE_CHECKING:
    from collections.abc import Callable

    from peewee import Model

    from perimeter_plugin_live_trace.options import Options, Ready
    from perimeter_plugin_live_trace.store import Reader

FILE = click.Path(path_type=Path, dir_okay=False)
_DATABASE = "Database [live-trace.db in the plugin's data folder]."


@click.group("live-trace")
def live_trace() -> None:
    """Show the dashboard."""


@live_trace.command()
@click.option("--db", metavar="FILE", type=FILE, help=_DATABASE)
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", help="Address [127.0.0.1].")
@click.option(
    "--port", metavar="N", type=click.IntRange(0, 65535), default=7100, help="Port [7100]."
)
@click.option("--token-file", metavar="FILE", type=FILE, help="File with the token to ask for.")
@click.option(
    "--proxy", metavar="URL", default="", help="Proxy that edited calls are sent through."
)
@click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="The proxy's configuration, for its prices and plugins' dialects "
    "[PERIMETER_CONFIG; ./perimeter.toml if it is there].",
)
@click.option("--open", "opening", is_flag=True, help="Open a browser.")
def serve(
    *,
    db: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    proxy: str,
    config: Path | None,
    opening: bool,
) -> None:
    """Show what a database holds, until Ctrl-C.

    Nothing is deleted from it meanwhile. A proxy may write to it at the same time.
    """
    from perimeter import PerimeterError  # noqa: PLC0415 - help must be fast
    from perimeter_plugin_live_trace import browser  # noqa: PLC0415
    from perimeter_plugin_live_trace.options import Options  # noqa: PLC0415
    from perimeter_plugin_live_trace.process.loop import run  # noqa: PLC0415

    def ready(said: Ready) -> None:
        for note in said.notes:
            click.echo(note)
        click.echo(f"The dashboard is at {said.open}")
        if opening:
            browser.open_soon(said.open)

    try:
        path = db or _default()
        token = token_file.read_text(encoding="utf-8").strip() if token_file else ""
        table = {"db_path": str(path), "server_port": port, "token": token}
        dialects, pricing = _configured(config)
        options = Options(
            table,
            str(path.absolute().parent),
            "",
            proxy,
            host,
            dialects=dialects,
            pricing=pricing,
        )
        run(_serve(options, ready))
    except (PerimeterError, OSError) as error:
        raise click.ClickException(str(error)) from error


@live_trace.command()
@click.option("--db", metavar="FILE", type=FILE, help=_DATABASE)
def info(db: Path | None) -> None:
    """Tell what a database holds."""
    from perimeter import PerimeterError  # noqa: PLC0415
    from perimeter_plugin_live_trace.store import Database  # noqa: PLC0415
    from perimeter_plugin_live_trace.store.models import Call, Event, Meta, Session  # noqa: PLC0415

    try:
        tables = {"sessions": Session, "calls": Call, "events": Event}
        reader = Database.open(db or _default(), create=False).reader()
        version = reader.value(Meta.select(Meta.value).where(Meta.name == "version"))
        lines = {
            "database": reader.path,
            "version": version,
            "size": f"{reader.size():,} bytes",
            **{name: f"{_count(reader, model):,}" for name, model in tables.items()},
        }
    except PerimeterError as error:
        raise click.ClickException(str(error)) from error
    for name, value in lines.items():
        click.echo(f"{name:<10} {value}")


def _configured(path: Path | None) -> tuple[dict[str, bytes], dict[str, Any]]:
    """
    Return the dialects and prices of a configuration, as `Options` has them.

    Raises:
        ConfigError: It can't be read.
    """
    import attrs  # noqa: PLC0415

    from perimeter.standalone import configured  # noqa: PLC0415
    from perimeter_plugin_live_trace.carrying import packed  # noqa: PLC0415

    found = configured(path)
    for problem in found.problems:
        click.echo(f"warning: {problem}", err=True)
    pricing = {name: attrs.asdict(price) for name, price in found.pricing.items()}
    return packed(found.dialects), pricing


async def _serve(options: Options, ready: Callable[[Ready], None]) -> None:
    from perimeter_plugin_live_trace.process.serving import Process  # noqa: PLC0415

    process = Process(options, ready)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    await process.run()


def _default() -> Path:
    from perimeter import data_root  # noqa: PLC0415
    from perimeter_plugin_live_trace.process.places import DATABASE  # noqa: PLC0415

    return data_root(os.environ) / "live_trace" / DATABASE


def _count(reader: Reader, model: type[Model]) -> int:
    from peewee import fn  # noqa: PLC0415

    return int(reader.value(model.select(fn.count()), 0))
