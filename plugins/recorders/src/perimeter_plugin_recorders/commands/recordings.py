"""`perimeter recordings`: what is in recordings of HTTP traffic."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perimeter_plugin_recorders.commands.replay import Moment


if TYPE_CHECKING:
    from rich.console import Console

    from perimeter_plugin_recorders.recordings import Bad, Entry, Recording

FILE = click.Path(path_type=Path, readable=False)  # whoever reads it says why it cannot

EXIT_DAMAGED = 1
EXIT_USAGE = 2
_SHOWN = 20
"""So many problems are told on the side of other commands; `verify` tells all."""

_path = click.argument("path", type=FILE, required=False)


@click.group()
def recordings() -> None:
    """Look into recordings of HTTP traffic, check and export them.

    PATH is a file (.jsonl, .jsonl.gz) or a folder; without it, the folder of the plugin
    http_recorder is meant.
    """


@recordings.command("list")
@_path
@click.option("--session", metavar="ID", help="Only this session.")
@click.option("--since", metavar="TIME", type=Moment(), help="Only from 2026-01-31T12:00, 2h, 3d.")
@click.option(
    "--failed", is_flag=True, help="Only what did not complete, or has a status of 400 or more."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each.")
def list_(path: Path | None, as_json: bool, **wanted: Any) -> None:
    """List the recorded exchanges, oldest first."""
    with _reported():
        problems = _Problems()
        found = _index(_where(path), problems)
        chosen = [entry for entry in found if _is_wanted(entry, **wanted)]
        if as_json:
            _print_json(_summary(entry) for entry in chosen)
        else:
            _print_table(chosen)
            if len(chosen) < len(found):
                click.echo(f"{len(chosen)} of {len(found)} exchanges", err=True)
        problems.tell()


@recordings.command()
@click.argument("exchange", metavar="ID")
@_path
@click.option("--full", is_flag=True, help="Show header fields, and texts of any length.")
def show(exchange: str, path: Path | None, full: bool) -> None:
    """Show one exchange; the beginning of its ID is enough."""
    from perimeter_plugin_recorders.recordings import load  # noqa: PLC0415 - help must be fast
    from perimeter_plugin_recorders.recordings.show import rows  # noqa: PLC0415

    with _reported():
        where = _where(path)
        entry = _find(_index(where, _Problems()), exchange, where)
        console = _console()
        for row in rows(load(entry), full=full):
            _print_row(console, row.label, row.text, heading=row.heading, bad=row.bad)


@recordings.command()
@_path
@click.option("--har", type=FILE, metavar="FILE", help="Write an HTTP archive (HAR 1.2); - prints.")
@click.option("--cassette", type=FILE, metavar="FILE", help="Write a cassette of vcrpy; - prints.")
@click.option("--session", metavar="ID", help="Only this session.")
@click.option("--since", metavar="TIME", type=Moment(), help="Only from 2026-01-31T12:00, 2h, 3d.")
@click.option("--base-url", metavar="URL", default="", help="Where requests go to [the provider].")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def export(
    path: Path | None,
    har: Path | None,
    cassette: Path | None,
    base_url: str,
    force: bool,
    **wanted: Any,
) -> None:
    """Write recordings in another format.

    Requests went to the proxy; in the export they go to the provider's own address, or to
    --base-url.
    """
    from perimeter_plugin_recorders.recordings import cassette as cassettes  # noqa: PLC0415
    from perimeter_plugin_recorders.recordings import har as archives  # noqa: PLC0415

    if har is None and cassette is None:
        raise click.UsageError("say what to write: --har FILE, --cassette FILE or both")
    with _reported():
        problems = _Problems()
        chosen = [e for e in _index(_where(path), problems) if _is_wanted(e, **wanted)]
        if har is not None:
            _write(har, archives.har(_loaded(chosen, problems), base_url), force=force)
            click.echo(f"{len(chosen)} exchanges written to {har}", err=True)
        if cassette is not None:
            left: list[str] = []
            playable = _playable(_loaded(chosen, problems), left)
            _write(cassette, cassettes.cassette(playable, base_url), force=force)
            click.echo(f"{len(chosen) - len(left)} exchanges written to {cassette}", err=True)
            for line in left:
                click.echo(f"left out: {line}", err=True)
        problems.tell()


@recordings.command()
@_path
def verify(path: Path | None) -> None:
    """Check that recordings are whole, and say whether responses reached the client unchanged.

    The exit code is 1 if anything is damaged.
    """
    from perimeter_plugin_recorders.recordings.verify import verify as check  # noqa: PLC0415

    with _reported():
        report = check(_where(path), lambda bad: click.echo(str(bad)))
    click.echo(_many(report.exchanges, "exchange"))
    for title, counter in (("delivered", report.delivered), ("recorded", report.recorded)):
        for what, number in counter.most_common():
            click.echo(f"  {title} {what}: {number:,}")
    if report.notes:
        click.echo(f"left out: {report.notes:,}")
    if report.damage:
        click.secho(f"damaged: {_many(report.damage, 'problem')}", fg="red", bold=True)
        raise SystemExit(EXIT_DAMAGED)
    click.secho("nothing is damaged", fg="green", bold=True)


@recordings.command()
@_path
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def stats(path: Path | None, as_json: bool) -> None:
    """Count exchanges by upstream, model, status and outcome; add up bytes and durations."""
    from perimeter_plugin_recorders.recordings import entries  # noqa: PLC0415 - help must be fast
    from perimeter_plugin_recorders.recordings.stats import stats as count  # noqa: PLC0415

    with _reported():
        problems = _Problems()
        found = count(entries(_where(path), problems=problems.append))
    if as_json:
        _print_json([found.to_dict()])
    else:
        _print_stats(found.to_dict())
    problems.tell()


class _Problems(list["Bad"]):
    """What could not be used."""

    def tell(self) -> None:
        """Tell of the first few."""
        for bad in self[:_SHOWN]:
            click.echo(f"skipped: {bad}", err=True)
        if len(self) > _SHOWN:
            click.echo(f"skipped: {len(self) - _SHOWN} more; verify tells all", err=True)


@contextmanager
def _reported() -> Iterator[None]:
    """End with a message, and no traceback, where files can't be used."""
    try:
        yield
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(EXIT_USAGE) from None
    except (OSError, ValueError) as error:
        click.echo(f"error: {_reason(error)}", err=True)
        raise SystemExit(EXIT_USAGE) from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _where(path: Path | None) -> Path:
    """Return what is meant: what is said, or else where the plugin records."""
    if path is not None:
        return path
    from perimeter import data_root  # noqa: PLC0415 - help must be fast

    folder = data_root(os.environ) / "http_recorder"
    if not folder.is_dir():
        message = f"nothing has been recorded in {folder}; say where the recordings are"
        raise ValueError(message)
    return folder


