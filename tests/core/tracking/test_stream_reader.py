"""Streams are read in batches, and what ends a reply at once."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from itertools import count, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.calls import LLMReply, Message, ParseError, Text
from perimeter.dialects import UPSTREAM_TYPES
from perimeter.tracking.stream import BATCH, StreamReader


class Parser:
    """Notes what it is fed; a reply is over with `over`."""

    ending = re.compile(rb"over")

    def __init__(self) -> None:
        self.events: list[bytes] = []

    @property
    def finished(self) -> bool:
        """Whether the last event has come."""
        return any(b"over" in event for event in self.events)

    def feed(self, event: bytes) -> None:
        """Take an event."""
        self.events.append(event)
        if b"broken" in event:
            raise ParseError("it is broken")

    def reply(self) -> LLMReply:
        """Return all events as one text."""
        return LLMReply(message=Message("assistant", (Text(str(len(self.events))),)))


class EagerParser(Parser):
    """One of a dialect from elsewhere that knows nothing of batches."""

    ending = None  # type: ignore[assignment]


def ticks() -> Callable[[], float]:
    """Return a clock that moves on by one each time it is asked."""
    return map(float, count()).__next__


def event(text: str) -> bytes:
    """Return an event."""
    return f"data: {text}\n\n".encode()


def reader_of(parser: Parser, encoding: str = "") -> StreamReader:
    """Return a reader of events."""
    return StreamReader(parser, "sse", encoding, ticks())


def test_events_wait_for_each_other() -> None:
    """The first event is read at once, for the time of the first token; the next ones together."""
    parser = Parser()
    reader = reader_of(parser)
    fed = []
    for number in range(BATCH // len(event("0000")) + 3):
        reader.feed(event(f"{number:04}"))
        fed.append(len(parser.events))
    assert fed[:3] == [1, 1, 1]
    assert fed[-1] > BATCH // len(event("0000"))
    assert sum(1 for before, after in pairwise(fed) if after > before) == 1


def test_comments_are_no_first_token() -> None:
    """Comments and pings are read as they come, until something is said."""
    reader = reader_of(Parser())
    reader.feed(b": hello\n\n")
    reader.feed(b"event: ping\ndata: {}\n\n")
    assert reader.first_at is None
    reader.feed(event("said"))
    assert reader.first_at == 0.0


@given(cut=st.integers(1, len(event("it is over")) - 1), before=st.integers(1, 40))
def test_the_end_is_read_at_once(cut: int, before: int) -> None:
    """Whatever waits is read when the end comes, in one chunk or split over two."""
    parser = Parser()
    reader = reader_of(parser)
    for number in range(before):
        reader.feed(event(str(number)))
    last = event("it is over")
    reader.feed(last[:cut])
    assert not reader.finished
    reader.feed(last[cut:])
    assert reader.finished
    assert len(parser.events) == before + 1


def test_encoded_streams_are_decoded_before_the_end_is_looked_for() -> None:
    """The end of a compressed stream is seen, too."""
    parser = Parser()
    reader = reader_of(parser, "gzip")
    data = gzip.compress(event("one") + event("two") + event("it is over"))
    for place in range(len(data)):
        reader.feed(data[place : place + 1])
    assert reader.finished
    assert len(parser.events) == 3


def test_a_parser_that_knows_of_no_batches_gets_each_event_as_it_comes() -> None:
    """Without a pattern for the end every event is read at once."""
    parser = EagerParser()
    reader = reader_of(parser)
    for number in range(1, 6):
        reader.feed(event(str(number)))
        assert len(parser.events) == number


def test_what_waits_is_in_the_reply() -> None:
    """A reply asked for in the middle has all that has come, and problems are told."""
    parser = Parser()
    reader = reader_of(parser)
    for text in ("one", "two", "broken", "four"):
        reader.feed(event(text))
    assert reader.reply().message == Message("assistant", (Text("4"),))
    assert (reader.count, reader.problem) == (4, "it is broken")


def test_what_came_before_a_broken_encoding_is_read() -> None:
    """Bytes that can't be decoded end the reading, not what was read."""
    parser = Parser()
    reader = reader_of(parser, "gzip")
    packed = gzip.compress(event("one") + event("two"))
    reader.feed(packed)
    reader.feed(b"this is no gzip at all")
    reader.finish()
    assert len(parser.events) == 2


STREAMED = [
    pytest.param(dialect, id=dialect.name)
    for kind in UPSTREAM_TYPES.values()
    for dialect in kind.dialects
    if dialect.stream_parser() is not None
]


@pytest.mark.parametrize("dialect", STREAMED)
def test_our_own_dialects_are_read_in_batches(dialect: object) -> None:
    """Every stream parser of ours says what ends a reply."""
    assert isinstance(dialect.stream_parser().ending, re.Pattern)  # type: ignore[attr-defined]


ENDS = {
    "openai.chat": b"data: [DONE]\n\n",
    "anthropic.messages": b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    "openai.responses": b'data: {"type":"response.completed","response":{"id":"r"}}\n\n',
    "ollama.chat": b'{"model":"m", "done" : true}\n',
}


@pytest.mark.parametrize("name", ENDS)
def test_the_end_of_each_api_is_found(name: str) -> None:
    """The event that makes a parser finished is one that its pattern finds."""
    dialects = {each.name: each for kind in UPSTREAM_TYPES.values() for each in kind.dialects}
    parser = dialects[name].stream_parser()
    assert parser is not None
    assert parser.ending.search(ENDS[name])  # type: ignore[attr-defined]
    parser.feed(ENDS[name])
    assert parser.finished
