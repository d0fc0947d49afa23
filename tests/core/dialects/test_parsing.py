"""What the parsers share: lenient reading of JSON."""

from __future__ import annotations

import pytest

from perimeter.calls import ParseError
from perimeter.dialects.parsing import (
    as_dict,
    as_json,
    as_list,
    as_text,
    count,
    digest,
    load,
    load_any,
    media,
)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\n\n  \r\n" * 74 + b'{"a": 1}\n', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": "\\ud800"}', {"a": "?"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": %s}' % (b"9" * 5000), {"a": float("inf")}),
    ],
)
def test_odd_json_is_read(body, expected):
    """Padding, duplicate keys, broken text and huge numbers are no reason to give up."""
    assert load(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"null",
        b'"a"',
        b"{",
        b"nonsense",
        b'{"a":' * 200_000,
        b"[" * 1_000_000,
        b"\xff",
    ],
)
def test_what_is_no_object_is_an_error(body):
    """What can't be read raises the one documented error."""
    with pytest.raises(ParseError):
        load(body)


def test_an_error_quotes_nothing():
    """Neither the message nor the chain of the exception has content of the body in it."""
    with pytest.raises(ParseError) as caught:
        load(b'{"password": private')
    assert "private" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_array_can_be_read():
    """Some APIs answer with an array at the top."""
    assert load_any(b" [1, 2]") == [1, 2]


def test_values_of_another_type_are_empty():
    """Each taker returns what it is for, and nothing else."""
    assert (as_text("a"), as_text(1), as_text(None)) == ("a", "", "")
    assert (as_list([1]), as_list("a"), as_list(None)) == ([1], [], [])
    assert (as_dict({"a": 1}), as_dict([]), as_dict(None)) == ({"a": 1}, {}, {})
    assert [count(value) for value in (3, -1, True, 2.5, "3", None)] == [3, 0, 0, 0, 0, 0]


def test_json_text():
    """Strings stay as they are, null is nothing, the rest is compact."""
    assert as_json('{"a": 1}') == '{"a": 1}'
    assert as_json(None) == ""
    assert as_json({"a": [1, None]}) == '{"a":[1,null]}'
    assert as_json(10**30) == "1" + "0" * 30
    assert as_json("\ud800") == "\ud800"


def test_media_are_digested_as_sent():
    """Inline data are told by the base64 text alone, an address by itself."""
    inline = media("data:image/png;base64,QUJD", "image")
    assert (inline.digest, inline.type, inline.size) == (digest("QUJD"), "image/png", 4)
    address = media("https://example.org/a.png", "image")
    assert (address.type, address.size) == ("image", 0)
    assert address.digest == digest("https://example.org/a.png")
    assert len(digest("\ud800")) == 32
