"""
Recorded streams of real providers, cut anywhere: what is read of them is always the same.

The recordings are not part of this repository. They are looked for beside it; what they prove is
shown for made-up streams by the tests of each dialect.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import lzma
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perimeter.calls import LLMReply
from perimeter.dialects import UPSTREAM_TYPES, Dialect
from perimeter.framing import cutter, framing_of
from perimeter.tracking.stream import StreamReader


CORPUS = Path(__file__).parents[2].parent / "shared" / "traffic" / "corpus-dev.sqlite.xz"
SMALL = 2000
"""Streams of at most so many bytes are cut at each of them."""
LARGEST = 60_000
"""Larger ones are left out."""

READABLE = [
    dialect
    for kind in UPSTREAM_TYPES.values()
    for dialect in kind.dialects
    if dialect.stream_parser() is not None
]
RECORDED = (
    "openai.chat",
    "openai.responses",
    "openai.completions",
    "anthropic.messages",
    "gemini.stream",
    "ollama.chat",
    "ollama.generate",
)
"""Dialects that there are recorded streams of."""
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
NOISE = {
    "sse": (
        b"",
        b": keep-alive\n\n",
        b":\n\n",
        b"id: 7\nretry: 10\n\n",
        b'event: new_kind\ndata: {"type": "new_kind", "index": 0}\n\n',
        b'data: {"type": "new_kind", "object": "new.kind"}\n\n',
    ),
    "ndjson": (b"", b"\n", b'{"type": "new_kind"}\n'),
    "json-array": (b"", b"\n", b" "),
}
"""What may come between any two events, and means nothing."""

any_dialect = pytest.mark.parametrize("name", RECORDED)
any_line_end = pytest.mark.parametrize("line_end", LINE_ENDS.values(), ids=LINE_ENDS)

pytestmark = pytest.mark.skipif(
    not CORPUS.exists(),
    reason="needs the recorded traffic, which is kept beside the repository and not in it",
)


@attrs.frozen
class Recording:
    """A recorded stream."""

    id: int
    dialect: Dialect
    framing: str
    body: bytes

    def pieces(self) -> list[bytes]:
        """Return its events, with what is left at the end."""
        cut = cutter(self.framing)
        return [each for each in (*cut.feed(self.body), cut.flush()) if each]

    def changed(self, line_end: bytes, noise: Iterable[bytes]) -> bytes:
        """Return it with other line ends, and with something before each of its events."""
        pieces = zip(self.pieces(), noise, strict=False)
        body = b"".join([between + event for event, between in pieces])
        if self.framing == "ndjson" and line_end == b"\r":
            return body  # no line end there
        return body.replace(b"\r\n", b"\n").replace(b"\n", line_end)

    def read(self, data: bytes, places: Iterable[int] = ()) -> tuple[LLMReply, str]:
        """Return what is read of bytes that come in parts, cut at these places."""
        parser = self.dialect.stream_parser()
        assert parser is not None
        reader = StreamReader(parser, self.framing, "", time.monotonic)
        for start, end in itertools.pairwise([0, *sorted(places), len(data)]):
            reader.feed(data[start:end])
        reader.finish()
        return reader.reply(), reader.problem


def recorded(path: Path) -> Iterator[Recording]:
    """Yield the recorded streams of dialects that are read, the smallest first."""
    query = (
        "SELECT id, method, path, response_headers, response_body FROM it"
        " WHERE length(response_body) BETWEEN 1 AND ? ORDER BY length(response_body), id"
    )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for number, method, target, headers, body in connection.execute(query, (LARGEST,)):
            kind = {name.lower(): value for name, value in json.loads(headers)}.get("content-type")
            dialect = next(
                (
                    each
                    for each in READABLE
                    if method in each.methods and each.pattern.search(target)
                ),
                None,
            )
            framing = framing_of(kind or "", dialect.name) if dialect is not None else None
            if dialect is not None and framing is not None:
                yield Recording(number, dialect, framing, body)


def shapes(recording: Recording) -> set[str]:
    """Return what is in the events of a stream: their fields, and the members of their JSON."""
    api = f"{recording.dialect.name} {recording.framing}"
    found = {api}
    for event in recording.pieces():
        lines = re.split(rb"\r\n|\r|\n", event)
        data = [line.removeprefix(b"data:") for line in lines if line.startswith(b"data:")]
        try:
            value = json.loads(b"\n".join(data) if data else event.strip(b" \r\n,[]"))
        except ValueError:
            value = None
        kind = str(value.get("type", "")) if isinstance(value, dict) else type(value).__name__
        fields = sorted({line.partition(b":")[0] for line in lines if line})[:5] if data else ()
        found.add(f"{api} {kind} {fields}")
        found |= {f"{api} {kind} {member}" for member in members(value)}
    return found


def members(value: Any, depth: int = 3) -> Iterator[str]:
    """Yield the names in JSON, with the kinds of their values; empty ones are another kind."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{name} {type(each).__name__} {bool(each)}"
            if depth:
                yield from members(each, depth - 1)
    elif isinstance(value, list) and depth:
        for each in value:
            yield from members(each, depth - 1)


