"""Undoing content-encodings."""

from __future__ import annotations

import gzip
import subprocess
import sys
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from perimeter.encoding import MAX_GROWTH, SUPPORTED, DecodeError, Decoder, decode


EVENTS = b"".join(b'data: {"n": %d, "text": "gr\xc3\xbc\xc3\x9f"}\n\n' % n for n in range(500))
LIMIT = 1 << 20


def raw_deflate(data: bytes) -> bytes:
    """Compress without zlib's header and checksum."""
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


ENCODERS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, raw": raw_deflate,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
CODINGS = sorted(ENCODERS)
COMPRESSED = [name for name in CODINGS if name != "identity"]


def header(name: str) -> str:
    """Return the header's value for the name of an encoder."""
    return name.partition(",")[0]


def feed_in_pieces(encoded: bytes, coding: str, size: int) -> bytes:
    """Decode piece by piece."""
    decoder = Decoder(coding)
    pieces = [decoder.feed(encoded[at : at + size]) for at in range(0, len(encoded), size)]
    return b"".join(pieces) + decoder.flush()


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("data", [b"", b"x", EVENTS], ids=["empty", "one byte", "events"])
def test_whole_bodies(name, data):
    """Every coding is undone, also that of an empty body."""
    assert decode(ENCODERS[name](data), header(name), LIMIT) == data


def test_every_supported_coding_is_tested():
    """The names in SUPPORTED are the ones that these tests know."""
    assert {header(name) for name in CODINGS} == SUPPORTED


@pytest.mark.parametrize("name", CODINGS)
@settings(deadline=None)
@given(data=st.binary(max_size=300), size=st.integers(1, 20))
def test_in_pieces(name, data, size):
    """However the encoded bytes are split, the decoded ones are the same."""
    assert feed_in_pieces(ENCODERS[name](data), header(name), size) == data


def flushed_events(name: str) -> list[bytes]:
    """Return three events as a server sends them: encoded, and flushed after each."""
    events = [b"data: %d\n\n" % n for n in range(3)]
    if name == "br":
        stream = brotli.Compressor()
        return [stream.process(event) + stream.flush() for event in events]
    if name == "zstd":
        writer = zstandard.ZstdCompressor().compressobj()
        flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return [writer.compress(event) + writer.flush(flush) for event in events]
    deflate = zlib.compressobj(wbits=31 if name.endswith("gzip") else -15 if "," in name else 15)
    return [deflate.compress(event) + deflate.flush(zlib.Z_SYNC_FLUSH) for event in events]


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_flushed_event_comes_out_at_once(name):
    """Of a stream that is flushed after each event, no event waits for the next one."""
    decoder = Decoder(header(name))

    assert [decoder.feed(piece) for piece in flushed_events(name)] == [
        b"data: 0\n\n",
        b"data: 1\n\n",
        b"data: 2\n\n",
    ]


@pytest.mark.parametrize("name", COMPRESSED)
def test_truncated_input(name):
    """Of a body that was cut off there is what came, whole or in pieces, and no error."""
    stream = b"".join(flushed_events(name))
    half = ENCODERS[name](EVENTS)[:-20]

    assert decode(stream, header(name), LIMIT) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert EVENTS.startswith(decode(half, header(name), LIMIT))
    assert feed_in_pieces(half, header(name), 7) == decode(half, header(name), LIMIT)


@pytest.mark.parametrize("name", COMPRESSED)
def test_garbage(name):
    """What is not in its coding is an error, which is a ValueError."""
    with pytest.raises(DecodeError):
        decode(b"\xff{this is not compressed}", header(name), LIMIT)
    with pytest.raises(ValueError):
        feed_in_pieces(b"\xff{this is not compressed}", header(name), 3)


@pytest.mark.parametrize("name", COMPRESSED)
def test_garbage_after_the_end(name):
    """What follows a complete body and is no part of it is an error too."""
    with pytest.raises(DecodeError):
        decode(ENCODERS[name](EVENTS) + b"garbage!", header(name), LIMIT)


