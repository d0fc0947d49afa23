"""Reads what goes up and what comes down whole."""

from __future__ import annotations

from collections.abc import Callable

from perimeter.calls import LLMReply, LLMRequest, ParseError
from perimeter.encoding import DecodeError, decode
from perimeter.model import Exchange
from perimeter.tracking.stream import StreamReader
from perimeter.verdicts import header


LARGEST = 64 * 1024 * 1024
"""So many bytes of a body are decoded at most."""

UNLABELLED = (b"data:", b"event:", b": ")
"""How streams of server-sent events begin."""


def read_request(exchange: Exchange) -> LLMRequest:
    """
    Read a request.

    Raises:
        ParseError: It can't be read.
    """
    original = exchange.original
    body = original.body
    if body is None or original.truncated:
        raise ParseError("larger than capture_limit")
    if encoding := header(original.headers, b"content-encoding"):
        try:
            body = decode(body, encoding.decode("latin-1"), LARGEST)
        except DecodeError as error:
            raise ParseError(str(error)) from error
    return exchange.dialect.read_request(body, original.path)


def read_reply(exchange: Exchange, clock: Callable[[], float]) -> tuple[LLMReply | None, str]:
    """
    Read a reply that was not streamed, or a stream that no content type says to be one.

    Args:
        exchange: Its response has been delivered.
        clock: Monotonic seconds.

    Returns:
        The reply, None where there is nothing to be read; and why some of it could not be read.

    Raises:
        ParseError: It can't be read.
    """
    response = exchange.response
    if response is None or not response.size:
        return None, ""
    if response.truncated:
        raise ParseError("larger than capture_limit")
    body = response.content(LARGEST)
    if body[:1] != b"{" and body[:64].lstrip().startswith(UNLABELLED):
        parser = exchange.dialect.stream_parser()
        if parser is not None:
            stream = StreamReader(parser, "sse", "", clock)
            stream.feed(body)
            stream.finish()
            return stream.reply(), stream.problem
    return exchange.dialect.read_reply(body), ""
