"""How commands tell that something is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from perimeter.errors import ConfigError, PerimeterError


EXIT_CODE = 2
"""For everything that the person at the command line can put right."""


@contextmanager
def reported() -> Iterator[None]:
    """End the command with a message, and no traceback, for errors that are raised on purpose."""
    try:
        yield
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"error: {problem}", err=True)
        raise SystemExit(EXIT_CODE) from None
    except PerimeterError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(EXIT_CODE) from None