@pytest.mark.parametrize("coding", ["br, gzip", "gzip,br", "GZIP , identity,  Br", " zstd,gzip ,"])
def test_several_codings(coding):
    """Codings are undone in the reverse of the order in which they are named."""
    encoded = EVENTS
    for name in coding.lower().split(","):
        encoded = ENCODERS[name.strip() or "identity"](encoded)

    assert decode(encoded, coding, LIMIT) == EVENTS
    assert feed_in_pieces(encoded, coding, 5) == EVENTS


@pytest.mark.parametrize("coding", ["", " ", ",", "identity", "Identity"])
def test_no_coding(coding):
    """Without a coding the bytes stay as they are."""
    assert decode(b"\x1f\x8b", coding, LIMIT) == b"\x1f\x8b"
    assert Decoder(coding).feed(b"\x1f\x8b") == b"\x1f\x8b"


@pytest.mark.parametrize("coding", ["compress", "gzip, aes128gcm"])
def test_unknown_codings(coding):
    """A coding that nobody knows is named in the error, before anything is decoded."""
    with pytest.raises(DecodeError, match=r"compress|aes128gcm"):
        decode(b"", coding, LIMIT)
    with pytest.raises(DecodeError, match="unknown"):
        Decoder(coding)


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("limit", [0, 1, 100, 10_000])
def test_the_limit(name, limit):
    """Never more than `limit` bytes are returned, and they are the first ones."""
    assert decode(ENCODERS[name](EVENTS), header(name), limit) == EVENTS[:limit]


def bomb(name: str, size: int) -> bytes:
    """Return zeros, encoded without ever having them all in memory at once."""
    block = bytes(1 << 20)
    if name == "br":
        stream = brotli.Compressor(quality=1)
        return b"".join(stream.process(block) for _ in range(size >> 20)) + stream.finish()
    if name == "zstd":
        writer = zstandard.ZstdCompressor().compressobj()
        return b"".join(writer.compress(block) for _ in range(size >> 20)) + writer.flush()
    deflate = zlib.compressobj(wbits=31 if name.endswith("gzip") else -15 if "," in name else 15)
    return b"".join(deflate.compress(block) for _ in range(size >> 20)) + deflate.flush()


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_bomb_is_not_unpacked(name):
    """A small body that means a gigantic one costs no more memory than the limit suggests."""
    encoded = bomb(name, 128 << 20)

    tracemalloc.start()
    try:
        assert decode(encoded, header(name), LIMIT) == bytes(LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 16 << 20


@pytest.mark.parametrize("name", COMPRESSED)
def test_a_bomb_in_a_stream(name):
    """A stream that grows out of all proportion is refused."""
    with pytest.raises(DecodeError, match=str(MAX_GROWTH)):
        Decoder(header(name)).feed(bomb(name, 65 << 20))


def test_a_bomb_in_a_bomb():
    """Of nested codings, too, only what is asked for is unpacked."""
    encoded = gzip.compress(bomb("gzip", 64 << 20))

    assert decode(encoded, "gzip, gzip", 100) == bytes(100)


@pytest.mark.parametrize("size", range((1 << 17) - 2, (1 << 17) + 3))
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_output_that_fills_pieces_exactly(size, step):
    """Nothing stays inside the decompressor where the output ends with a full piece."""
    assert len(feed_in_pieces(raw_deflate(bytes(size)), "deflate", step)) == size


def test_gzip_members_and_padding():
    """A body may be several gzip members, and be filled up with zeros."""
    encoded = gzip.compress(b"one ") + gzip.compress(b"two") + bytes(20)

    assert decode(encoded, "gzip", LIMIT) == b"one two"
    assert feed_in_pieces(encoded, "gzip", 1) == b"one two"


def test_zstd_frames():
    """A body may be several frames."""
    encoded = zstandard.compress(b"one ") + zstandard.compress(b"two")

    assert decode(encoded, "zstd", LIMIT) == b"one two"
    assert feed_in_pieces(encoded, "zstd", 1) == b"one two"


def test_libraries_are_imported_where_they_are_needed():
    """Importing the module, or undoing gzip, loads neither brotli nor zstandard."""
    script = (
        "import sys, gzip; from perimeter.encoding import decode;"
        "assert decode(gzip.compress(b'a'), 'gzip', 9) == b'a';"
        "print({'brotli', 'zstandard'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "set()"
