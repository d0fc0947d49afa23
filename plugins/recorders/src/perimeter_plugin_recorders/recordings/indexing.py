"""A first pass over recordings: what there is and where, small enough to be kept in memory."""

from __future__ import annotations

import atexit
import gzip
import shutil
import tempfile
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs

from perimeter_plugin_recorders.journal.reading import Bad, Line, lines
from perimeter_plugin_recorders.recordings.models import model_of
from perimeter_plugin_recorders.recordings.reading import Assembler, Problems, files_of, ignore
from perimeter_plugin_recorders.recordings.recording import Recording


_MOST_RANGES = 64
_UNPACKED_FILES = 4


@attrs.define(eq=False)
class Ranges:
    """
    Where the lines of one exchange stand in one file.

    Attributes:
        path: The file.
        bounds: Beginning and end of each range, in bytes, before compression. A range has all lines
            of the exchange that lie in it; with many ranges, neighbours are joined, and then it has
            others' lines too.
        line: The number of the first range's first line.
    """

    path: Path
    line: int
    bounds: array[int] = attrs.field(factory=lambda: array("q"))

    def add(self, start: int, end: int) -> None:
        """Add a line."""
        bounds = self.bounds
        if bounds and bounds[-1] == start:
            bounds[-1] = end
            return
        bounds.extend((start, end))
        if len(bounds) > 2 * _MOST_RANGES:
            pairs = range(0, len(bounds) - 3, 4)
            joined = array("q", [bounds[i + k] for i in pairs for k in (0, 3)])
            rest = len(bounds) % 4
            self.bounds = joined + bounds[len(bounds) - rest :] if rest else joined


@attrs.frozen(eq=False)
class Entry:
    """
    What is known of an exchange without its bodies.

    Attributes:
        id: The exchange's id.
        started_at: Unix time of its beginning.
        ended_at: Unix time of its end, or of the last thing recorded.
        path: The file in which it begins.
        line: The number of that line.
        places: Where its lines are.
        session: The id of its conversation, or None.
        agent: The agent's id, or None.
        method: HTTP method.
        target: Path and query.
        upstream: Name of the upstream.
        dialect: The API that was spoken, or `raw`.
        model: The model asked for, or "".
        status: HTTP status, or None where there was no response.
        outcome: How it ended, "" where that was not recorded.
        error: Why it did not complete, "" where it did.
        asked: Bytes of the request's body.
        size: Bytes of the response's body.
        pieces: How many chunks are recorded.
        first_byte: Seconds until the first chunk, or None.
        framing: How its stream is divided into events, None where it is none.
        complete: Whether it is recorded whole.
        redacted: Whether secrets are masked; None where the file does not say.
        legacy: Whether it is in the format of the system that Perimeter re-implements.
    """

    id: str
    started_at: float
    ended_at: float
    path: Path
    line: int
    places: tuple[Ranges, ...]
    session: str | None
    agent: str | None
    method: str
    target: str
    upstream: str
    dialect: str
    model: str
    status: int | None
    outcome: str
    error: str
    asked: int
    size: int
    pieces: int
    first_byte: float | None
    framing: str | None
    complete: bool
    redacted: bool | None
    legacy: bool


class Changed(ValueError):
    """A file is no longer what it was when it was indexed."""


def index(path: Path, *, problems: Problems = ignore) -> list[Entry]:
    """
    Return what there is in a file or folder, in the order of their ends.

    Args:
        path: A file or a folder.
        problems: Is told about everything that could not be used.

    Raises:
        OSError: There is no such file or folder.
    """
    return list(entries(path, problems=problems))


def entries(path: Path, *, problems: Problems = ignore) -> Iterator[Entry]:
    """
    Yield what `index` returns.

    Raises:
        OSError: There is no such file or folder.
    """
    assembler = Assembler(problems, keep=False)
    places: dict[Recording, list[Ranges]] = {}
    firsts: dict[Recording, float] = {}
    for file in files_of(path, problems):
        offset = 0
        for line in lines(file):
            if isinstance(line, Bad):
                problems(line)
                offset = _after(file, offset) if line.number else offset
                continue
            end = offset + len(line.data) + 1
            if (recording := assembler.take(line)) is not None:
                _note(places.setdefault(recording, []), line, offset, end)
                if recording.pieces == 1 and recording not in firsts and recording.chunks:
                    firsts[recording] = recording.chunks[0].at
            offset = end
            for done in assembler.finished():
                yield _entry(done, places.pop(done), firsts.pop(done, None))
    assembler.close()
    for done in assembler.finished():
        yield _entry(done, places.pop(done), firsts.pop(done, None))


