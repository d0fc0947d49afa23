"""The recordings that can be served, found by what was asked."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from perimeter_plugin_recorders.journal.reading import Bad
from perimeter_plugin_recorders.recordings import Entry, Recording, index, load
from perimeter_plugin_recorders.recordings.cassette import playable
from perimeter_plugin_recorders.recordings.recording import field
from perimeter_plugin_recorders.serving.canonical import Asked, asked, differences


_MOST_COMPARED = 200
_SHOWN = 3
_LONGEST = 60


@attrs.frozen
class Skipped:
    """A place in a recording that is not served, and why."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@attrs.define
class Library:
    """
    What can be served.

    Attributes:
        ignore: JSON fields that do not count in comparing.
        served: How many recordings there are.
        skipped: What is not served.
    """

    ignore: tuple[str, ...] = ()
    served: int = 0
    skipped: list[Skipped] = attrs.field(factory=list)
    _by_digest: dict[bytes, list[Entry]] = attrs.field(factory=lambda: defaultdict(list))
    _by_route: dict[tuple[str, str], list[Entry]] = attrs.field(factory=lambda: defaultdict(list))
    _had: Counter[bytes] = attrs.field(factory=Counter)

    @classmethod
    def of(cls, path: Path, ignore: Sequence[str] = ()) -> Library:
        """
        Read a file or folder.

        Raises:
            OSError: There is no such file or folder.
        """
        library = cls(tuple(ignore))
        for entry in sorted(index(path, problems=library._bad), key=lambda each: each.started_at):
            library._take(entry)
        return library

    def find(self, request: Asked) -> Recording | None:
        """Return the next recording of a request: the nth for the nth time, then the last again."""
        digest = request.digest()
        fitting = self._by_digest.get(digest)
        if not fitting:
            return None
        number = min(self._had[digest], len(fitting) - 1)
        self._had[digest] += 1
        return load(fitting[number])

    def reset(self) -> None:
        """Begin again with the first recording of each request."""
        self._had.clear()

    def nearest(self, request: Asked) -> tuple[Recording, list[tuple[str, Any, Any]]] | None:
        """Return the recording that differs least from a request, and where it does, or None."""
        candidates = self._by_route.get(request.route) or self._nearest_route(request)
        best: tuple[Recording, list[tuple[str, Any, Any]]] | None = None
        for entry in candidates[:_MOST_COMPARED]:
            recording = load(entry)
            found = differences(self._asked(recording), request)
            if best is None or len(found) < len(best[1]):
                best = recording, found
        return best

    def _nearest_route(self, request: Asked) -> list[Entry]:
        routes = {" ".join(route): route for route in self._by_route}
        close = difflib.get_close_matches(" ".join(request.route), routes, n=1, cutoff=0.0)
        return self._by_route[routes[close[0]]] if close else []

    def _take(self, entry: Entry) -> None:
        try:
            recording = load(entry)
        except (OSError, ValueError) as error:
            self.skipped.append(Skipped(f"{entry.path}:{entry.line}", str(error)))
            return
        if reason := playable(recording):
            self.skipped.append(Skipped(recording.place, f"exchange {entry.id}: {reason}"))
            return
        request = self._asked(recording)
        self._by_digest[request.digest()].append(entry)
        self._by_route[request.route].append(entry)
        self.served += 1

    def _asked(self, recording: Recording) -> Asked:
        request = recording.request
        content_type = field(request.headers, "content-type")
        body = recording.asked()
        return asked(request.method, request.target, body, content_type, self.ignore)

    def _bad(self, bad: Bad) -> None:
        place = f"{bad.path}:{bad.number}" if bad.number else str(bad.path)
        self.skipped.append(Skipped(place, bad.reason))


def told(request: Asked, near: tuple[Recording, list[tuple[str, Any, Any]]] | None) -> str:
    """Say in words that there is no recording, and what comes nearest."""
    said = f"No recording matches {request.method} {request.path}."
    if near is None:
        return f"{said} There are no recordings at all."
    recording, found = near
    parts = [
        f"{place}: recorded {_shown(mine)}, asked {_shown(theirs)}"
        for place, mine, theirs in found[:_SHOWN]
    ]
    if len(found) > _SHOWN:
        parts.append(f"and {len(found) - _SHOWN} more")
    where = f"exchange {recording.id} ({recording.path.name}:{recording.line})"
    return f"{said} The nearest is {where}, which differs in {'; '.join(parts)}."


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
