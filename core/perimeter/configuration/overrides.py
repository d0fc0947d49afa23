"""What the command line says."""

from pathlib import Path

import attrs


@attrs.frozen
class Overrides:
    """Values given by flags; None where a flag was not given.

    Attributes:
        port: As text or number; text that is no number becomes a problem like any other.
        plugins: Names of plugins to run even without a table, or in spite of ``enabled = false``.

    """

    base_url: str | None = None
    type: str | None = None
    api_key: str | None = attrs.field(default=None, repr=False)
    api_key_file: Path | None = None
    host: str | None = None
    port: int | None = None
    log_level: str | None = None
    workers: int | None = None
    plugins: tuple[str, ...] = ()
