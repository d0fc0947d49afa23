"""Reads recordings: puts exchanges together from lines, which are mixed where they overlapped."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from perimeter_plugin_recorders import lines as wire
from perimeter_plugin_recorders.journal.reading import Bad, Line, files, lines
from perimeter_plugin_recorders.lines import (
    FORMAT,
    VERSION,
    AnyLine,
    ChunkLine,
    Content,
    EndLine,
    FileLine,
    HeadLine,
    RequestLine,
    SentLine,
    UnknownLine,
)
from perimeter_plugin_recorders.recordings import legacy
from perimeter_plugin_recorders.recordings.recording import Recording


MOST_OPEN = 10_000
"""So many exchanges can be open at once before the one that began first is given up."""
MOST_HELD = 512 * 1024 * 1024
"""Bytes of bodies of open exchanges, likewise."""
_MOST_ORPHANS = 10_000

Problems = Callable[[Bad], None]

_KINDS = frozenset({"file", "request", "sent", "head", "chunk", "end"})


_Part = RequestLine | SentLine | HeadLine | ChunkLine | EndLine


class _Kind(msgspec.Struct):
    type: str = ""
    version: Any = None


_kind = msgspec.json.Decoder(_Kind).decode


def ignore(_: Bad) -> None:
    """Report to nobody."""


def read(path: Path, *, problems: Problems = ignore) -> Iterator[Recording]:
    """
    Yield the exchanges of a file or folder, each when its end is read.

    Those without an end come last. Only the ones that are open are held in memory.

    Args:
        path: A file or a folder.
        problems: Is told about everything that could not be used.

    Raises:
        OSError: There is no such file or folder.
    """
    assembler = Assembler(problems)
    for file in files_of(path, problems):
        for line in lines(file):
            if isinstance(line, Bad):
                problems(line)
            else:
                assembler.take(line)
                yield from assembler.finished()
    assembler.close()
    yield from assembler.finished()


def files_of(path: Path, problems: Problems = ignore) -> list[Path]:
    """
    Return the files of a recording.

    In a folder these are the ones named as a recorder names them, or if there are none, all JSONL.

    Raises:
        OSError: There is no such file or folder.
    """
    unused: list[Bad] = []
    found = files(path, pattern="recording*.jsonl*", problems=unused.append)
    if not found:
        unused.clear()
        found = files(path, problems=unused.append)
    for bad in unused:
        problems(bad)
    return found


class Assembler:
    """
    Puts exchanges together from lines.

    Args:
        problems: Is told about lines that can't be used.
        keep: Whether to keep bodies of responses; without them an exchange is small.
    """

    def __init__(self, problems: Problems = ignore, *, keep: bool = True) -> None:
        self._problems = problems
        self._keep = keep
        self._open: dict[str, Recording] = {}
        self._done: list[Recording] = []
        self._held = 0
        self._orphans: set[str] = set()
        self._file: Path | None = None
        self._foreign = False
        self._redacted: bool | None = None
        self._legacy: Recording | None = None

    def take(self, line: Line) -> Recording | None:
        """Take the next line; return the exchange that it belongs to, if it could be used."""
        if line.path != self._file:
            self._file, self._foreign, self._redacted = line.path, False, None
        if self._foreign:
            return None
        try:
            parsed = _parse(line.data)
        except UnknownLine as error:
            return self._other(line, str(error))
        if not isinstance(parsed, FileLine):
            return self._add(line, parsed)
        self._begin_file(line, parsed)
        return None

    def finished(self) -> Iterator[Recording]:
        """Yield, and forget, the exchanges that are over."""
        if self._done:
            done, self._done = self._done, []
            yield from done

    def close(self) -> None:
        """Take the exchanges that have no end for what they are."""
        for recording in list(self._open.values()):
            self._end(recording)
        self._give_up_legacy()

    def _bad(self, line: Line, reason: str) -> None:
        self._problems(Bad(line.path, line.number, reason))

    def _begin_file(self, line: Line, said: FileLine) -> None:
        if said.format != FORMAT:
            self._pass_over(line, f"no recording of HTTP traffic, but {said.format or 'unknown'!r}")
        elif said.version != VERSION:
            self._pass_over(line, _other_version(said.version))
        else:
            self._redacted = said.redacted

    def _pass_over(self, line: Line, reason: str) -> None:
        self._foreign = True
        self._bad(line, f"{reason}; the file is passed over")

    def _other(self, line: Line, reason: str) -> Recording | None:
        """Deal with what is no line of this version: garbage, a later version's, another format."""
        try:
            kind = _kind(line.data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            kind = _Kind()
        if kind.type == "file":
            self._pass_over(line, _other_version(kind.version))
        elif (said := legacy.parse(line)) is not None:
            return self._add_legacy(line, said)
        elif (kind.type in _KINDS or not kind.type) and line.data.strip():
            self._bad(line, f"no line of a recording: {_shortly(reason)}")
        return None

    def _add(self, line: Line, parsed: _Part) -> Recording | None:
        if isinstance(parsed, RequestLine):
            return self._begin(line, parsed)
        recording = self._open.get(parsed.exchange)
        if recording is None:
            self._tell_orphan(line, parsed.exchange)
            return None
        recording.last = (line.path, line.number)
        if isinstance(parsed, ChunkLine):
            self._add_chunk(recording, parsed)
        elif isinstance(parsed, HeadLine):
            recording.head = parsed
        elif isinstance(parsed, SentLine):
            recording.sent = parsed
        else:
            recording.end = parsed
            self._end(recording)
        return recording

    def _begin(self, line: Line, request: RequestLine) -> Recording:
        if (earlier := self._open.get(request.exchange)) is not None:
            self._bad(line, f"exchange {request.exchange} begins again, without having ended")
            self._end(earlier)
        made = Recording(request, line.path, line.number, redacted=self._redacted)
        made.last = (line.path, line.number)
        self._open[request.exchange] = made
        self._held += _size(request)
        self._make_room(line)
        return made

    def _add_chunk(self, recording: Recording, chunk: ChunkLine) -> None:
        size = _size(chunk)
        recording.stored += size
        recording.pieces += 1
        if self._keep:
            recording.chunks.append(chunk)
            self._held += size
        else:
            recording.chunks[:] = [msgspec.structs.replace(chunk, text=None, base64=None)]

    def _end(self, recording: Recording) -> None:
        del self._open[recording.id]
        self._held -= _size(recording.request) + (recording.stored if self._keep else 0)
        self._done.append(recording)

    def _make_room(self, line: Line) -> None:
        while len(self._open) > MOST_OPEN or (self._held > MOST_HELD and len(self._open) > 1):
            first = next(iter(self._open.values()))
            self._bad(line, f"too many exchanges are open here: gave up {first.id}")
            self._end(first)

    def _tell_orphan(self, line: Line, exchange: str) -> None:
        """Tell of an exchange whose beginning is not here, once."""
        if exchange in self._orphans:
            return
        if len(self._orphans) >= _MOST_ORPHANS:
            self._orphans.clear()
        self._orphans.add(exchange)
        self._bad(line, f"belongs to exchange {exchange}, whose request is not here")

    def _add_legacy(self, line: Line, said: legacy.Said) -> Recording | None:
        if said.type == "request":
            self._give_up_legacy()
            self._legacy = legacy.begin(line, said)
            return self._legacy
        recording, self._legacy = self._legacy, None
        if recording is None:
            self._bad(line, f"a {said.type} without a request before it")
            return None
        legacy.finish(recording, line, said)
        if not self._keep:
            recording.chunks.clear()
        self._done.append(recording)
        return recording

    def _give_up_legacy(self) -> None:
        if self._legacy is not None:
            self._done.append(self._legacy)
            self._legacy = None


def _parse(data: bytes) -> AnyLine:
    parsed = wire.decode(data)
    if isinstance(parsed, Content) and parsed.base64 is not None:
        try:
            b64decode(parsed.base64)  # so that nobody else has to reckon with what is none
        except ValueError as error:
            raise UnknownLine(f"bytes that can't be read: {error}") from error
    return parsed


def _size(content: Content) -> int:
    """Return how many bytes there are, without making them."""
    if content.base64 is not None:
        return len(content.base64) * 3 // 4 - content.base64[-2:].count("=")
    text = content.text or ""
    return len(text) if text.isascii() else len(text.encode())


def _other_version(version: object) -> str:
    return f"a recording of version {version!r}, this Perimeter reads version {VERSION}"


def _shortly(reason: str) -> str:
    """Return a reason without what might quote content."""
    return reason.partition(" - ")[0][:120]
