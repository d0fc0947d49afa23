"""
Where the events of a stream begin and end.

A cutter takes bytes as they come and gives back whole events, raw and with their delimiters, so
that the events and the rest together are the bytes that came in, however those were split.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Protocol


_MEDIA_TYPES = {
    "text/event-stream": "sse",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/jsonlines": "ndjson",
    "application/x-jsonlines": "ndjson",
    "application/stream+json": "ndjson",  # Cohere
    "application/vnd.amazon.eventstream": "aws",
}
_ARRAY_DIALECTS = frozenset({"gemini.stream"})


def framing_of(content_type: str, dialect_name: str = "") -> str | None:
    """
    Return how a response is divided into events.

    Args:
        content_type: The header's value, parameters and all.
        dialect_name: The dialect of the exchange. Gemini without `alt=sse` streams one JSON array,
            which its content type does not tell.

    Returns:
        `"sse"`, `"ndjson"`, `"aws"` (binary AWS event stream) or `"json-array"`; None where the
        response is no stream.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" and dialect_name in _ARRAY_DIALECTS:
        return "json-array"
    return _MEDIA_TYPES.get(media_type)


class Cutter(Protocol):
    """Cuts one stream into events."""

    @property
    def pending(self) -> int:
        """Bytes held because their event is not complete."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the events that are complete now, delimiters included."""

    def flush(self) -> bytes:
        """Return, and forget, the bytes of the event that is not complete."""


def cutter(framing: str) -> Cutter:
    """
    Return a new cutter.

    Args:
        framing: What `framing_of` returned.

    Raises:
        ValueError: There is no such framing.
    """
    kind = _CUTTERS.get(framing)
    if kind is None:
        message = f"there is no framing {framing!r}; known are {', '.join(_CUTTERS)}"
        raise ValueError(message)
    return kind()


