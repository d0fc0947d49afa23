"""`perimeter demo`: provider, proxy and agents on one machine, without a key or a network."""

import asyncio
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from perimeter.cli.reporting import reported


if TYPE_CHECKING:
    from perimeter.application import Application
    from perimeter.demo import RoundResult, Seen, Step, Witness
    from perimeter.server import Server
    from perimeter.settings import Settings

WITNESS = "demo"
"""The name of the plugin that sees for the demonstration what the others see."""

_LINGER = 0.2
_MADE_UP = re.compile("ses-[0-9a-f]{16}")
_COLUMNS = ("session", "agent", "calls", "tokens", "cost", "matched by", "tools")

FILE = click.Path(path_type=Path, readable=False)  # whoever reads it says why it cannot


@click.command()
@click.option("--once", is_flag=True, help="End after one round; exit 0 only if all was right.")
@click.option("--port", metavar="N", type=int, help="Port of the proxy [PERIMETER_PORT; 4000].")
@click.option(
    "--config", metavar="FILE", type=FILE, help="Configuration file; its upstreams are not used."
)
def demo(once: bool, port: int | None, config: Path | None) -> None:
    """Show everything at work, without a key or a network.

    Starts a simulated provider and the proxy in front of it with all installed plugins, lets a few
    sample agents talk through it, prints what happens, and runs until Ctrl-C.
    """
    with reported():
        raise SystemExit(_demo(config, port, once=once))


def _demo(config: Path | None, port: int | None, *, once: bool) -> int:
    # Imported here because help must be fast.
    from perimeter import application, logs, supervisor  # noqa: PLC0415
    from perimeter.demo import Witness  # noqa: PLC0415
    from perimeter.simulator import Simulator  # noqa: PLC0415
    from perimeter.testing import serve  # noqa: PLC0415

    with serve(Simulator()) as provider:
        settings = _settings(config, port, provider)
        logs.configure(settings.logging, settings.secrets())
        listener = supervisor.listen(settings)
        click.echo(f"The simulated provider listens on {provider}")
        with listener, asyncio.Runner() as runner:
            host, bound = listener.getsockname()[:2]
            witness = Witness()
            built = application.build(settings, plugins={WITNESS: witness.plugin()})
            show = Show(built, _url(host, bound), witness, once=once)
            return runner.run(show.run(listener))


