"""`perimeter run`."""

import functools
import os
from pathlib import Path
from typing import Any

import click

from perimeter.cli.reporting import reported


FILE = click.Path(path_type=Path, readable=False)  # whoever reads it says why it cannot


@click.command()
@click.option("--base-url", metavar="URL", help="Address of the LLM API [LLM_BASE_URL].")
@click.option(
    "--type",
    metavar="TYPE",
    help="API spoken there: openai, anthropic, gemini, ollama or raw [LLM_TYPE].",
)
@click.option(
    "--api-key", metavar="KEY", help="Key to inject; visible in process lists [LLM_API_KEY]."
)
@click.option("--api-key-file", metavar="FILE", type=FILE, help="File that holds the key.")
@click.option("--port", metavar="N", type=int, help="Port to listen on [PERIMETER_PORT; 4000].")
@click.option("--host", metavar="ADDRESS", help="Address to listen on [PERIMETER_HOST; 127.0.0.1].")
@click.option("--log-level", metavar="LEVEL", help="Least severe level shown [LOG_LEVEL; INFO].")
@click.option(
    "--config",
    metavar="FILE",
    type=FILE,
    help="Configuration file [PERIMETER_CONFIG; ./perimeter.toml if it is there].",
)
@click.option(
    "--plugin", "plugins", metavar="NAME", multiple=True, help="Plugin to run; may be repeated."
)
@click.option("--workers", metavar="N", type=int, help="Worker processes that share the port [1].")
def run(config: Path | None, api_key: str | None, **flags: Any) -> None:
    """Run the proxy until it is stopped.

    Every option also has a place in the configuration file, which `perimeter generate-config`
    explains. The command line counts more than the environment, and that more than the file.
    """
    if api_key is not None:
        click.echo(
            "warning: other users of this machine can read --api-key in its list of processes; "
            "use LLM_API_KEY or --api-key-file",
            err=True,
        )
    with reported():
        raise SystemExit(_run(config, {"api_key": api_key, **flags}))


def _run(config: Path | None, flags: dict[str, Any]) -> int:
    from perimeter.configuration import Overrides, load  # noqa: PLC0415
    from perimeter.discovery import problems_of_plugins  # noqa: PLC0415 - help must be fast

    read = functools.partial(
        load,
        config,
        environ=os.environ,
        overrides=Overrides(**flags),
        check_plugins=problems_of_plugins,
    )
    settings = read()
    from perimeter import supervisor  # noqa: PLC0415 - imported only with a usable configuration

    return supervisor.run(settings, announce=click.echo, reload=read)
