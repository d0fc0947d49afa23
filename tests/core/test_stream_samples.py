"""The samples of tests/data, cut into events, and shapes too large or binary to stand there."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter.framing import cutter, format_sse, framing_of, parse_sse


DATA = Path(__file__).parents[1] / "data"

SAMPLES = {
    "sse_chat.txt": (5, b""),
    "sse_crlf.txt": (2, b""),
    "sse_cr.txt": (2, b"data: [DONE]\r\r"),
    "sse_mixed_line_ends.txt": (5, b""),
    "sse_comments.txt": (5, b""),
    "sse_azure_first_chunk.txt": (4, b""),
    "sse_error_event.txt": (2, b""),
    "sse_error_beside_choices.txt": (2, b""),
    "sse_named_events.txt": (7, b""),
    "sse_responses.txt": (4, b""),
    "sse_responses_unnamed.txt": (3, b""),
    "sse_fields.txt": (2, b""),
    "sse_bom.txt": (2, b""),
    "sse_no_end.txt": (1, b"data: {"),
    "sse_pretty_error.txt": (0, b"{\n"),
    "ndjson.txt": (3, b""),
    "ndjson_thinking.txt": (6, b""),
    "ndjson_no_end.txt": (3, b'{"is_finished":true'),
    "json_array.json": (2, b"\n]\n"),
    "json_error.json": (1, b"\n]\n"),
}
"""Streams: how many events they have, and how what is left over begins."""

DOCUMENTS = {"json_padded.json", "json_escapes.json"}


def sample(name: str) -> bytes:
    """Return a file of tests/data."""
    return (DATA / name).read_bytes()


def framing(name: str) -> str:
    """Return the framing that a sample's name tells."""
    return "json-array" if name.endswith(".json") else name.partition("_")[0].removesuffix(".txt")


def cut(kind: str, *pieces: bytes) -> tuple[list[bytes], bytes]:
    """Feed pieces; return the events and the rest."""
    subject = cutter(kind)
    events = [event for piece in pieces for event in subject.feed(piece)]
    return events, subject.flush()


