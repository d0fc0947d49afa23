"""What can be configured about the recorders."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perimeter import option


_MIB = 1024 * 1024


def _not_negative(_instance: Any, _attribute: Any, value: float) -> None:
    if not value >= 0:  # also refuses TOML's nan
        raise ValueError(f"must be 0 or more, not {value}")


def _interval(_instance: Any, _attribute: Any, value: float) -> None:
    if not 0 < value <= 60:
        raise ValueError(f"must be above 0 and at most 60 seconds, not {value}")


@attrs.frozen
class FileOptions:
    """What all recorders let their users say about files."""

    folder: str = option(
        "", help="Folder for the files; empty means the plugin's own folder in the data folder."
    )
    max_file_size: int = option(
        100 * _MIB,
        help="Bytes after which a new file is begun; 0 for any size.",
        validator=_not_negative,
    )
    max_file_lines: int = option(
        0, help="Lines after which a new file is begun; 0 for any number.", validator=_not_negative
    )
    max_total_size: int = option(
        10 * 1024 * _MIB,
        help="Bytes of all files, above which the oldest are deleted; 0 for any size.",
        validator=_not_negative,
    )
    max_age: float = option(
        0.0,
        help="Seconds after which a file is deleted that nothing was added to; 0 keeps it.",
        validator=_not_negative,
    )
    gzip: bool = option(False, help="Compress finished files.")
    flush: Literal["every-record", "interval"] = option(
        "interval",
        help='When records are written: "every-record" each at once, "interval" those of '
        "flush_interval together, which costs less.",
    )
    flush_interval: float = option(
        1.0, help="Seconds that a record may wait to be written.", validator=_interval
    )
    fsync: bool = option(
        False,
        help="Wait until the disk itself has what was written, so that a power failure loses no "
        "more than a crash does.",
    )


@attrs.frozen
class HttpRecorderConfig(FileOptions):
    """The `[plugins.http_recorder]` table."""

    max_body_size: int = option(
        100 * _MIB,
        help="Bytes of one response that are recorded; what is beyond is marked as truncated.",
        validator=_not_negative,
    )


@attrs.frozen
class MessageLoggerConfig(FileOptions):
    """The `[plugins.message_logger]` table."""

    full_history: bool = option(
        False, help="Log all messages of each request, not only those that are new."
    )
    include_system_prompts: bool = option(
        True, help="Log the system prompt, once for each conversation."
    )


@attrs.frozen
class EventRecorderConfig(FileOptions):
    """The `[plugins.event_recorder]` table."""

    format: Literal["jsonl", "json"] = option(
        "jsonl",
        help='"jsonl" writes each event as a line as it comes, "json" a readable document for '
        "each session when that ends.",
    )