def chosen(recordings: Iterable[Recording]) -> list[Recording]:
    """Return the streams in which there is something that is in none before."""
    taken: list[Recording] = []
    known: set[str] = set()
    for recording in recordings:
        found = shapes(recording)
        if not found <= known:
            known |= found
            taken.append(recording)
    return taken


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Recording]]:
    """Give the chosen streams of each dialect."""
    path = tmp_path_factory.mktemp("traffic") / "recordings.sqlite"
    with lzma.open(CORPUS) as packed, path.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
    found: dict[str, list[Recording]] = {}
    for recording in chosen(recorded(path)):
        found.setdefault(recording.dialect.name, []).append(recording)
    assert found.keys() == set(RECORDED)
    return found


@any_dialect
def test_something_is_read(streams: dict[str, list[Recording]], name: str) -> None:
    """Every chosen stream says something, or says what went wrong."""
    replies = [recording.read(recording.body)[0] for recording in streams[name]]
    assert all(reply.message or reply.error for reply in replies)
    assert any(reply.message and reply.finish_reason for reply in replies)
    assert name == "openai.completions" or any(reply.usage for reply in replies)


@any_dialect
@any_line_end
def test_a_small_stream_cut_at_every_byte(
    streams: dict[str, list[Recording]], name: str, line_end: bytes
) -> None:
    """Each of two halves, with comments and unknown events between, give what the whole gives."""
    small = [each for each in streams[name] if len(each.body) <= SMALL] or streams[name][:1]
    for recording in small:
        expected = recording.read(recording.body)
        body = recording.changed(line_end, itertools.cycle(NOISE[recording.framing]))
        for place in range(len(body) + 1):
            assert recording.read(body, [place]) == expected, f"{recording.id} cut at {place}"


@any_dialect
@any_line_end
def test_every_stream_byte_by_byte(
    streams: dict[str, list[Recording]], name: str, line_end: bytes
) -> None:
    """Byte after byte, with comments and unknown events between, is the same as all at once."""
    for recording in streams[name]:
        expected = recording.read(recording.body)
        body = recording.changed(line_end, itertools.cycle(NOISE[recording.framing]))
        assert recording.read(body, range(len(body))) == expected, recording.id


@any_dialect
@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stream_cut_anywhere(
    streams: dict[str, list[Recording]], name: str, data: st.DataObject
) -> None:
    """Wherever it is cut, whatever its line ends are, and whatever comes between."""
    recording = data.draw(st.sampled_from(streams[name]))
    line_end = data.draw(st.sampled_from(list(LINE_ENDS.values())))
    noise = data.draw(st.lists(st.sampled_from(NOISE[recording.framing]), min_size=1, max_size=12))
    body = recording.changed(line_end, itertools.cycle(noise))
    places = data.draw(st.lists(st.integers(0, len(body)), max_size=30))
    assert recording.read(body, places) == recording.read(recording.body)
