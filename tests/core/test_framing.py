"""Cutting streams into events."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.framing import cutter, format_sse, framing_of, parse_sse


SAMPLES = Path(__file__).parents[1] / "data"
FRAMINGS = ["sse", "ndjson", "json-array", "aws"]


def aws_message(payload: bytes) -> bytes:
    """Return one message of an AWS event stream, without headers."""
    prelude = struct.pack(">II", 16 + len(payload), 0)
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + payload
    return message + struct.pack(">I", zlib.crc32(message))


def cut(framing: str, *pieces: bytes) -> tuple[list[bytes], bytes]:
    """Feed all pieces; return the events and the rest."""
    subject = cutter(framing)
    events = [event for piece in pieces for event in subject.feed(piece)]
    return events, subject.flush()


@pytest.mark.parametrize(
    ("content_type", "dialect", "framing"),
    [
        ("text/event-stream", "", "sse"),
        ("Text/Event-Stream; charset=utf-8", "openai.chat", "sse"),
        ("application/x-ndjson", "ollama.chat", "ndjson"),
        ("application/jsonl", "", "ndjson"),
        ("application/vnd.amazon.eventstream", "raw", "aws"),
        ("application/json; charset=UTF-8", "gemini.stream", "json-array"),
        ("application/json", "gemini.generate", None),
        ("application/json", "openai.chat", None),
        ("application/json", "anthropic.messages", None),
        ("text/plain", "gemini.stream", None),
        ("", "", None),
    ],
)
def test_framing_of(content_type, dialect, framing):
    """The content type tells the framing; only Gemini's array needs the dialect too."""
    assert framing_of(content_type, dialect) == framing


def test_unknown_framing():
    """A framing that nobody knows is an error that names the known ones."""
    with pytest.raises(ValueError, match=r"'xml'.*sse, ndjson, json-array, aws"):
        cutter("xml")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_sse_line_ends(end):
    """Any of the three line ends divides events, and is part of them."""
    first = b"event: a" + end + b"data: 1" + end + end
    second = b": comment" + end + end

    assert cut("sse", first + second + b"data: 2") == ([first, second], b"data: 2")


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: 1\r\n\r", b"\ndata: 2\r\n\r\n"),
        (b"data: 1\r", b"\n\r\ndata: 2\r\n\r\n"),
        (b"data: 1\r\n", b"\r", b"\n", b"data: 2\r\n\r\n"),
    ],
)
def test_crlf_in_two_chunks(pieces):
    """A CR and the LF that comes a chunk later are one line end."""
    assert cut("sse", *pieces) == ([b"data: 1\r\n\r\n", b"data: 2\r\n\r\n"], b"")


def test_single_crlf_is_no_blank_line():
    """The halves of one CRLF are not two line ends."""
    stream = b"event: a\r\ndata: 1\r\ndata: 2\r\n"

    assert cut("sse", stream) == ([], stream)


def test_sse_event_comes_as_soon_as_it_ends():
    """An event that ends with LF is given out at once, without waiting for another byte."""
    subject = cutter("sse")

    assert subject.feed(b"data: 1\n") == []
    assert subject.feed(b"\n") == [b"data: 1\n\n"]
    assert subject.feed(b"data: 2\r\n\r\n") == [b"data: 2\r\n\r\n"]
    assert subject.pending == 0


def test_ndjson():
    """Every line is an event; a last one without its end is the rest."""
    assert cut("ndjson", b'{"a":1}\n{"b":', b'2}\r\n{"c"') == (
        [b'{"a":1}\n', b'{"b":2}\r\n'],
        b'{"c"',
    )


def test_json_array():
    """Every element is an event, together with the bracket or comma before it."""
    stream = b'[{"a": [1, {"b": "}],{\\"["}]}\n,\r\n{"c": "\\\\"}\n]'

    assert cut("json-array", stream) == (
        [b'[{"a": [1, {"b": "}],{\\"["}]}', b'\n,\r\n{"c": "\\\\"}'],
        b"\n]",
    )


def test_json_that_is_no_array():
    """An error document where an array was expected is one event."""
    stream = b'\n{"error": {"code": 400, "details": [{}]}}'

    assert cut("json-array", stream, b"\n") == ([stream], b"\n")


def test_aws_event_stream():
    """Messages are cut by their lengths, whatever bytes are in them."""
    first, second = aws_message(b"\n\n\r\n{}"), aws_message(b"")

    assert cut("aws", first + second + first[:9]) == ([first, second], first[:9])


@pytest.mark.parametrize(
    "beginning",
    [
        struct.pack(">II", 1, 0),
        struct.pack(">II", 20, 5),  # headers that do not fit into the message
        b"HTTP/1.1 500",
    ],
)
def test_broken_aws_event_stream(beginning):
    """Where lengths can't be right, nothing is cut any more and nothing is lost."""
    first, broken = aws_message(b"{}"), beginning + aws_message(b"{}") * 2

    assert cut("aws", first, broken) == ([first], broken)


