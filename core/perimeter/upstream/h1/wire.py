"""
Heads as they stand on the wire: requests written, responses read and judged.

A response's head is matched as a whole against the grammar of RFC 9112, without any of the
leniencies it allows: what two parsers may read differently can smuggle a response. The parser of
httptools is given chunked bodies only, so what it can't know (the request's method) or does its
own way (interim responses, bodies without a length, lengths said twice) never reaches it.
"""

from __future__ import annotations

import re

import attrs

from perimeter.errors import UpstreamError, UpstreamProtocolError
from perimeter.upstream.protocol import UpstreamHead, UpstreamRequest
from perimeter.verdicts import Headers


MAX_HEAD = 64 * 1024
"""Bytes of a response's head."""

MAX_FIELDS = 256
"""Fields of a response's head."""

_END = b"\r\n\r\n"
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rb"[^\r\n\x00]*+"
_FIELD = rb"%b:%b\r\n" % (_TOKEN, _VALUE)

_REQUEST_LINE = re.compile(rb"%b [\x21-\x7e]++ HTTP/1\.1\r\n" % _TOKEN).match
_RESPONSE = re.compile(
    rb"HTTP/1\.([01]) ([0-9]{3})(?: [^\r\n\x00]*+)?\r\n((?:%b)*+)\r\n" % _FIELD
).match
_FIELDS = re.compile(rb"(%b):[ \t]*+(%b)\r\n" % (_TOKEN, _VALUE)).findall
_BARE_LF = re.compile(rb"(?<!\r)\n").search
_BEGINNING = b"HTTP/1."
_DIGITS = re.compile(rb"[0-9]{1,18}").fullmatch
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


@attrs.define(eq=False)
class ResponseHead:
    """
    A response's head and what it says about the connection.

    Attributes:
        head: What the caller gets.
        size: How many bytes it took.
        length: The declared length of the body, or None.
        chunked: Whether the body is chunked; else, without a length, it ends with the connection.
        keep_alive: Whether the connection may be used again.
    """

    head: UpstreamHead
    size: int
    length: int | None
    chunked: bool
    keep_alive: bool


def request_head(request: UpstreamRequest, host: bytes) -> bytes:
    """
    Write a request's head.

    Raises:
        UpstreamError: It has something in it that can't be sent.
    """
    lines = [
        b"%b %b HTTP/1.1"
        % (
            request.method.encode("latin-1", "replace"),
            request.target.encode("latin-1", "replace"),
        ),
        b"host: " + host,
        *[b"%b: %b" % field for field in request.headers],
        *_body_field(request),
        _END[2:],
    ]
    head = b"\r\n".join(lines)
    # One end of line for each line that was meant: no value has brought one of its own.
    sound = head.count(b"\n") == head.count(b"\r") == len(lines) and b"\0" not in head
    if not sound or _REQUEST_LINE(head) is None:
        raise UpstreamError("the request's head has characters in it that can't be sent")
    return head


def _body_field(request: UpstreamRequest) -> tuple[bytes, ...]:
    if not isinstance(request.body, bytes):
        if request.length is None:
            return (b"transfer-encoding: chunked",)
        return (b"content-length: %d" % request.length,)
    if request.body or request.method in _WITH_BODY:
        return (b"content-length: %d" % len(request.body),)
    return ()


def response_head(data: bytes, seen: int = 0) -> ResponseHead | None:
    """
    Read a response's head.

    Args:
        data: What has come, from the head's first byte on.
        seen: So many bytes of it were looked at before, and were no complete head.

    Returns:
        The head, or None if more must come first.

    Raises:
        UpstreamProtocolError: It is not a head, or says contradictory things.
    """
    end = data.find(_END, max(0, seen - 3), MAX_HEAD)
    if end < 0:
        _judge_incomplete(data, seen)
        return None
    match = _RESPONSE(data)
    if match is None or match.end() != end + len(_END):
        raise UpstreamProtocolError("the response's head is not HTTP/1.1")
    minor, status, fields = match.groups()
    headers = tuple((name.lower(), value.rstrip(b" \t")) for name, value in _FIELDS(fields))
    if len(headers) > MAX_FIELDS:
        raise UpstreamProtocolError("the response's head has too many fields")
    length, chunked, keep_alive = _framing(headers, current=minor == b"1")
    if length is not None:
        headers = _said_once(headers)
    head = UpstreamHead(int(status), headers)
    return ResponseHead(head, match.end(), length, chunked, keep_alive)


def _judge_incomplete(data: bytes, seen: int) -> None:
    """Refuse what no further bytes can make a head of."""
    if data[:7] != _BEGINNING[: len(data)] or _BARE_LF(data, max(0, seen - 1)):
        raise UpstreamProtocolError("the response's head is not HTTP/1.1")
    if len(data) >= MAX_HEAD:
        raise UpstreamProtocolError("the response's head is too long")


def _framing(headers: Headers, *, current: bool) -> tuple[int | None, bool, bool]:
    """Return the body's length, whether it is chunked, and whether the connection persists."""
    length: int | None = None
    codings: list[bytes] = []
    options: set[bytes] = set()
    for name, value in headers:
        if name == b"content-length":
            length = _length(value, length)
        elif name == b"transfer-encoding":
            codings.append(value.lower())
        elif name == b"connection":
            options.update(option.strip() for option in value.lower().split(b","))
    keep_alive = b"close" not in options and (current or b"keep-alive" in options)
    if not codings:
        return length, False, keep_alive
    if codings != [b"chunked"]:  # the client would not be told of another one
        raise UpstreamProtocolError("the response has a transfer coding other than chunked")
    if length is not None:
        raise UpstreamProtocolError("the response has both a length and a transfer coding")
    return None, True, keep_alive and current  # HTTP/1.0 has no codings (RFC 9112 §6.1)


def _said_once(headers: Headers) -> Headers:
    """Leave one content-length where the same was said again, so that no reader has to choose."""
    values = [value for name, value in headers if name == b"content-length"]
    if len(values) == 1 and b"," not in values[0]:
        return headers
    others = tuple(field for field in headers if field[0] != b"content-length")
    return (*others, (b"content-length", values[0].split(b",")[0].strip(b" \t")))


def _length(value: bytes, before: int | None) -> int:
    """Read a length, which may be said again (RFC 9110 §8.6) but not differently."""
    found = set() if before is None else {before}
    for text in value.split(b","):
        digits = text.strip(b" \t")
        if _DIGITS(digits) is None:
            raise UpstreamProtocolError("the response's content-length is not a number")
        found.add(int(digits))
    if len(found) != 1:
        raise UpstreamProtocolError("the response has two different lengths")
    return found.pop()
