"""Where lines go: standard output or standard error, written to by one thread."""

from __future__ import annotations

import logging
import math
import os
import select
import time
import weakref
from typing import TextIO


log = logging.getLogger("perimeter.plugin.printer")

_PIECE: int = getattr(select, "PIPE_BUF", 512)
"""Bytes that a pipe takes at once where it takes any; 512 is the least that POSIX allows."""

_STEP = 0.2
"""Seconds between two looks at whether the proxy stops."""

_ASCII = str.maketrans(
    {"→": "->", "←": "<-", "✗": "x", "⛔": "!", "↩": "<", "✎": "~", "●": "*", "○": "o", "⚙": "+"}
    | {"↳": ">", "…": "...", "│": "|"}
)


class Output:
    """
    A standard stream that may be slow, or go away.

    It writes past the stream's own buffer: what could not be written is lost at once, instead of
    failing again when the interpreter flushes that buffer at its exit. It waits in short steps,
    since a thread that is stuck in a system call could not be told that the proxy stops.

    Attributes:
        closed: Whether the reader has gone; from then on nothing is written.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """
        Prepare for a stream.

        Args:
            stream: The stream, or None in a process that was started without it.
        """
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._descriptor = None if stream is None else _duplicate(stream)
        self._give_up_at = math.inf
        self.closed = stream is None
        if self._descriptor is not None:  # not earlier: the writing thread may still be stuck in it
            weakref.finalize(self, os.close, self._descriptor)

    def write(self, text: str) -> None:
        """Write all of `text`, waiting as long as the reader takes; quietly stop at its end."""
        if self.closed:
            return
        try:
            self._write(self._encoded(text))
        except TimeoutError:
            self.closed = True
            log.warning("the console takes nothing more; the last lines are lost")
        except (OSError, ValueError):  # the pipe, the terminal or the file object was closed
            self.closed = True

    def hurry(self, seconds: float) -> None:
        """From now on, wait for a reader that takes nothing no longer than this."""
        self._give_up_at = time.monotonic() + seconds

    def _encoded(self, text: str) -> bytes:
        try:
            return text.encode(self._encoding)
        except UnicodeEncodeError:
            return text.translate(_ASCII).encode(self._encoding, "backslashreplace")

    def _write(self, data: bytes) -> None:
        if self._descriptor is not None:
            rest = memoryview(data)
            while rest:
                rest = rest[self._write_some(self._descriptor, rest[:_PIECE]) :]
        elif self._stream is not None:
            self._stream.write(data.decode(self._encoding))
            self._stream.flush()

    def _write_some(self, descriptor: int, data: memoryview) -> int:
        """
        Write what can be written without being stuck, and return how much that was.

        Raises:
            TimeoutError: The proxy stops, and nobody has read for too long.
        """
        if select.select([], [descriptor], [], _STEP)[1]:
            try:
                return os.write(descriptor, data)
            except BlockingIOError:  # a terminal may have room for one byte, but not for a newline
                time.sleep(_STEP)
        if time.monotonic() > self._give_up_at:
            raise TimeoutError
        return 0


def _duplicate(stream: TextIO) -> int | None:
    """Return a descriptor of our own, or None for a stream that has none (or is on Windows)."""
    if os.name != "posix":
        return None  # only the stream itself can write Unicode to a Windows console
    try:
        stream.flush()
        return _reopened(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return None


def _reopened(descriptor: int) -> int:
    """Open a terminal anew, so that it does not block us and still blocks others; copy the rest."""
    if os.isatty(descriptor):
        try:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return os.open(os.ttyname(descriptor), flags)
        except OSError:
            pass  # a terminal of another user or container has no name here
    return os.dup(descriptor)