def _settings(config: Path | None, port: int | None, provider: str) -> "Settings":
    """Load the configuration, and put the simulated provider in place of all upstreams."""
    from perimeter.configuration import Overrides, load, load_without_file  # noqa: PLC0415
    from perimeter.discovery import installed  # noqa: PLC0415
    from perimeter.settings import UpstreamSettings  # noqa: PLC0415

    # Real keys and addresses stay out of a demonstration.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
    if config is not None:
        settings = load(
            config, environ=environ, overrides=Overrides(port=port), require_upstream=False
        )
    else:
        usable = {name: each for name, each in installed().items() if each.runs_without_options}
        overrides = Overrides(port=port, plugins=tuple(usable))
        settings = load_without_file(environ=environ, overrides=overrides)
        options = {name: dict(each.demo_options) for name, each in usable.items()}
        settings = attrs.evolve(settings, plugins={**settings.plugins, **options})
    upstreams = {
        "openai": UpstreamSettings(type="openai", base_url=provider),
        "anthropic": UpstreamSettings(type="anthropic", base_url=provider),
    }
    plugins = {**settings.plugins, WITNESS: {}}
    return attrs.evolve(settings, upstreams=upstreams, default_upstream="openai", plugins=plugins)


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@attrs.define(eq=False)
class Show:
    """One demonstration.

    Attributes:
        application: The proxy.
        url: Where it can be reached from this machine.
        witness: Sees which sessions there were.
        once: Whether to end after one round.

    """

    application: "Application"
    url: str
    witness: "Witness"
    once: bool
    _server: "asyncio.Future[Server]" = attrs.field(init=False)

    async def run(self, listener: Any) -> int:
        """Serve, play a round, and serve on until told to stop; give the exit code."""
        from perimeter import supervisor  # noqa: PLC0415

        loop = asyncio.get_running_loop()
        self._server = loop.create_future()
        serving = loop.create_task(
            supervisor.serve(
                self.application, listener, announce=click.echo, started=self._server.set_result
            )
        )
        playing = loop.create_task(self._play())
        await asyncio.wait({serving, playing}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():  # it could not start, or was told to stop during the round
            playing.cancel()
        elif self.once or playing.exception():
            self._server.result().stop()
        await serving
        return await _exit_code(playing)

    async def _play(self) -> bool:
        """Play a round and tell what came of it."""
        from perimeter.demo import check_metrics, play_round  # noqa: PLC0415

        await self._server
        click.echo("\nSample agents talk through the proxy, all at once:")
        result = await play_round(self.url, report=self._report())
        failures = [*result.failures, *await check_metrics(self.url, result.expected)]
        mixed = await self.witness.check(result.conversations)
        await asyncio.sleep(_LINGER)  # so that what plugins print stands above the table
        _show_sessions(list(self.witness.sessions.values()), _terminal_width())
        if not mixed:
            click.echo(
                f"{len(result.conversations)} conversations were held at the same time: each got "
                "exactly one session."
            )
        _conclude(result, [*failures, *mixed])
        failures += mixed
        if not self.once:
            self._invite()
        return not failures

    def _report(self) -> "Callable[[Step], None]":
        """Show each call, unless a plugin does that already."""
        if "printer" in self.application.settings.plugins:
            return lambda _: None
        return tell(click.echo, width=_terminal_width())

    def _invite(self) -> None:
        click.echo("\nOpen:")
        for path, what in PAGES.items():
            click.echo(f"  {self.url}{path:<9} {what}")
        for place in self.application.registry.places():
            click.echo(f"  {place}")
        click.echo("Ctrl-C ends the demonstration.")


PAGES: Mapping[str, str] = {
    "/health": "whether the proxy is well",
    "/metrics": "what it counted, for Prometheus",
    "/config": "the configuration that applies, and the plugins",
}


async def _exit_code(playing: "asyncio.Task[bool]") -> int:
    try:
        return 0 if await playing else 1
    except asyncio.CancelledError:
        return 1


def tell(write: Callable[[str], None], *, width: int | None = None) -> Callable[["Step"], None]:
    """Make the function that shows each call in one line, cut to a terminal's width."""

    def show(step: "Step") -> None:
        mark = click.style(str(step.traffic.status), fg="green" if _is_good(step) else "yellow")
        agent = click.style(f"{step.agent:<14}", bold=True)
        exchange = f"{step.asked} -> {_short(step.answered)}"
        if width:
            exchange = _short(exchange, max(width - len("  agent          200    123 ms  "), 20))
        write(f"  {agent} {mark} {step.seconds * 1000:>6.0f} ms  {exchange}")

    return show


def _terminal_width() -> int | None:
    """Give the columns of the terminal that standard output is, or None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _is_good(step: "Step") -> bool:
    return step.traffic.status < 400


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _conclude(result: "RoundResult", failures: list[str]) -> None:
    click.echo(
        f"{result.calls} calls in {len(result.conversations)} conversations, "
        f"{result.tool_calls} tool calls, {result.input_tokens} tokens in, "
        f"{result.output_tokens} out"
    )
    for failure in failures:
        click.secho(f"wrong: {failure}", fg="red")
    if not failures:
        click.secho("Every call went through, every answer was right.", fg="green")


def _show_sessions(sessions: "list[Seen]", width: int | None) -> None:
    """Show a row for each session, as wide as the terminal allows."""
    rows = [_COLUMNS, *map(_row, sessions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    click.echo("\nThe sessions that the proxy found:")
    for place, row in enumerate(rows):
        cells = [
            f"{cell:>{width}}" if column in {2, 3, 4} else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells).rstrip()
        if width and len(line) > width - 2:
            line = line[: width - 3] + "…"
        click.secho(f"  {line}", bold=place == 0)


def _row(session: "Seen") -> tuple[str, ...]:
    """Give the cells of a session's row; that its first call was new goes without saying."""
    continued = Counter({how: n for how, n in session.matches.items() if how != "new"})
    return (
        session.id[:12] if _MADE_UP.fullmatch(session.id) else _short(session.id, 12),
        _short(session.agent, 14),
        str(session.calls),
        f"{session.input_tokens}→{session.output_tokens}",
        "" if session.cost is None else _dollars(session.cost),
        _counted(continued or session.matches),
        _counted(session.tools),
    )


def _dollars(amount: float) -> str:
    return f"${amount:.4f}" if amount >= 0.0001 else "<$0.0001"


def _counted(counter: "Counter[str]") -> str:
    return ", ".join(name + (f" x{number}" * (number > 1)) for name, number in counter.items())
