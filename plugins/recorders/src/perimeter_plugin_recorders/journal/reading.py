"""Read journals back, also those that were cut, compressed, or are still being written."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, cast

import attrs


LONGEST_LINE = 128 * 1024 * 1024
"""Bytes; a longer line is passed over, so that no file can take all the memory."""

PLAIN, COMPRESSED = ".jsonl", ".jsonl.gz"

TORN = "torn: the file ends in the middle of this line"
"""What is said of a last line without its end: its writer was killed, or still writes."""

_DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)


@attrs.frozen
class Line:
    """
    One line of a file.

    Attributes:
        path: The file.
        number: Which line of it, from 1.
        data: What it says, without its end.
    """

    path: Path
    number: int
    data: bytes


@attrs.frozen
class Bad:
    """
    Something that could not be read.

    Attributes:
        path: The file.
        number: Which line of it, from 1; 0 where it is about the file.
        reason: Why, in words.
    """

    path: Path
    number: int
    reason: str

    def __str__(self) -> str:
        where = f"{self.path}:{self.number}" if self.number else str(self.path)
        return f"{where}: {self.reason}"


def _nothing(_: Bad) -> None:
    """Report to nobody."""


def files(
    path: Path, *, pattern: str = "*.jsonl*", problems: Callable[[Bad], None] = _nothing
) -> list[Path]:
    """
    Return a file, or the files of a folder in the order in which they were begun.

    Only plain files that end in `.jsonl` or `.jsonl.gz` count in a folder, and of a file that is
    there in both forms only the plain one: its writer was interrupted between the two.

    Args:
        path: A file or a folder; a link to one is followed.
        pattern: What names in a folder look like.
        problems: Is told about what in a folder is left out although its name fits, such as links.

    Raises:
        OSError: There is no such file or folder, or the folder can't be read.
    """
    if not path.is_dir():
        path.stat()
        return [path]
    with os.scandir(path) as entries:
        fitting = [entry for entry in entries if _is_meant(entry.name, pattern)]
    found = {entry.name for entry in fitting if _is_plain_file(entry, problems)}
    names = [name for name in found if not _is_double(name, found)]
    return [path / name for name in sorted(names, key=_order)]


def lines(path: Path) -> Iterator[Line | Bad]:
    """
    Yield a file's lines, one at a time, whatever its size.

    What can't be read is yielded as `Bad`, and nothing before it is lost.
    """
    number = 0
    try:
        with _open(path) as source:
            for number, data in enumerate(_raw_lines(source), 1):
                yield _line(path, number, data)
    except _DAMAGED:
        yield Bad(path, number + 1, "the compressed file is cut or damaged here")
    except OSError as error:
        yield Bad(path, number, f"can't be read: {error.strerror or error}")


def _is_meant(name: str, pattern: str) -> bool:
    ending = name.endswith((PLAIN, COMPRESSED))
    return ending and not name.startswith(".") and fnmatch(name, pattern)


def _is_plain_file(entry: os.DirEntry[str], problems: Callable[[Bad], None]) -> bool:
    if entry.is_file(follow_symlinks=False):
        return True
    kind = "a symbolic link" if entry.is_symlink() else "not a plain file"
    problems(Bad(Path(entry.path), 0, f"{kind}, left out"))
    return False


def _is_double(name: str, names: set[str]) -> bool:
    return name.endswith(COMPRESSED) and name.removesuffix(".gz") in names


def _order(name: str) -> list[tuple[int, str]]:
    """Sort numbers in names by their value: file 1000 of a second comes after file 999."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split("([0-9]+)", name)
    ]


def _open(path: Path) -> IO[bytes]:
    """Open a file, or what it has been compressed to since it was listed."""
    if path.name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(path))
    try:
        return path.open("rb")
    except FileNotFoundError:
        if not path.name.endswith(PLAIN):
            raise
        return cast("IO[bytes]", gzip.open(path.with_name(path.name + ".gz")))


def _raw_lines(source: IO[bytes]) -> Iterator[bytes | None]:
    """Yield lines with their ends; None for one that is too long."""
    while data := source.readline(LONGEST_LINE + 1):
        if len(data) <= LONGEST_LINE:
            yield data
            continue
        while data and not data.endswith(b"\n"):
            data = source.readline(LONGEST_LINE)
        yield None


def _line(path: Path, number: int, data: bytes | None) -> Line | Bad:
    if data is None:
        return Bad(path, number, f"longer than {LONGEST_LINE >> 20} MiB, passed over")
    if not data.endswith(b"\n"):
        return Bad(path, number, TORN)
    return Line(path, number, data[:-1])
