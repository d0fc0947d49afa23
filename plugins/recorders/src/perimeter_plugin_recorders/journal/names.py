"""What a journal's files are called."""

from __future__ import annotations

import re
import time
from pathlib import Path

import attrs

from perimeter_plugin_recorders.journal.reading import COMPRESSED, PLAIN


TEMPORARY = ".tmp"
"""How names of half-written files end; they begin with a dot besides, so that nobody reads them."""


@attrs.frozen
class Names:
    """
    The names of one kind of journal: `recording-20260131T120001-4711-001.jsonl`.

    They sort by the time at which a file was begun (UTC).

    Attributes:
        prefix: What all of them begin with.
        worker: Tells apart the processes that write into one folder.
    """

    prefix: str
    worker: str

    def name(self, now: float, number: int) -> str:
        """Return the name of a file that is begun now (Unix time)."""
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
        return f"{self.prefix}-{moment}-{self.worker}-{number:03d}{PLAIN}"

    @property
    def own(self) -> re.Pattern[str]:
        """Matches the names of all files of this kind, also those of other processes."""
        ending = rf"(?:{re.escape(PLAIN)}|{re.escape(COMPRESSED)})"
        return re.compile(
            rf"{re.escape(self.prefix)}-\d{{8}}T\d{{6}}-\w+-\d{{3,}}{ending}", re.ASCII
        )


def compressed(path: Path) -> Path:
    """Return what a file is called once it is compressed."""
    return path.with_name(path.name + ".gz")


def temporary(path: Path) -> Path:
    """Return what a file is called while it is being written."""
    return path.with_name(f".{path.name}{TEMPORARY}")
