"""
A readable document for each session, written when it ends.

Until then its events are lines of a file of its own, which is opened only to add to it. So neither
a session of any length nor any number of them takes memory, and a killed process loses nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

import attrs
import msgspec

from perimeter_plugin_recorders.journal import Journal, Line
from perimeter_plugin_recorders.journal import lines as lines_of
from perimeter_plugin_recorders.journal.locks import NO_LINKS, finished, hold
from perimeter_plugin_recorders.journal.names import temporary
from perimeter_plugin_recorders.journal.opening import PRIVATE_FILE, OpenFile
from perimeter_plugin_recorders.journal.reading import PLAIN
from perimeter_plugin_recorders.journal.tidying import retain
from perimeter_plugin_recorders.journal.trouble import Trouble


LEFT_SECONDS = 86_400.0
"""After so long without an event, a session counts as left behind by a process that was killed."""

LOOK_SECONDS = 600.0
"""How often such sessions are looked for."""

_ADD = os.O_RDWR | os.O_APPEND | os.O_CREAT | NO_LINKS
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINKS
_OWN = re.compile(r"session-[\w.-]+\.json(?:\.gz)?", re.ASCII)
_RUNNING = re.compile(r"session-[\w.-]+\.jsonl", re.ASCII)
_LONGEST_NAME = 60


@attrs.frozen
class Part:
    """
    An event, as a part of a document.

    Attributes:
        line: The event as JSON.
        session: The session it belongs to; None for events of no session.
        last: Whether the session is over with it.
    """

    line: bytes
    session: str | None
    last: bool


def file_name(session: str) -> str:
    """Return a name for a session's file: safe, short, and never the same for two sessions."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", session)[:_LONGEST_NAME]
    digest = hashlib.sha256(session.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"session-{readable}-{digest}"


@attrs.define(eq=False)
class Documents:
    """
    Writes a document for each session that ends.

    Attributes:
        journal: Takes the events of no session; says how files are kept.
    """

    journal: Journal
    _look_at: float = float("-inf")

    @property
    def trouble(self) -> Trouble:
        """What becomes of it while nothing can be written."""
        return self.journal.trouble

    def write(self, parts: Iterable[Part]) -> int:
        """
        Keep events. Never raises.

        Returns:
            How many are in a file now; the others are lost.
        """
        sessions: dict[str | None, list[Part]] = {}
        for part in parts:
            sessions.setdefault(part.session, []).append(part)
        done = self.journal.write([part.line for part in sessions.pop(None, ())])
        return done + sum(self._keep(session, each) for session, each in sessions.items())

    def tick(self) -> None:
        """Do what is due: also write documents of sessions that were left behind."""
        self.journal.tick()
        now = self.journal.clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._look()

    def close(self) -> None:
        """Finish. Sessions that are not over go on in the same files."""
        self.journal.close()

    def _keep(self, session: str | None, parts: Sequence[Part]) -> int:
        if session is None or not self.trouble.ready:
            self.trouble.lost += len(parts)
            return 0
        path = self.journal.options.folder / (file_name(session) + PLAIN)
        done = 0
        try:
            self.journal.prepare()
            done, failure = self._add(path, [part.line for part in parts])
            if failure is not None:
                raise failure
            if any(part.last for part in parts):
                self._finish(path, complete=True)
        except OSError as error:
            self.trouble.lost += len(parts) - done
            self.trouble.failed(error)
        else:
            self.trouble.worked()
        return done

    def _add(self, path: Path, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        descriptor = _open(path)
        try:
            size = os.fstat(descriptor).st_size
            file = OpenFile(path, descriptor, 0.0, self.journal.os_write, size, lines=1)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                file.append([b""])  # whoever wrote the line before was killed
            done, failure = file.append(lines)
            if failure is None and self.journal.options.fsync:
                file.sync()
        finally:
            os.close(descriptor)
        return done, failure

    def _finish(self, path: Path, *, complete: bool) -> None:
        """Make a document of a session's lines; it appears whole or not at all."""
        with finished(path) as descriptor:
            if descriptor is None:
                return
            packed = self.journal.options.gzip
            half = temporary(path)
            half.unlink(missing_ok=True)
            try:
                with os.fdopen(os.open(half, _NEW, PRIVATE_FILE), "wb") as raw:
                    if packed:
                        with gzip.GzipFile(filename="", mode="wb", fileobj=raw) as target:
                            _write_document(cast("IO[bytes]", target), path, complete=complete)
                    else:
                        _write_document(raw, path, complete=complete)
                    raw.flush()
                    os.fsync(raw.fileno())
                _place(half, path.with_suffix(".json.gz" if packed else ".json"))
            finally:
                half.unlink(missing_ok=True)
            path.unlink()

    def _look(self) -> None:
        """Write what processes left behind that were killed, and delete what is too much."""
        options, now = self.journal.options, self.journal.clock.time()
        try:
            for entry in list(os.scandir(options.folder)):
                plain = _RUNNING.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
                if plain and now - entry.stat(follow_symlinks=False).st_mtime > LEFT_SECONDS:
                    self._finish(Path(entry.path), complete=False)
            retain(_OWN, options, now)
        except OSError as error:
            self.journal.log.warning("can't tidy up: %s", error)


def _open(path: Path) -> int:
    """Open a running session's file, and keep other processes from it."""
    while True:
        descriptor = os.open(path, _ADD, PRIVATE_FILE)
        hold(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another process has just made a document of it


def _place(half: Path, target: Path) -> None:
    """Give a document its name, or one with a number: a session that ended may have gone on."""
    stem, _, ending = target.name.partition(".")
    number = 1
    while True:
        try:
            os.link(half, target)
        except FileExistsError:
            number += 1
            target = target.with_name(f"{stem}.{number}.{ending}")
        else:
            return


def _write_document(target: IO[bytes], path: Path, *, complete: bool) -> None:
    events = _events(path)
    first = next(events, b"{}")
    session = msgspec.json.decode(first).get("session_id")
    about = {"format": "perimeter-session", "version": 1, "session_id": session}
    head = json.dumps({**about, "complete": complete}, indent=2)
    target.write(head.removesuffix("\n}").encode() + b',\n  "events": [')
    target.write(_indented(first))
    for event in events:
        target.write(b"," + _indented(event))
    target.write(b"\n  ]\n}\n")


def _events(path: Path) -> Iterator[bytes]:
    """Yield the events of a session's file, without lines that are torn."""
    for line in lines_of(path):
        if isinstance(line, Line) and line.data:
            with suppress(msgspec.DecodeError):
                msgspec.json.decode(line.data, type=dict)
                yield line.data


def _indented(event: bytes) -> bytes:
    return b"\n    " + msgspec.json.format(event, indent=2).replace(b"\n", b"\n    ")
