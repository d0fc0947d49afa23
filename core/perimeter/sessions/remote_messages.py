"""What a worker and the process that has the sessions tell each other, and how it is framed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from perimeter.sessions.remote_plain import PlainEnded, PlainEvidence, PlainReply, PlainResolution


VERSION = 1
"""Of what is told; a worker and its supervisor are of the same installation."""
LARGEST = 1 << 20
"""Bytes of a message at most; the largest that evidence usually makes is 10 KB."""
_LENGTH = 4


class WireError(Exception):
    """What came, or was to be sent, is no message."""


# -- from a worker


class Ask(msgspec.Struct, array_like=True, gc=False, tag=1):
    """Take the replies, then place a call: answered by `Placed`, `More` or `Failed`."""

    replies: list[PlainReply]
    evidence: PlainEvidence


class Tell(msgspec.Struct, array_like=True, gc=False, tag=2):
    """Take the replies; not answered."""

    replies: list[PlainReply]


class Learn(msgspec.Struct, array_like=True, gc=False, tag=3):
    """Take words of a session that came with a call but were not known to be new; not answered."""

    number: int
    words: tuple[int, ...]


class Collect(msgspec.Struct, array_like=True, gc=False, tag=4):
    """Tell which sessions ended: answered by `Over`. The last worker that leaves ends all."""

    leaving: bool


# -- from the sessions' process


class Hello(msgspec.Struct, array_like=True, gc=False, tag=1):
    """The first message of a connection."""

    version: int
    secret: bytes
    instance: bytes
    """Of the process: numbers of turns mean nothing to another one."""
    active: int


class Placed(msgspec.Struct, array_like=True, gc=False, tag=2):
    """Where a call belongs."""

    resolution: PlainResolution
    ended: list[PlainEnded]
    active: int


class More(msgspec.Struct, array_like=True, gc=False, tag=3):
    """The whole history is needed."""


class Failed(msgspec.Struct, array_like=True, gc=False, tag=4):
    """A call could not be placed, by a defect."""


class Over(msgspec.Struct, array_like=True, gc=False, tag=5):
    """Sessions that ended."""

    ended: list[PlainEnded]
    active: int
    more: bool
    """Whether there are others, which did not fit in."""


Question = Ask | Tell | Learn | Collect
Answer = Hello | Placed | More | Failed | Over

decode_question = msgspec.msgpack.Decoder(Question).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
_encoder = msgspec.msgpack.Encoder()


def frame(message: Question | Answer) -> bytes:
    """
    Return a message with its length before it.

    Raises:
        WireError: It is too large, or has what can't be written.
    """
    buffer = bytearray(_LENGTH)
    try:
        _encoder.encode_into(message, buffer, _LENGTH)
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise WireError(f"a message can't be written: {error}") from error
    size = len(buffer) - _LENGTH
    if size > LARGEST:
        raise WireError(f"a message of {size} bytes is too large")
    buffer[:_LENGTH] = size.to_bytes(_LENGTH)
    return bytes(buffer)


class Frames:
    """Cuts what comes through a connection into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield the messages that are complete now.

        Raises:
            WireError: A message is too large.
        """
        self._buffer += data
        while len(self._buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._buffer[:_LENGTH])
            if end - _LENGTH > LARGEST:
                raise WireError("a message is too large")
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_LENGTH:end])
            del self._buffer[:end]
            yield message