@pytest.mark.parametrize(
    ("sample", "framing", "count", "rest"),
    [
        ("sse_chat.txt", "sse", 5, b""),
        ("sse_crlf.txt", "sse", 2, b""),
        ("sse_cr.txt", "sse", 2, b"data: [DONE]\r\r"),
        ("sse_mixed_line_ends.txt", "sse", 5, b""),
        ("sse_comments.txt", "sse", 5, b""),
        ("sse_azure_first_chunk.txt", "sse", 4, b""),
        ("sse_error_event.txt", "sse", 2, b""),
        ("sse_error_beside_choices.txt", "sse", 2, b""),
        ("sse_named_events.txt", "sse", 7, b""),
        ("sse_responses.txt", "sse", 4, b""),
        ("sse_responses_unnamed.txt", "sse", 3, b""),
        ("sse_fields.txt", "sse", 2, b""),
        ("sse_bom.txt", "sse", 2, b""),
        ("sse_no_end.txt", "sse", 1, b'"finish_reason":"stop"}]}\n'),
        ("sse_pretty_error.txt", "sse", 0, b"}\n}\n"),
        ("ndjson.txt", "ndjson", 3, b""),
        ("ndjson_no_end.txt", "ndjson", 3, b'"stream-end"}'),
        ("json_array.json", "json-array", 2, b"\n]\n"),
        ("json_error.json", "json-array", 1, b"\n]\n"),
    ],
)
def test_samples(sample, framing, count, rest):
    """What providers send is cut into the right events, whole or byte by byte."""
    stream = (SAMPLES / sample).read_bytes()

    events, left = cut(framing, *(stream[at : at + 1] for at in range(len(stream))))

    assert b"".join(events) + left == stream
    assert len(events) == count
    assert left.endswith(rest)
    assert bool(left) == bool(rest)
    assert cut(framing, stream) == (events, left)


def test_names_and_data_of_a_sample():
    """The events of a stream of named ones are told apart by name, their data is the JSON."""
    events, _ = cut("sse", (SAMPLES / "sse_responses.txt").read_bytes())
    parsed = [parse_sse(event) for event in events]

    names = ["response.created", "keepalive", "response.output_text.delta", "response.incomplete"]
    assert [name for name, _ in parsed] == names
    assert [json.loads(data)["type"] for _, data in parsed] == names


@pytest.mark.parametrize("framing", FRAMINGS)
def test_flush_starts_anew(framing):
    """After a flush nothing is held, and the next bytes are cut as usual."""
    subject = cutter(framing)
    assert subject.feed(b"\0\0") == []
    assert subject.pending == 2
    assert subject.flush() == b"\0\0"
    assert subject.pending == 0
    assert subject.flush() == b""

    whole = {"sse": b"data: 1\n\n", "ndjson": b"1\n", "json-array": b"[{}", "aws": aws_message(b"")}

    assert subject.feed(whole[framing]) == [whole[framing]]


EVENTISH = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"\n\n", b"data: x", b'"', b"\\", b"[", b"]", b"{", b"}", b","]
        ),
        st.binary(max_size=6),
        st.binary(max_size=20).map(aws_message),
    ),
    max_size=30,
).map(b"".join)


@given(st.sampled_from(FRAMINGS), EVENTISH, st.lists(st.integers(0, 400)))
def test_splits_make_no_difference(framing, stream, cuts):
    """Nothing is lost or added, and the events are the same however the bytes come."""
    places = sorted({min(place, len(stream)) for place in cuts})
    starts, ends = [0, *places], [*places, len(stream)]
    pieces = [stream[start:end] for start, end in zip(starts, ends, strict=True)]

    events, rest = cut(framing, *pieces)

    assert b"".join(events) + rest == stream
    assert all(events)
    assert (events, rest) == cut(framing, stream)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_long_event_in_small_pieces(framing):
    """What has been looked through is not looked through again: the work grows linearly."""
    payload = b'"' + b"\\n x " * 200_000 + b'"'
    event = {
        "sse": b"data: " + payload + b"\n\n",
        "ndjson": payload + b"\n",
        "json-array": b"[{" + payload + b"}",
        "aws": aws_message(payload),
    }[framing]
    subject = cutter(framing)
    looked_at = 0
    events = []
    for start in range(0, len(event), 100):
        piece = event[start : start + 100]
        looked_at += subject.pending - subject._seen + len(piece)
        events += subject.feed(piece)

    assert events == [event]
    # The length prefix of AWS needs no looking at all.
    assert framing == "aws" or looked_at < 2 * len(event)


@pytest.mark.parametrize(
    ("event", "name", "data"),
    [
        (b"data: 1\n\n", "", "1"),
        (b"event: ping\r\ndata:  {}\r\n\r\n", "ping", " {}"),
        (b"id: 7\rdata:a\rdata\rdata: b\r\r", "", "a\n\nb"),
        (b": keep-alive\n\n", "", ""),
        (b"\xef\xbb\xbfdata: 1\n\n", "", "1"),
        (b"event: a\ndata: half", "a", "half"),
        (b"event: \xff\nretry: 10\n\n", "\N{REPLACEMENT CHARACTER}", ""),
    ],
)
def test_parse_sse(event, name, data):
    """Fields are read as the HTML standard says."""
    assert parse_sse(event) == (name, data)


@given(
    st.text(st.characters(exclude_characters="\r\n", codec="utf-8")),
    st.text(st.characters(codec="utf-8")),
)
def test_written_events_are_read_back(name, data):
    """What is written is one event, which reads as what it was made of."""
    event = format_sse(data, name)

    assert cut("sse", event) == ([event], b"")
    assert parse_sse(event) == (name, data.replace("\r\n", "\n").replace("\r", "\n"))


def test_event_names_have_one_line():
    """A name can't smuggle in a field of its own."""
    with pytest.raises(ValueError, match="one line"):
        format_sse("", "a\ndata: b")
