"""`perimeter replay`."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click


FILE = click.Path(path_type=Path, readable=False)  # whoever reads it says why it cannot

EXIT_NOTHING = 1
EXIT_USAGE = 2
EXIT_STOPPED = 130
"""What shells report for a program that Ctrl-C has ended."""

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_SERVE_ONLY = ("host", "port", "ignore")
_PLAY_ONLY = ("config", "plugins", "delay", "session", "since", "resolve", "guards", "shift")


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A time: ISO 8601, or how long ago, such as `2h` and `3d`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return Unix time."""
        if isinstance(value, float):
            return value
        if ago := _AGO.fullmatch(value.strip().lower()):
            return time.time() - float(ago[1]) * _SECONDS[ago[2]]
        try:
            return datetime.fromisoformat(value).astimezone().timestamp()
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is neither a time such as 2026-01-31T12:00 nor one such as 3d")


@click.command()
@click.argument("path", type=FILE)
@click.option(
    "--config",
    metavar="FILE",
    type=FILE,
    help="Configuration file that chooses the plugins, as with run [PERIMETER_CONFIG; "
    "./perimeter.toml if it is there].",
)
@click.option(
    "--plugin", "plugins", metavar="NAME", multiple=True, help="Plugin to run; may be repeated."
)
@click.option(
    "--speed",
    metavar="1|10|max",
    default="max",
    show_default=True,
    help="How fast: as it happened, some times faster, or without waiting.",
)
@click.option(
    "--delay",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Play exchanges one after the other, with so many seconds between them.",
)
@click.option("--session", metavar="ID", help="Play this session only.")
@click.option(
    "--since", metavar="TIME", type=Moment(), help="Begin here: 2026-01-31T12:00, 2h or 3d."
)
@click.option("--resolve", is_flag=True, help="Find sessions anew, instead of the recorded ones.")
@click.option("--guards", is_flag=True, help="Let guards decide anew, instead of as recorded.")
@click.option("--shift", is_flag=True, help="Put the times so that the replay begins now.")
@click.option("--serve", is_flag=True, help="Answer requests from the recordings, as a provider.")
@click.option("--host", metavar="ADDRESS", help="Address for --serve [127.0.0.1].")
@click.option("--port", metavar="N", type=int, help="Port for --serve [4010].")
@click.option(
    "--ignore",
    metavar="FIELD",
    multiple=True,
    help="JSON field that --serve does not compare; may be repeated.",
)
@click.pass_context
def replay(ctx: click.Context, /, path: Path, speed: str, serve: bool, **options: Any) -> None:
    """Feed recorded traffic through the plugins, as if it happened now.

    PATH is a recording (.jsonl, .jsonl.gz) or a folder of recordings. No network is opened: the
    upstreams' answers come from the recording.
    """
    pace = _speed(speed)
    _refuse(ctx, _PLAY_ONLY if serve else _SERVE_ONLY, serve=serve)
    if not path.exists():
        raise click.UsageError(f"there is no {path}")
    raise SystemExit(_serve(path, pace, options) if serve else _replay(path, pace, options))


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1_000_000:
        raise click.BadParameter(f"{text!r} is neither a number above 0 nor max")
    return speed


def _refuse(ctx: click.Context, names: tuple[str, ...], *, serve: bool) -> None:
    """Refuse options that would have no effect."""
    for parameter in ctx.command.params:
        if parameter.name in names and ctx.params[parameter.name]:
            option = parameter.opts[0]
            raise click.UsageError(
                f"{option} has no meaning with --serve" if serve else f"{option} needs --serve"
            )


def _replay(path: Path, speed: float | None, options: dict[str, Any]) -> int:
    # Imported here because help must be fast.
    from perimeter.errors import ConfigError, PerimeterError  # noqa: PLC0415
    from perimeter_plugin_recorders.replay.progress import reading  # noqa: PLC0415
    from perimeter_plugin_recorders.replay.run import (  # noqa: PLC0415
        NothingToSeeIt,
        Request,
        player_for,
        replay,
    )
    from perimeter_plugin_recorders.replay.source import Source  # noqa: PLC0415

    source = Source(path, options.pop("since"), options.pop("session"))
    wanted = {name: options[name] for name in ("config", "plugins", "delay")}
    flags = {name: options[name] for name in ("resolve", "guards", "shift")}
    try:
        player = player_for(Request(speed=speed, **wanted, **flags))
        with reading():
            source.scan()
        summary = replay(source, player)
    except ConfigError as error:
        return _error(*error.problems)
    except (PerimeterError, NothingToSeeIt, OSError) as error:
        return _error(error)
    for line in summary.lines():
        click.echo(line, err=True)
    if summary.stopped:
        return EXIT_STOPPED
    return 0 if summary.played else EXIT_NOTHING


def _serve(path: Path, speed: float | None, options: dict[str, Any]) -> int:
    from perimeter.errors import PerimeterError  # noqa: PLC0415 - help must be fast
    from perimeter_plugin_recorders import serving  # noqa: PLC0415 - see above

    try:
        return serving.run(
            path,
            host=options["host"] or "127.0.0.1",
            port=4010 if options["port"] is None else options["port"],
            speed=speed,
            ignore=options["ignore"],
            announce=click.echo,
        )
    except (PerimeterError, OSError) as error:
        return _error(error)


def _error(*problems: object) -> int:
    for problem in problems:
        click.echo(f"error: {problem}", err=True)
    return EXIT_USAGE
