"""What the proxy itself says to a client: error answers, and the end of a stream."""

from __future__ import annotations

from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    RequestRejected,
    UpstreamClosed,
    UpstreamError,
    UpstreamProtocolError,
)
from perimeter.gateway.headers import content_length, is_encoded
from perimeter.model import Exchange, Outcome, Response
from perimeter.verdicts import Block


JSON = (b"content-type", b"application/json")
BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
TEXT_FRAMINGS = frozenset({"sse", "ndjson"})


def error_response(exchange: Exchange, status: int, message: str, code: str) -> Response:
    """Return an error in the dialect's own shape, its body recorded by nobody yet."""
    body = exchange.dialect.error(status, message, code)
    headers = (JSON, (b"content-length", b"%d" % len(body)))
    return Response(status, headers, parts=[body])


def block_response(exchange: Exchange, block: Block) -> Response:
    """Return the answer to a blocked exchange."""
    return error_response(exchange, block.status, block.reason, block.code)


def outcome_of(error: ExchangeError, *, mid_body: bool) -> Outcome:
    """Return the outcome that an error means."""
    match error:
        case ClientDisconnected():
            return Outcome.CLIENT_DISCONNECTED
        case RequestRejected():
            return Outcome.REJECTED
        case UpstreamClosed() | UpstreamProtocolError() if mid_body:
            return Outcome.TRUNCATED
        case UpstreamError():
            return Outcome.UPSTREAM_ERROR
        case _:
            return Outcome.PROXY_ERROR


def stream_ending(exchange: Exchange, last: bytes, reason: str) -> bytes:
    """
    Return the bytes that end a stream with the dialect's error event.

    Args:
        exchange: Its response's head has been sent.
        last: The bytes sent last, to see whether they end an event.
        reason: What the event says.

    Returns:
        The event, after closing a half-written one; b"" where the stream has no place for it.
    """
    response = exchange.response
    if response is None or response.framing not in TEXT_FRAMINGS:
        return b""
    if is_encoded(response.headers) or content_length(response.headers) is not None:
        return b""
    event = exchange.dialect.end_stream(reason)
    if not event:
        return b""
    if response.framing == "ndjson":
        return event if not last or last.endswith(b"\n") else b"\n" + event
    return event if not last or last.endswith(BOUNDARIES) else b"\n\n" + event
