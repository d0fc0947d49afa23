"""A stream under guard: cut into events, each shown to every guard in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from perimeter.dispatch import Bound, report
from perimeter.encoding import DecodeError, Decoder
from perimeter.framing import cutter
from perimeter.verdicts import Stop, StreamGuard


MAX_EVENT = 1024 * 1024
"""Bytes of one event that are held back for the guards; longer ones follow the failure policy."""


class StreamStopped(Exception):
    """A guard ended the stream."""

    def __init__(self, plugin: str, stop: Stop) -> None:
        self.plugin = plugin
        self.stop = stop
        super().__init__(stop.reason)


@attrs.define(eq=False)
class _Stage:
    bound: Bound
    guard: StreamGuard


class StreamFilter:
    """Feeds what comes from the upstream through the guards of one stream."""

    def __init__(
        self, framing: str, guards: Sequence[tuple[Bound, StreamGuard]], encoding: str = ""
    ) -> None:
        """
        Prepare for one stream.

        Args:
            framing: How the stream is divided into events.
            guards: The guards with the hook they came from, in order.
            encoding: The content-encoding to undo, or "".
        """
        self._stages = [_Stage(bound, guard) for bound, guard in guards]
        self._all = tuple(self._stages)
        self._cutter = cutter(framing)
        self._decoder = Decoder(encoding) if encoding else None
        self._closed = False

    def feed(self, data: bytes) -> bytes:
        """
        Take bytes from the upstream.

        Returns:
            What goes to the client, perhaps b"".

        Raises:
            StreamStopped: A guard ended the stream.
            DecodeError: The content-encoding is broken.
        """
        plain = self._decoder.feed(data) if self._decoder is not None else data
        if not self._stages:
            return self._cutter.flush() + plain
        passed = b"".join(self._pass(self._cutter.feed(plain)))
        if self._cutter.pending > MAX_EVENT:
            self._give_up(f"an event is larger than {MAX_EVENT} bytes")
            passed += self._cutter.flush()
        return passed

    def end(self) -> bytes:
        """
        Take the end of a complete stream.

        Returns:
            What is still to go to the client.

        Raises:
            StreamStopped: A guard ended the stream.
        """
        rest = self._decoder.flush() if self._decoder is not None else b""
        out = [self.feed(rest)] if rest else []
        last = self._cutter.flush()
        out += self._pass([last]) if last else []
        out += self._close_all("end")
        return b"".join(out)

    def close(self, reason: str) -> None:
        """Tell every guard that has not been told yet that the stream was cut short, and why."""
        self._close_all(reason)

    def _pass(self, events: Sequence[bytes], start: int = 0) -> list[bytes]:
        current = list(events)
        for stage in tuple(self._stages[start:]):
            current = [out for event in current for out in self._show(stage, event)]
        return current

    def _show(self, stage: _Stage, event: bytes) -> Sequence[bytes]:
        if stage not in self._stages:
            return (event,)  # it failed at an earlier event of this batch
        try:
            return _events(stage.guard.feed(event))
        except Stop as stop:
            raise StreamStopped(stage.bound.plugin, stop) from None
        except (Exception, SystemExit) as error:
            self._failed(stage, error)
            return (event,)

    def _failed(self, stage: _Stage, error: BaseException) -> None:
        report(stage.bound, error)
        if stage.bound.fail_closed:
            raise StreamStopped(stage.bound.plugin, Stop("a guard failed")) from error
        self._stages.remove(stage)

    def _give_up(self, reason: str) -> None:
        for stage in tuple(self._stages):
            self._failed(stage, ValueError(reason))

    def _close_all(self, reason: str) -> list[bytes]:
        out: list[bytes] = []
        if self._closed:
            return out
        self._closed = True
        for stage in self._all:
            try:
                held = _events(stage.guard.close(reason))
            except (Exception, SystemExit) as error:  # also Stop: there is nothing left to stop
                report(stage.bound, error)
                continue
            if stage in self._stages:
                out += self._pass(held, start=self._stages.index(stage) + 1)
        return out


def _events(result: Any) -> Sequence[bytes]:
    """Check what a guard returned; bytes are a sequence too, but of numbers."""
    if isinstance(result, bytes) or not all(isinstance(event, bytes) for event in result):
        message = f"a stream guard returned {type(result).__name__}, not a sequence of bytes"
        raise TypeError(message)
    return tuple(result)


__all__ = ["MAX_EVENT", "DecodeError", "StreamFilter", "StreamStopped"]
