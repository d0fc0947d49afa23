"""What a plugin's own command can know of a configuration where no proxy runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from perimeter.configuration import Overrides, load
from perimeter.dialects import Dialect
from perimeter.errors import PerimeterError
from perimeter.pricing import Price
from perimeter.registry import dialects_of


@attrs.frozen
class Configured:
    """
    What a configuration says of calls.

    Attributes:
        pricing: What models cost, where it says so (`[pricing]`), by name.
        dialects: What its plugins add.
        problems: Why the dialects of some plugins are missing.
    """

    pricing: Mapping[str, Price]
    dialects: Sequence[Dialect]
    problems: Sequence[PerimeterError]


def configured(path: Path | None = None) -> Configured:
    """
    Read a configuration as `perimeter run` does; plugins that add dialects are built, not started.

    Args:
        path: Of the file; without one `PERIMETER_CONFIG`, else `perimeter.toml`, if that is there.

    Raises:
        ConfigError: It can't be read.
    """
    settings = load(path, environ=os.environ, overrides=Overrides(), require_upstream=False)
    dialects, problems = dialects_of(settings)
    return Configured(settings.pricing, dialects, problems)