def in_pieces(data: bytes, size: int) -> list[bytes]:
    """Split data into pieces of a size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def aws_message(payload: bytes, headers: bytes) -> bytes:
    """Return one message of an AWS event stream, checksums included."""
    prelude = (16 + len(headers) + len(payload)).to_bytes(4, "big") + len(headers).to_bytes(
        4, "big"
    )
    message = prelude + zlib.crc32(prelude).to_bytes(4, "big") + headers + payload
    return message + zlib.crc32(message).to_bytes(4, "big")


AWS = [
    aws_message(b'{"bytes":"eyJhIjoxfQ==","p":"abcdefgh"}', b"\x0b:event-type\x07\x00\x05chunk"),
    aws_message(b"", b""),
    aws_message(bytes(range(256)) * 300, b"\x0b:event-type\x07\x00\x05chunk"),
]


def test_the_index_names_every_sample():
    """The table in tests/data lists the files that are there, and these tests know them all."""
    rows = sample("README.md").decode().splitlines()
    listed = {row.split("`")[1] for row in rows if row.startswith("| `")}

    files = {path.name for path in DATA.iterdir() if path.is_file()}
    assert listed == files - {"README.md", ".gitattributes"}
    assert listed == {*SAMPLES, *DOCUMENTS}


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_cut_where_their_events_end(name):
    """Each sample has as many events as it should, and leaves over what it should."""
    count, left = SAMPLES[name]

    events, rest = cut(framing(name), sample(name))

    assert len(events) == count
    assert b"".join(events) + rest == sample(name)
    assert rest.startswith(left)
    assert bool(rest) == bool(left)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_do_not_depend_on_their_splits(name):
    """Every split in two, and every piece size, gives the same events."""
    data, kind = sample(name), framing(name)
    whole = cut(kind, data)

    for place in range(1, len(data)):
        assert cut(kind, data[:place], data[place:]) == whole
    for size in (1, 2, 3, 5, 7):
        assert cut(kind, *in_pieces(data, size)) == whole


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("sse")])
def test_data_of_samples_is_what_was_sent(name):
    """The data of every event is JSON, a marker, or nothing; comments have none."""
    events, _ = cut("sse", sample(name))
    plain = name in {"sse_fields.txt", "sse_mixed_line_ends.txt"}

    for _, data in map(parse_sse, events):
        assert plain or data in {"", "[DONE]"} or isinstance(json.loads(data), dict)


def test_names_of_events():
    """Names are read where there are some."""
    events, _ = cut("sse", sample("sse_named_events.txt"))
    errors, _ = cut("sse", sample("sse_error_event.txt"))

    assert [parse_sse(event)[0] for event in events][:2] == ["message_start", "ping"]
    assert [parse_sse(event)[0] for event in errors] == ["", "error"]


def test_odd_fields():
    """Ids, unknown fields and colons in values do no harm; one space after the colon goes."""
    (event, _), _ = cut("sse", sample("sse_fields.txt"))

    assert parse_sse(event) == ("message", "no space\n two spaces\n\nlast: colon")


def test_array_elements_are_json():
    """An element is a document once the separator before it is taken off."""
    events, _ = cut("json-array", sample("json_array.json"))
    elements = [json.loads(event.lstrip(b"[, \n")) for event in events]

    assert elements == json.loads(sample("json_array.json"))


def test_events_labelled_as_json_are_not_cut():
    """What a server calls JSON stays one body, whatever is in it (`sse_chat.txt`, padded JSON)."""
    assert framing_of("application/json", "openai.chat") is None
    assert json.loads(sample("json_padded.json"))["id"] == "gen-1"


def test_documents_that_writing_again_would_change():
    """The sample is what it is for: no writer gives these bytes back."""
    text = sample("json_escapes.json")

    assert json.dumps(json.loads(text)).encode() != text.strip()
    assert json.loads(text)["messages"][0]["content"].startswith("gr\xfc\xdf \U0001f600")


@pytest.mark.parametrize("size", [1, 3, 13, 4096, 100_000])
def test_aws_messages_with_headers(size):
    """Binary messages are cut by the length they begin with, also those of more than 64 kB."""
    assert cut("aws", *in_pieces(b"".join(AWS), size)) == (AWS, b"")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 500 what is this text doing here?",
        (15).to_bytes(4, "big") + bytes(40),
        (0).to_bytes(4, "big") + bytes(40),
        (25 * 1024 * 1024).to_bytes(4, "big") + bytes(40),
        (40).to_bytes(4, "big") + (25).to_bytes(4, "big") + bytes(40),
    ],
    ids=["text", "too short", "zero", "too long", "headers longer than the message"],
)
def test_impossible_aws_lengths(nonsense):
    """From lengths on that can't be, all is one rest, though good messages come later."""
    broken = nonsense + b"".join(AWS) * 400  # enough for any length that is only half nonsense

    assert cut("aws", *in_pieces(AWS[0] + broken, 100_000)) == ([AWS[0]], broken)


def test_an_event_of_more_than_64_kb():
    """An event may be far larger than what a socket gives at once."""
    event = format_sse(json.dumps({"b64_json": "A" * 100_000}), "image_generation.completed")

    assert cut("sse", *in_pieces(b": ping\n\n" + event, 16_384)) == ([b": ping\n\n", event], b"")


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(["data: 1", ": c", "event: e"]), min_size=1), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 9),
)
def test_every_line_end(events, end, size):
    """Events written with one kind of line end come back one by one; a last CR stays open."""
    written = [("".join(line + end for line in lines) + end).encode() for lines in events]

    found, rest = cut("sse", *in_pieces(b"".join(written), size))

    assert ([*found, rest] if rest else found) == written
    assert not rest or end == "\r"


@settings(deadline=None)
@given(st.lists(st.text() | st.lists(st.text()), max_size=5), st.booleans())
def test_array_elements_come_one_by_one(values, pretty):
    """Each object of an array is one event, however it is written and whatever is in it."""
    objects = [{"value": value} for value in values]
    data = json.dumps(objects, indent=2 if pretty else None, ensure_ascii=pretty)

    events, rest = cut("json-array", *in_pieces(data.encode("utf-8", "surrogatepass"), 3))

    assert [
        json.loads(event.lstrip(b"[, \n").decode("utf-8", "surrogatepass")) for event in events
    ] == objects
    assert rest.strip() == (b"]" if objects else b"[]")