def _index(path: Path, problems: list[Bad]) -> list[Entry]:
    from perimeter_plugin_recorders.recordings import index  # noqa: PLC0415 - help must be fast

    return sorted(index(path, problems=problems.append), key=lambda entry: entry.started_at)


def _is_wanted(
    entry: Entry, *, session: str | None, since: float | None, failed: bool = False
) -> bool:
    if failed and entry.outcome in {"completed", "responded"} and (entry.status or 0) < 400:
        return False
    if since is not None and entry.started_at < since:
        return False
    return session is None or entry.session == session


def _find(found: list[Entry], exchange: str, where: Path) -> Entry:
    fitting = [entry for entry in found if entry.id == exchange] or [
        entry for entry in found if entry.id.startswith(exchange)
    ]
    if not fitting:
        message = f"there is no exchange {exchange} in {where}; perimeter recordings list shows all"
        raise ValueError(message)
    if len({entry.id for entry in fitting}) > 1:
        some = ", ".join(entry.id for entry in fitting[:5])
        message = f"{len(fitting)} exchanges begin with {exchange}: {some}"
        raise ValueError(message)
    return fitting[-1]


def _loaded(chosen: Iterable[Entry], problems: list[Bad]) -> Iterator[Recording]:
    from perimeter_plugin_recorders.recordings import Bad, load  # noqa: PLC0415

    for entry in chosen:
        try:
            yield load(entry)
        except (OSError, ValueError) as error:
            problems.append(Bad(entry.path, entry.line, _reason(error)))


def _playable(found: Iterable[Recording], left: list[str]) -> Iterator[Recording]:
    from perimeter_plugin_recorders.recordings.cassette import playable  # noqa: PLC0415

    for recording in found:
        if reason := playable(recording):
            left.append(f"{recording.place}: exchange {recording.id}: {reason}")
        else:
            yield recording


