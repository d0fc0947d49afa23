"""What a worker and the process that has the sessions tell each other, and how it is framed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from perimeter.sessions.remote_plain import PlainEnded, PlainEvidence, PlainReply, PlainResolution


VERSION = 2
"""Of what is told; a worker and its supervisor are of the same installation."""
LARGEST = 1 << 20
"""Bytes of a message at most; the largest that evidence usually makes is 10 KB."""
_LENGTH = 4


class WireError(Exception):
    """What came, or was to be sent, is no message."""


# -- from a worker


class Ask(msgspec.Struct, array_like=True, gc=False, tag=1):
    """Take the replies, then place a call: answered by `Placed`, `More` or `Failed`."""

    number: int
    """Of the question: answers come in any order."""
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

    number: int
    leaving: bool


class Said(msgspec.Struct, array_like=True, gc=False, tag=5):
    """All replies were told that there were when `Say` came."""


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

    number: int
    resolution: PlainResolution
    ended: list[PlainEnded]
    active: int


class More(msgspec.Struct, array_like=True, gc=False, tag=3):
    """The whole history is needed."""

    number: int


class Failed(msgspec.Struct, array_like=True, gc=False, tag=4):
    """A call could not be placed, by a defect."""

    number: int


class Over(msgspec.Struct, array_like=True, gc=False, tag=5):
    """Sessions that ended."""

    number: int
    ended: list[PlainEnded]
    active: int
    more: bool
    """Whether there are others, which did not fit in."""


class Say(msgspec.Struct, array_like=True, gc=False, tag=6):
    """Tell the replies that there are: answered by `Said`."""


Question = Ask | Tell | Learn | Collect | Said
Answer = Hello | Placed | More | Failed | Over | Say

decode_question = msgspec.msgpack.Decoder(Question).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
_encode = msgspec.msgpack.Encoder().encode


def frame(message: Question | Answer) -> bytes:
    """
    Return a message with its length before it.

    Raises:
        WireError: It is too large, or has what can't be written.
    """
    try:
        data = _encode(message)
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise WireError(f"a message can't be written: {error}") from error
    if len(data) > LARGEST:
        raise WireError(f"a message of {len(data)} bytes is too large")
    return len(data).to_bytes(_LENGTH) + data


class Frames:
    """Cuts what comes through a connection into messages."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Yield the messages that are complete now.

        Raises:
            WireError: A message is too large.
        """
        data = self._rest + data if self._rest else data
        start, size = 0, len(data)
        self._rest = b""
        while size - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH])
            if end - start - _LENGTH > LARGEST:
                raise WireError("a message is too large")
            if size < end:
                break
            yield data[start + _LENGTH : end]
            start = end
        self._rest = data[start:]
