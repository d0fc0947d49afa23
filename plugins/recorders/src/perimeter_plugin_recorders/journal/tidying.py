"""Compress finished files, clear up what killed processes left, and delete what is too much."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import attrs

from perimeter_plugin_recorders.journal.locks import NO_LINKS, finished
from perimeter_plugin_recorders.journal.names import Names, compressed, temporary
from perimeter_plugin_recorders.journal.opening import PRIVATE_FILE
from perimeter_plugin_recorders.journal.options import JournalOptions
from perimeter_plugin_recorders.journal.reading import PLAIN


_PIECE = 256 * 1024


@attrs.frozen
class _File:
    path: Path
    size: int
    changed: float


def tidy(options: JournalOptions, now: float) -> None:
    """
    Put a journal's folder in order. Files that are being written are left alone.

    Args:
        options: How the journal is kept.
        now: Unix time.

    Raises:
        OSError: Something in the folder could not be read, written or deleted.
    """
    names = Names(options.prefix, options.worker)
    _remove_leftovers(options.folder, names)
    if options.gzip:
        for file in list(_files(options.folder, names.own)):
            if file.path.name.endswith(PLAIN):
                compress(file.path)
    retain(names.own, options, now)


def compress(path: Path) -> None:
    """
    Compress a file that nobody writes any more.

    The compressed file appears whole or not at all, and only then the other goes.
    """
    with finished(path) as descriptor:
        if descriptor is None:
            return
        target, half = compressed(path), temporary(compressed(path))
        half.unlink(missing_ok=True)
        try:
            _pack(descriptor, half)
            half.replace(target)
        except BaseException:
            half.unlink(missing_ok=True)
            raise
        path.unlink()


def _pack(descriptor: int, target: Path) -> None:
    status = os.fstat(descriptor)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS
    with (
        os.fdopen(os.open(target, flags, PRIVATE_FILE), "wb") as raw,
        os.fdopen(descriptor, "rb", closefd=False) as source,
    ):
        with gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6) as packed:
            shutil.copyfileobj(source, packed, _PIECE)
        raw.flush()
        os.fsync(raw.fileno())
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _remove_leftovers(folder: Path, names: Names) -> None:
    """Delete half-written files of processes that were killed."""
    own = names.own
    with os.scandir(folder) as entries:
        halves = [Path(each.path) for each in entries if each.name.startswith(f".{names.prefix}-")]
    for half in halves:
        target = half.with_suffix("").name.removeprefix(".")
        if half != temporary(folder / target) or not own.fullmatch(target):
            continue
        source = folder / target.removesuffix(".gz")
        with finished(source) as descriptor:
            if descriptor is not None or not source.exists():
                half.unlink(missing_ok=True)


def _files(folder: Path, own: re.Pattern[str]) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if own.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # another process tidies up too
                    continue
                yield _File(Path(entry.path), status.st_size, status.st_mtime)


def _age(file: _File) -> tuple[float, str]:
    return file.changed, file.path.name


def retain(own: re.Pattern[str], options: JournalOptions, now: float) -> None:
    """
    Delete files that are too old or too much, those first that were not added to for longest.

    Args:
        own: What names of files look like that may go, unless somebody writes them.
        options: How much is kept, and where.
        now: Unix time.
    """
    if not (options.max_total_size or options.max_age):
        return
    files = sorted(_files(options.folder, own), key=_age)
    total = sum(file.size for file in files)
    for file in files:
        too_old = options.max_age and now - file.changed > options.max_age
        too_much = options.max_total_size and total > options.max_total_size
        if (too_old or too_much) and _delete(file.path):
            total -= file.size


def _delete(path: Path) -> bool:
    with finished(path) as descriptor:
        if descriptor is not None:
            path.unlink(missing_ok=True)
        return descriptor is not None
