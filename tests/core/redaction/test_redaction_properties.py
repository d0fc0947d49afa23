"""Redaction of any text, in pieces of any size."""

from __future__ import annotations

import itertools
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secret_shapes
from perimeter import redaction
from perimeter.redaction import scanning


SECRETS = st.builds(lambda seed: secret_shapes.make(random.Random(seed)), st.integers(0, 2**32))

# What stands around secrets: words, marks and the starts of what could be secrets.
BEGINNINGS = ("sk-", "sk-proj-", "Bearer ", "eyJ", "AKIA", "api_key", "://a:", "-----BEGIN ")
MARKS = (" ", "\n", '"', "'", ",", ".", "(", "}", "\\n", "\\\\n", "\t", "é", "日", ":", "=", "/")
WORDS = ("the", "risk", "of", "a", "token", "max_tokens", "user", "Bear", "basics", "x-y", "0a1b")
FILLER = st.lists(st.sampled_from((*BEGINNINGS, *MARKS, *WORDS)), max_size=8).map("".join)
EDGES = st.sampled_from([" ", "\n", '"', ",", "(", "\\n", "é", "日"])
"""What stands next to a secret, so that nothing becomes a part of it."""


@st.composite
def documents(draw) -> tuple[str, str]:
    """Draw a text with secrets in it, and what is to come out."""
    text = shown = ""
    for _ in range(draw(st.integers(0, 4))):
        words = draw(st.lists(st.sampled_from((*WORDS, *MARKS[:1])), max_size=6).map(" ".join))
        secret, masked = draw(SECRETS)
        text += f"{words} | {secret}\n"
        shown += f"{words} | {masked}\n"
    return text, shown


@given(documents())
def test_all_secrets_of_a_text_are_masked_and_nothing_else(document):
    """Secrets of all shapes among words come out as their prefix and as many stars."""
    text, shown = document

    assert redaction.text(text) == shown
    assert redaction.data(text.encode())[0] == shown.encode()


@given(FILLER, EDGES, SECRETS, EDGES, FILLER)
def test_no_secret_is_left_wherever_it_stands(before, left, secret, right, after):
    """Whatever is around it, nothing of a secret's hidden part is left."""
    key, shown = secret
    masked = redaction.text(before + left + key + right + after)
    place = len(before + left)

    for offset, character in enumerate(shown):
        if character == "*":
            assert masked[place + offset] == "*"


@given(st.one_of(st.text(), FILLER, documents().map(lambda each: each[0])))
def test_masking_twice_is_masking_once(text):
    """Lengths stay, only stars come in, and the second time nothing happens."""
    masked = redaction.text(text)

    assert len(masked) == len(text)
    assert all(new in (old, "*") for old, new in zip(text, masked, strict=True))
    assert redaction.text(masked) is masked


@given(st.binary(), documents())
def test_bytes_are_masked_like_text(noise, document):
    """Noise that is no text changes nothing."""
    text, shown = (each.encode() for each in document)
    masked, count = redaction.data(noise + b"\n" + text)

    assert len(masked) == len(noise) + 1 + len(text)
    assert masked.endswith(shown)
    assert (count == 0) == (masked == noise + b"\n" + text)


@given(st.text(alphabet=string.ascii_lowercase + " .,!?\n", max_size=2000))
def test_words_come_back_as_the_same_object(text):
    """Text without anything of a key's shape costs no copy."""
    body = text.encode()

    assert redaction.text(text) is text
    assert redaction.data(body)[0] is body