def load(entry: Entry) -> Recording:
    """
    Read an exchange that is in the index.

    Raises:
        Changed: It is not where it was.
        OSError: A file can't be read.
    """
    assembler = Assembler()
    mine = b"" if entry.legacy else entry.id.encode()
    found: list[Recording] = []
    for line in _lines_of(entry):
        if mine in line.data:
            assembler.take(line)
            found += assembler.finished()
    assembler.close()
    found += assembler.finished()
    for recording in found:
        if recording.id == entry.id:
            recording.redacted = entry.redacted
            return recording
    raise Changed(f"{entry.path}:{entry.line}: exchange {entry.id} is no longer there")


def _note(places: list[Ranges], line: Line, start: int, end: int) -> None:
    if not places or places[-1].path != line.path:
        places.append(Ranges(line.path, line.number))
    places[-1].add(start, end)


def _entry(recording: Recording, places: list[Ranges], first_byte: float | None) -> Entry:
    request, end = recording.request, recording.end
    session = end.session if end else None
    return Entry(
        id=recording.id,
        started_at=recording.started_at,
        ended_at=recording.ended_at,
        path=recording.path,
        line=recording.line,
        places=tuple(places),
        session=session.id if session else None,
        agent=session.agent_id if session else None,
        method=request.method,
        target=request.target,
        upstream=request.upstream,
        dialect=request.dialect,
        model=model_of(recording),
        status=recording.status,
        outcome=recording.outcome,
        error=": ".join(filter(None, end.error)) if end and end.error else "",
        asked=len(request.data),
        size=end.size if end and end.size else recording.stored,
        pieces=recording.pieces,
        first_byte=first_byte,
        framing=recording.head.framing if recording.head else None,
        complete=recording.complete,
        redacted=recording.redacted,
        legacy=recording.legacy,
    )


def _lines_of(entry: Entry) -> Iterator[Line]:
    for ranges in entry.places:
        source, lasting = _open(ranges.path)
        try:
            for start, end in zip(ranges.bounds[::2], ranges.bounds[1::2], strict=True):
                source.seek(start)
                while source.tell() < end and (data := source.readline()):
                    yield Line(ranges.path, ranges.line, data.rstrip(b"\n"))
        finally:
            if not lasting:
                source.close()


def _after(file: Path, offset: int) -> int:
    """Return where the line after the one at `offset` begins."""
    source, lasting = _open(file)
    try:
        source.seek(offset)
        while (data := source.readline(1024 * 1024)) and not data.endswith(b"\n"):
            pass
        return source.tell()
    except (OSError, EOFError):
        return offset
    finally:
        if not lasting:
            source.close()


_unpacked: OrderedDict[tuple[Path, int], IO[bytes]] = OrderedDict()
"""Compressed files that were asked for last, unpacked: they can't be read from their middle."""


def _open(path: Path) -> tuple[IO[bytes], bool]:
    """Return a file to read from anywhere, and whether it stays open."""
    if path.suffix != ".gz" and not path.exists():  # has been compressed since
        path = path.with_name(path.name + ".gz")
    if path.suffix != ".gz":
        return path.open("rb"), False
    key = path, path.stat().st_mtime_ns
    if key not in _unpacked:
        while len(_unpacked) >= _UNPACKED_FILES:
            _unpacked.popitem(last=False)[1].close()
        _unpacked[key] = _unpack(path)
    _unpacked.move_to_end(key)
    return _unpacked[key], True


def _unpack(path: Path) -> IO[bytes]:
    made = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it is pushed out, or at exit
    try:
        with gzip.open(path) as source:
            shutil.copyfileobj(source, made, 1024 * 1024)
    except (EOFError, gzip.BadGzipFile, OSError):
        pass  # what was before the damage is there
    return made


@atexit.register
def _forget() -> None:
    while _unpacked:
        _unpacked.popitem()[1].close()
