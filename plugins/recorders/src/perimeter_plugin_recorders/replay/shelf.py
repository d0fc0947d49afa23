"""Where the exchanges of large recordings are, in about a hundred bytes for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import attrs

from perimeter_plugin_recorders.recordings.indexing import Entry, Ranges


class Shelf:
    """
    Keeps entries of an index in columns, as far as they are needed to load the recordings.

    A recording of 5 GB has a million exchanges; as objects its index would fill the memory.
    """

    def __init__(self) -> None:
        self._template: Entry | None = None
        self._numbers: dict[Path, int] = {}
        self._paths: list[Path] = []
        self._starts = array("d")
        self._ids = bytearray()
        self._id_ends = array("q", [0])
        self._places = array("q")
        self._place_ends = array("q", [0])
        self._legacy = bytearray()
        self._order = array("q")

    def __len__(self) -> int:
        return len(self._order)

    def add(self, entry: Entry) -> None:
        """Put an entry in."""
        self._template = self._template or entry
        self._starts.append(entry.started_at)
        self._ids += entry.id.encode("utf-8", "surrogatepass")
        self._id_ends.append(len(self._ids))
        for ranges in entry.places:
            self._places.extend((self._number(ranges.path), ranges.line, len(ranges.bounds)))
            self._places.extend(ranges.bounds)
        self._place_ends.append(len(self._places))
        self._legacy.append(entry.legacy)

    def sort(self) -> list[Entry]:
        """
        Bring the entries into the order in which they began.

        Returns:
            Those that are there twice, as with a copy of a file; they are left out of the order.
        """
        twice: list[int] = []
        self._order = array("q")
        same: set[str] = set()
        began = None
        for index in sorted(range(len(self._starts)), key=self._starts.__getitem__):
            if self._starts[index] != began:
                began = self._starts[index]
                same.clear()
            if (name := self._id(index)) in same:
                twice.append(index)
                continue
            same.add(name)
            self._order.append(index)
        return [self._entry(index) for index in twice]

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order, with what is needed to load them."""
        for index in self._order:
            yield self._entry(index)

    def _number(self, path: Path) -> int:
        if path not in self._numbers:
            self._numbers[path] = len(self._paths)
            self._paths.append(path)
        return self._numbers[path]

    def _id(self, index: int) -> str:
        start, end = self._id_ends[index], self._id_ends[index + 1]
        return self._ids[start:end].decode("utf-8", "surrogatepass")

    def _entry(self, index: int) -> Entry:
        assert self._template is not None  # noqa: S101 - there is an entry, so there was a first
        places = tuple(self._ranges(self._place_ends[index], self._place_ends[index + 1]))
        return attrs.evolve(
            self._template,
            id=self._id(index),
            started_at=self._starts[index],
            path=places[0].path,
            line=places[0].line,
            places=places,
            legacy=bool(self._legacy[index]),
        )

    def _ranges(self, start: int, end: int) -> Iterator[Ranges]:
        while start < end:
            number, line, count = self._places[start : start + 3]
            start += 3
            yield Ranges(self._paths[number], line, self._places[start : start + count])
            start += count
