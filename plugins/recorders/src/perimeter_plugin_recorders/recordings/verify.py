"""Checks recordings: that files are whole, and what the digests prove."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import attrs

from perimeter_plugin_recorders.journal.reading import Bad
from perimeter_plugin_recorders.recordings.fidelity import fidelity, stored_digest
from perimeter_plugin_recorders.recordings.reading import read
from perimeter_plugin_recorders.recordings.recording import Recording, field


@attrs.define
class Report:
    """
    What a check found.

    Attributes:
        exchanges: How many there are.
        damage: How many problems there are.
        notes: How many things were left out on purpose.
        delivered: How many responses reached the client how.
        recorded: How many are recorded how.
    """

    exchanges: int = 0
    damage: int = 0
    notes: int = 0
    delivered: Counter[str] = attrs.field(factory=Counter)
    recorded: Counter[str] = attrs.field(factory=Counter)


def verify(path: Path, tell: Callable[[Bad], None]) -> Report:
    """
    Check a file or folder.

    Args:
        path: A file or a folder.
        tell: Is told about each problem as it is found.

    Raises:
        OSError: There is no such file or folder.
    """
    report = Report()

    def problem(bad: Bad) -> None:
        if bad.number == 0 and bad.reason.endswith("left out"):
            report.notes += 1
        else:
            report.damage += 1
        tell(bad)

    for recording in read(path, problems=problem):
        report.exchanges += 1
        for bad in check(recording):
            problem(bad)
        found = fidelity(recording)
        report.delivered[found.delivered] += 1
        report.recorded[_kind(found.recorded)] += 1
    return report


def check(recording: Recording) -> Iterator[Bad]:
    """Yield what is wrong with an exchange."""
    path, number = recording.last or (recording.path, recording.line)
    for reason in _at_the_beginning(recording):
        yield Bad(recording.path, recording.line, f"exchange {recording.id}: {reason}")
    for reason in (*_sequence(recording), *_ending(recording)):
        yield Bad(path, number, f"exchange {recording.id}: {reason}")


def _kind(recorded: str) -> str:
    """Return how something is recorded without the numbers in it."""
    return " ".join(word for word in recorded.split() if not word.isdigit())


def _at_the_beginning(recording: Recording) -> Iterator[str]:
    request = recording.request
    length = field(request.headers, "content-length")
    size = len(request.data)
    unlike = request.truncated or request.streamed or request.decoded
    if recording.legacy or unlike or not size:
        return
    if length.isdecimal() and int(length) != size:
        yield f"the request's body has {size} bytes, its head says {length}"


def _sequence(recording: Recording) -> Iterator[str]:
    head, end = recording.head, recording.end
    if recording.chunks and head is None:
        yield "a body without a head"
    moments = [each.at for each in (head, *recording.chunks, end) if each is not None]
    if not all(math.isfinite(at) and at >= 0 for at in moments):
        yield "has times that can't be"
    elif any(later < earlier for earlier, later in pairwise(moments)):
        yield "times go backwards: lines are in the wrong order"


def _ending(recording: Recording) -> Iterator[str]:
    end = recording.end
    if end is None:
        yield "has no end: the recorder was stopped, or still writes"
        return
    if recording.legacy:
        return
    if not end.stored:
        if recording.chunks:
            yield "has no digest of what is recorded"
    elif stored_digest(recording) != end.stored:
        yield "the recorded body is not what was recorded: its digest differs"
    elif end.stored == end.delivered and end.size != recording.stored:
        yield f"the body has {recording.stored} bytes, its end says {end.size}"
    elif fidelity(recording).recorded.startswith("otherwise"):
        yield "is recorded otherwise than it was delivered, and nothing says why"
