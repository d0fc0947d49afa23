"""The recordings of a file or folder in the order in which they began, a few held at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from perimeter_plugin_recorders.replay.convert import Unplayable, recorded_of


if TYPE_CHECKING:
    from perimeter.playback import Recorded
    from perimeter_plugin_recorders.journal.reading import Bad
    from perimeter_plugin_recorders.recordings import Entry
    from perimeter_plugin_recorders.replay.shelf import Shelf

SHOWN = 100
"""So many skipped places are kept to be shown; the rest is only counted."""


@attrs.define(eq=False)
class Source:
    """
    What is to be played.

    Attributes:
        path: A file or a folder.
        since: Unix time before which exchanges are passed over; None for none.
        session: Id of the only session that is played; None for all.
        total: How many exchanges there are to play, once they are counted.
        passed_over: How many `since` and `session` left out.
        broken_off: How many have no end, because the recording proxy was killed.
        skipped: What could not be played: place and reason, the first few of them.
        skips: How many there are.
    """

    path: Path
    since: float | None = None
    session: str | None = None
    total: int = attrs.field(default=0, init=False)
    passed_over: int = attrs.field(default=0, init=False)
    broken_off: int = attrs.field(default=0, init=False)
    skipped: list[tuple[str, str]] = attrs.field(factory=list, init=False)
    skips: int = attrs.field(default=0, init=False)
    _shelf: Shelf | None = attrs.field(default=None, init=False)

    def scan(self) -> int:
        """
        Go through the recordings once, to know their order.

        Returns:
            How many there are to play.
        """
        from perimeter_plugin_recorders.recordings import entries  # noqa: PLC0415 - help is fast
        from perimeter_plugin_recorders.replay.shelf import Shelf  # noqa: PLC0415

        self._shelf = shelf = Shelf()
        for entry in entries(self.path, problems=self._bad):
            if self._wanted(entry):
                shelf.add(entry)
            else:
                self.passed_over += 1
        for entry in shelf.sort():
            self._skip(f"{entry.path}:{entry.line}", f"exchange {entry.id} is there twice")
        self.total = len(shelf)
        return self.total

    def __iter__(self) -> Iterator[Recorded]:
        """Yield the recordings, each loaded when it is asked for."""
        from perimeter_plugin_recorders.recordings import load  # noqa: PLC0415 - see above

        for entry in self._shelf or ():
            try:
                made = recorded_of(load(entry))
            except Unplayable as error:
                self._skip(f"{entry.path}:{entry.line}", f"exchange {entry.id} {error}")
            except (OSError, ValueError) as error:
                self._skip(str(entry.path), f"exchange {entry.id} can't be read again: {error}")
            else:
                self.broken_off += made.outcome is None
                yield made

    def _wanted(self, entry: Entry) -> bool:
        if self.since is not None and entry.started_at < self.since:
            return False
        return self.session is None or entry.session == self.session

    def _bad(self, bad: Bad) -> None:
        place = f"{bad.path}:{bad.number}" if bad.number else str(bad.path)
        self._skip(place, bad.reason)

    def _skip(self, place: str, reason: str) -> None:
        self.skips += 1
        if len(self.skipped) < SHOWN:
            self.skipped.append((place, reason))