def pieces_of(body: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a body."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[a:b] for a, b in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 2**20), max_size=30)


@given(documents(), CUTS)
@settings(max_examples=300)
def test_a_stream_is_masked_like_the_whole(document, cuts):
    """However a body is cut, a stream gives what masking the whole gives."""
    text, shown = (each.encode() for each in document)
    stream = redaction.Stream()
    out = b""
    for piece in pieces_of(text, cuts):
        out += stream.feed(piece)
        assert stream.pending <= redaction.HOLD
    out += stream.flush()

    assert out == shown
    assert stream.pending == 0


@given(documents())
def test_a_stream_of_single_bytes_is_masked_like_the_whole(document):
    """The worst cut of all."""
    text, shown = (each.encode() for each in document)
    stream = redaction.Stream()
    out = b"".join(stream.feed(text[place : place + 1]) for place in range(len(text)))

    assert out + stream.flush() == shown
    assert stream.masked == len(scanning.find(text.decode("latin-1")))


@pytest.mark.parametrize(
    ("first", "second", "masked"),
    [
        ("the x9", "sk-" + "a1B2" * 8, 0),
        ("the ri ", "sk-" + "a1B2" * 8, 32),
        ('{"api_key"', ': "hunter", "a": "b"}', 6),
        ("https://a.example/?a=b&to", "ken=hunter&c=d", 6),
        ('{"a": "b", "password": "hun\\', '"ter", "c": "d"}', 8),
    ],
)
def test_a_stream_knows_what_came_before(first, second, masked):
    """What was given out already still counts as what stands in front."""
    stream = redaction.Stream()
    out = stream.feed(first.encode()) + stream.feed(second.encode()) + stream.flush()

    assert out.decode().count("*") == masked
    assert out.decode() == redaction.text(first + second)


SHORT = SECRETS.filter(lambda secret: len(secret[0]) < redaction.HOLD)


@given(FILLER, SHORT, FILLER, CUTS)
@settings(max_examples=300)
def test_holding_back_what_hold_says_masks_every_short_secret(before, secret, after, cuts):
    """A caller that keeps back as much as `hold` says never gives out a part of a secret."""
    key, shown = secret
    body = f"{before} | {key} | {after}".encode()
    place = len(f"{before} | ".encode())
    out = held = b""
    for piece in pieces_of(body, cuts):
        held += piece
        count = redaction.hold(held)
        assert 0 <= count <= min(redaction.HOLD, len(held))
        out += redaction.data(held[: len(held) - count])[0]
        held = held[len(held) - count :]
    out += redaction.data(held)[0]

    assert len(out) == len(body)
    masked = out[place : place + len(key)].decode("latin-1")
    assert all(new == "*" for new, old in zip(masked, shown, strict=True) if old == "*")


@pytest.mark.parametrize(
    ("tail", "count"),
    [
        (b"", 0),
        (b'data: {"choices":[]}\n\n', 0),
        (b'{"a":"b"}', 0),
        (b"a few words.", 0),
        (b"a sk", 2),
        (b"a risk", 0),
        (b"a sk-pro", 6),
        (b"the -----BEGIN RSA PRIV", 19),
        (b'{"api_key": "', 11),
        (b"Bearer ", 7),
        (b"sk-proj-" + b"x1" * 400, 512),
    ],
)
def test_only_beginnings_of_secrets_are_held_back(tail, count):
    """Ordinary ends of chunks are not; beginnings are from their first character on."""
    assert redaction.hold(tail) == count


@given(SECRETS, st.integers(-400, 40), st.sampled_from(["word ", '{"a": "b"}\n', "é, "]))
@settings(max_examples=200, deadline=None)
def test_secrets_across_the_border_of_slices_are_masked(secret, offset, filler):
    """A long text is looked at in slices; a secret across their border is masked whole."""
    key, shown = secret
    before = (filler * (scanning.SLICE // len(filler) + 1))[: scanning.SLICE + offset - 2] + "\n"

    assert redaction.text(f"{before}{key}\n{filler}") == f"{before}{shown}\n{filler}"


@pytest.mark.parametrize("size", [3 * scanning.SLICE, 10 * scanning.SLICE + 7])
def test_secrets_longer_than_slices_are_masked(size):
    """A secret may be longer than all slices."""
    text = f'a sk-{"x1" * (size // 2)} {{"password": "{"ü, " * (size // 3)}", "b": 1}}'
    masked = redaction.text(text)

    assert masked.count("*") == size // 2 * 2 + size // 3 * 3
    assert masked.endswith('*", "b": 1}')
