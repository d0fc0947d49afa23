"""How a journal is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs


@attrs.frozen
class JournalOptions:
    """
    How a journal is kept.

    Attributes:
        folder: Where its files are.
        prefix: What their names begin with.
        worker: Tells apart the processes that write into the folder.
        max_file_size: Bytes after which a new file is begun; 0 for any size.
        max_file_lines: Lines after which a new file is begun; 0 for any number.
        max_total_size: Bytes of all files together, above which the oldest go; 0 for any size.
        max_age: Seconds after which a file goes that nothing was added to; 0 keeps it.
        gzip: Whether finished files are compressed.
        flush: How soon a record is in its file. The caller collects records; the journal itself
            never holds one back.
        flush_interval: Seconds between calls of fsync, where there are any.
        fsync: Whether what is written has to be on the disk before that counts.
    """

    folder: Path
    prefix: str
    worker: str
    max_file_size: int = 0
    max_file_lines: int = 0
    max_total_size: int = 0
    max_age: float = 0.0
    gzip: bool = False
    flush: Literal["every-record", "interval"] = "interval"
    flush_interval: float = 1.0
    fsync: bool = False