def _write(path: Path, pieces: Iterable[str], *, force: bool) -> None:
    """Write a file that only its owner may read, or print."""
    if str(path) == "-":
        for piece in pieces:
            click.echo(piece, nl=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        number = os.open(path, flags, 0o600)
    except FileExistsError:
        message = f"{path} is there already; --force replaces it"
        raise ValueError(message) from None
    with open(number, "w", encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - a descriptor
        file.writelines(pieces)


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "started_at": entry.started_at,
        "duration": round(entry.ended_at - entry.started_at, 6),
        "session": entry.session,
        "agent": entry.agent,
        "upstream": entry.upstream,
        "dialect": entry.dialect,
        "method": entry.method,
        "target": entry.target,
        "model": entry.model,
        "status": entry.status,
        "outcome": entry.outcome,
        "error": entry.error,
        "request_bytes": entry.asked,
        "response_bytes": entry.size,
        "chunks": entry.pieces,
        "complete": entry.complete,
        "file": str(entry.path),
        "line": entry.line,
    }


def _print_json(values: Iterable[dict[str, Any]]) -> None:
    import msgspec  # noqa: PLC0415 - help must be fast

    for value in values:
        click.echo(msgspec.json.encode(value))


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - help must be fast

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000  # lines of a file are not folded
    return console


_HEAD = ("id", "time", "upstream", "model", "path", "status", "outcome", "time taken", "size")


def _print_table(chosen: list[Entry]) -> None:
    """Print a table: fitted to a terminal, or in whole lines for other programs."""
    if not chosen:
        click.echo("no exchanges")
        return
    from rich import box  # noqa: PLC0415 - help must be fast
    from rich.table import Table  # noqa: PLC0415

    from perimeter_plugin_recorders.recordings.show import plain  # noqa: PLC0415

    console = _console()
    on_terminal = console.is_terminal
    table = Table(box=box.SIMPLE_HEAD if on_terminal else None, pad_edge=False)
    rows = [tuple(plain(cell) for cell in _row(entry, on_terminal)) for entry in chosen]
    for name in _HEAD:
        right = name in {"status", "time taken", "size"}
        table.add_column(
            name,
            no_wrap=True,
            justify="right" if right else "left",
            overflow="ellipsis",
            min_width=10 if name == "id" else None,
        )
    from rich.text import Text  # noqa: PLC0415

    for entry, row in zip(chosen, rows, strict=True):
        failed = entry.outcome not in {"completed", "responded"} or (entry.status or 0) >= 400
        table.add_row(*map(Text, row), style="red" if failed else None)
    console.print(table)


def _row(entry: Entry, short: bool) -> tuple[str, ...]:
    from perimeter_plugin_recorders.recordings.show import (  # noqa: PLC0415
        human_bytes,
        human_seconds,
        human_time,
    )

    moment = human_time(entry.started_at)
    path = entry.target.partition("?")[0]
    return (
        entry.id,
        moment[5:] if short else moment,
        entry.upstream or "-",
        entry.model or "-",
        path if entry.method == "POST" else f"{entry.method} {path}",
        "-" if entry.status is None else str(entry.status),
        entry.outcome or "no end",
        human_seconds(entry.ended_at - entry.started_at),
        human_bytes(entry.size),
    )


def _print_row(console: Console, label: str, text: str, *, heading: bool, bad: bool) -> None:
    from rich.text import Text  # noqa: PLC0415 - help must be fast

    if heading:
        console.print()
        console.print(Text(text, style="bold"))
        return
    width = 12
    lines = text.split("\n") or [""]
    for place, line in enumerate(lines):
        name = Text(f"{label if place == 0 else '':<{width}}", style="dim")
        body = Text(line, style="red" if bad else "")
        if not console.is_terminal:
            console.print(name + body, soft_wrap=True)
            continue
        room = max(console.width - width - 2, 20)
        for part in body.wrap(console, room) or [Text("")]:
            console.print("  ", name, part, sep="", no_wrap=True)
            name = Text(" " * width)


def _print_stats(found: dict[str, Any]) -> None:
    from perimeter_plugin_recorders.recordings.show import (  # noqa: PLC0415 - help must be fast
        human_bytes,
        human_seconds,
        human_time,
        plain,
    )

    rest = f", {found['incomplete']:,} of them not whole" if found["incomplete"] else ""
    sessions = _many(found["sessions"], "session")
    click.echo(f"{_many(found['exchanges'], 'exchange')} of {sessions}{rest}")
    if found["first"] is not None:
        click.echo(f"from {human_time(found['first'])} to {human_time(found['last'])}")
    click.echo(
        f"{human_bytes(found['request_bytes'])} asked, {human_bytes(found['response_bytes'])} "
        f"answered in {_many(found['chunks'], 'chunk')}"
    )
    for name in ("upstream", "model", "status", "outcome"):
        if found[name]:
            click.secho(f"\n{name}", bold=True)
        widest = max((len(plain(which)) for which in found[name]), default=0)
        for which, number in found[name].items():
            click.echo(f"  {plain(which):<{widest}}  {number:>9,}")
    titles = {"duration": "duration", "first_byte_of_streams": "first byte of streams"}
    for name, title in titles.items():
        if spread := found[name]:
            told = ", ".join(f"{at} {human_seconds(value)}" for at, value in spread.items())
            click.echo(f"\n{click.style(title, bold=True)}\n  {told}")


def _many(number: int, word: str) -> str:
    return f"1 {word}" if number == 1 else f"{number:,} {word}s"