class _Cutter(ABC):
    """Holds what has come and has not gone. How an event ends is for subclasses to say."""

    __slots__ = ("_held", "_seen")

    def __init__(self) -> None:
        self._held = bytearray()
        self._seen = 0
        """No event ends before here: where to go on looking, so that a long event costs O(n)."""

    @property
    def pending(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> list[bytes]:
        held, start = self._held, 0
        held += data
        events = []
        while (end := self._end(start)) is not None:
            events.append(bytes(held[start:end]))
            start = self._seen = end
        del held[:start]  # cheap: a bytearray only moves its start
        self._seen = max(self._seen - start, 0)
        return events

    def flush(self) -> bytes:
        rest = bytes(self._held)
        self._held.clear()
        self._seen = 0
        return rest

    @abstractmethod
    def _end(self, start: int) -> int | None:
        """Return where the event that starts at `start` ends, or None if it has not ended."""


class _SSECutter(_Cutter):
    """
    Server-sent events: an event ends with a blank line; lines end with LF, CRLF or CR.

    A CR that is the last byte so far may be half a CRLF, so the event it ends is held until the
    next byte tells. Only a server that ends lines with CR alone is delayed by this.
    """

    __slots__ = ()

    _BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")

    def feed(self, data: bytes) -> list[bytes]:
        if self._held or b"\r" in data or not data.endswith(b"\n\n"):
            return super().feed(data)
        if data.find(b"\n\n") == len(data) - 2:
            return [data]  # most servers send every event on its own
        return [event + b"\n\n" for event in data[:-2].split(b"\n\n")]

    def _end(self, start: int) -> int | None:
        match = self._BLANK_LINE.search(self._held, self._seen)
        if match is not None:
            return match.end()
        self._seen = max(start, len(self._held) - 3)  # the longest beginning of one is CR LF CR
        return None


class _NDJSONCutter(_Cutter):
    """Newline-delimited JSON: an event is a line, ended by LF (a CR before it is white space)."""

    __slots__ = ()

    def _end(self, start: int) -> int | None:
        index = self._held.find(b"\n", self._seen)
        if index >= 0:
            return index + 1
        self._seen = len(self._held)
        return None


class _JSONArrayCutter(_Cutter):
    """
    One JSON array of objects: an event is an element with whatever stands before it.

    The closing bracket is left to `flush`. A document that is no array, as of an error, is one
    event. Nothing is checked: what is not JSON is cut anywhere, or nowhere.
    """

    __slots__ = ("_depth", "_element_depth", "_quoted")

    _STRUCTURE = re.compile(rb'["\[\]{}]')
    _IN_STRING = re.compile(rb'"|\\(?:.|\Z)', re.DOTALL)

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._element_depth: int | None = None
        self._quoted = False

    def _end(self, start: int) -> int | None:
        held = self._held
        while match := (self._IN_STRING if self._quoted else self._STRUCTURE).search(
            held, self._seen
        ):
            token = match[0]
            if token == b"\\":  # what it escapes has not come yet
                self._seen = match.start()
                return None
            self._seen = match.end()
            if self._ends_element(token):
                return match.end()
        self._seen = len(held)
        return None

    def _ends_element(self, token: bytes) -> bool:
        if token == b'"':
            self._quoted = not self._quoted
        elif token in {b"[", b"{"}:
            if self._element_depth is None:
                self._element_depth = 1 if token == b"[" else 0
            self._depth += 1
        elif token in {b"]", b"}"}:
            self._depth -= 1
            return self._depth == self._element_depth
        return False


class _AWSCutter(_Cutter):
    """
    `application/vnd.amazon.eventstream`: an event begins with its own length.

    That is 4 bytes, big-endian, counting itself; the headers' length, as long, comes next. Of the
    rest two checksums take 8. Lengths that can't be mean that the stream is broken, or something
    else: where the next event begins can't be known, and all that comes is left to `flush`.
    """

    __slots__ = ()

    _OVERHEAD = 16
    _LONGEST = 24 * 1024 * 1024  # what AWS's own SDKs accept

    def _end(self, start: int) -> int | None:
        available = len(self._held) - start
        if available < self._OVERHEAD:
            return None
        length = int.from_bytes(self._held[start : start + 4], "big")
        headers = int.from_bytes(self._held[start + 4 : start + 8], "big")
        possible = self._OVERHEAD + headers <= length <= self._LONGEST
        return start + length if possible and length <= available else None


_CUTTERS: dict[str, type[_Cutter]] = {
    "sse": _SSECutter,
    "ndjson": _NDJSONCutter,
    "json-array": _JSONArrayCutter,
    "aws": _AWSCutter,
}

_LINE_END = re.compile(r"\r\n|\n|\r")


def parse_sse(event: bytes) -> tuple[str, str]:
    """
    Read one server-sent event.

    Args:
        event: As a cutter returned it.

    Returns:
        The event's name, "" where it has none, and its data: all `data` lines joined by LF, ""
        where there are none (a comment, a keep-alive). What is not UTF-8 is replaced.
    """
    name = ""
    data = []
    for line in _LINE_END.split(event.decode("utf-8", "replace").removeprefix("\ufeff")):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return name, "\n".join(data)


_COMMON = re.compile(rb"(?:event: ([^\r\n]*)\n)?data: ?([^\r\n]*)\r?\n\r?\n")


def read_sse(event: bytes) -> tuple[str, bytes]:
    """
    Read one server-sent event as `parse_sse` does, and faster where it looks as most do.

    Returns:
        The event's name and its data, as bytes.
    """
    if event[:6] == b"data: " and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return "", event[6:-2]
    found = _COMMON.fullmatch(event)
    if found is None:
        name, data = parse_sse(event)
        return name, data.encode("utf-8", "replace")
    return found[1].decode("utf-8", "replace") if found[1] else "", found[2]


def format_sse(data: str, name: str = "") -> bytes:
    """
    Write one server-sent event.

    Args:
        data: May have several lines; line ends become LF.
        name: The event's name, if it is to have one.

    Raises:
        ValueError: The name has a line end.
    """
    if "\n" in name or "\r" in name:
        message = f"an event's name is one line: {name!r}"
        raise ValueError(message)
    lines = [f"event: {name}"] if name else []
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode()
