"""The way down: from the upstream's response head to the last byte for the client."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import attrs

from perimeter.dispatch import Bound, decide, report
from perimeter.encoding import DecodeError
from perimeter.errors import GuardFailed, UpstreamProtocolError
from perimeter.framing import framing_of
from perimeter.gateway import endings
from perimeter.gateway.headers import (
    content_length,
    is_encoded,
    media_type,
    to_client,
    without,
)
from perimeter.gateway.stream_filter import StreamFilter
from perimeter.model import Outcome, Response
from perimeter.upstream import UpstreamHead
from perimeter.verdicts import Block, Rewrite, StreamGuard, header


if TYPE_CHECKING:
    from perimeter.gateway.flow import Flow

NO_CONTENT = frozenset({204, 304})

UNSENDABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
"""Finds what no field value may have in it (RFC 9110 §5.5), and what some upstreams send."""


async def respond(flow: Flow, head: UpstreamHead) -> None:
    """Bring the response whose head has come to the client."""
    exchange, hooks = flow.exchange, flow.gateway.hooks
    framing = framing_of(media_type(head.headers), exchange.dialect.name)
    if UNSENDABLE(b"".join([value for _, value in head.headers])):
        raise UpstreamProtocolError("a header of the response has a control character in it")
    response = exchange.response = Response(head.status, head.headers, framing)
    if flow.tracked is not None:
        flow.tracked.opened()
    if hooks.observes:
        response.digest(rewritable=bool(hooks.guard_response or hooks.guard_stream))
    flow.phase = "idle"
    bodiless = exchange.request.method == "HEAD" or head.status in NO_CONTENT
    if bodiless:
        await flow.send_head(response, to_client(head.headers), bodiless=True)
        await pump(flow, response)
    elif framing is None and hooks.guard_response:
        await guarded(flow, response)
    elif framing is not None and hooks.guard_stream:
        await filtered(flow, response)
    else:
        headers = to_client(head.headers)
        await flow.send_head(response, headers)
        await pump(flow, response, remaining=content_length(headers))


async def pump(
    flow: Flow, response: Response, *, first: bytes = b"", remaining: int | None = None
) -> None:
    """
    Pass the body on, each piece as it comes.

    Args:
        flow: The exchange.
        response: Its response, the head of which has been sent.
        first: Bytes that were read already.
        remaining: The declared length, so that the last piece also ends the response.
    """
    if first:
        await flow.send_chunk(response, first)
    exchange, clock, call = flow.exchange, flow.gateway.clock, flow.call
    assert call is not None  # noqa: S101 - a response has come by it
    idle = flow.upstream.settings.idle_timeout
    while True:
        started = clock()
        flow.deadline = started + idle
        data = await call.read()
        now = clock()
        exchange.upstream_wait += now - started
        if not data:
            break
        response.received(data)
        flow.deadline = now + idle
        if remaining is not None:
            remaining -= len(data)
            if remaining == 0:
                flow.check_interrupted()
                await flow.send_chunk(response, data, last=True)
                continue
        if exchange.first_byte_at is None:
            exchange.first_byte_at = now
        await flow.send_chunk(response, data)
        exchange.client_wait += clock() - now
    if not flow.client.finished:
        flow.check_interrupted()
        await finish(flow, response)
    flow.check_interrupted()  # the client may have left before it took the last bytes


async def finish(flow: Flow, response: Response) -> None:
    """End the body, for which a slow client must first take what it was sent."""
    flow.deadline = flow.gateway.clock() + flow.upstream.settings.idle_timeout
    await flow.send_chunk(response, b"", last=True)
    flow.deadline = math.inf
    flow.check_interrupted()


async def filtered(flow: Flow, response: Response) -> None:
    """Pass a stream on through its guards, event by event."""
    guards = await _stream_guards(flow)
    encoding = (
        header(response.headers, b"content-encoding") if is_encoded(response.headers) else None
    )
    assert response.framing is not None  # noqa: S101 - only streams come here
    if not guards:
        await flow.send_head(response, to_client(response.headers))
        await pump(flow, response)
        return
    try:
        flow.filter = StreamFilter(
            response.framing, guards, encoding.decode("latin-1") if encoding else ""
        )
        response.headers = without(response.headers, b"content-length", b"content-encoding")
        await flow.send_head(response, to_client(response.headers))
        await _pump_filtered(flow, flow.filter, response)
    except DecodeError as error:
        raise UpstreamProtocolError(str(error)) from error


async def _pump_filtered(flow: Flow, stream: StreamFilter, response: Response) -> None:
    call, clock = flow.call, flow.gateway.clock
    assert call is not None  # noqa: S101 - a response has come by it
    while True:
        started = clock()
        flow.deadline = started + flow.upstream.settings.idle_timeout
        data = await call.read()
        flow.deadline = math.inf
        flow.exchange.upstream_wait += clock() - started
        response.received(data)
        passed = stream.feed(data) if data else stream.end()
        flow.check_interrupted()
        if passed:
            flow.deadline = clock() + flow.upstream.settings.idle_timeout
            await flow.send_chunk(response, passed)
        if not data:
            await finish(flow, response)
            return


async def _stream_guards(flow: Flow) -> list[tuple[Bound, StreamGuard]]:
    guards = []
    for bound in flow.gateway.hooks.guard_stream:
        guard = await decide(bound, flow.exchange)
        flow.check_interrupted()
        if guard is not None:
            guards.append((bound, guard))
    return guards


async def guarded(flow: Flow, response: Response) -> None:
    """Hold a response back until the guards have decided over it."""
    body, complete = await _read_within(flow, response, flow.gateway.budget.each)
    if not complete:
        _too_large(flow)
        await flow.send_head(response, to_client(response.headers))
        await pump(flow, response, first=body)
        return
    for bound in flow.gateway.hooks.guard_response:
        response = flow.exchange.response = response.with_body(body)
        verdict = await decide(bound, flow.exchange)
        flow.check_interrupted()
        if verdict is None:
            continue
        flow.rule(bound.plugin, verdict)
        if isinstance(verdict, Block):
            flow.outcome = Outcome.BLOCKED
            blocked = endings.block_response(flow.exchange, verdict)
            await flow.deliver(response.replaced_by(blocked))
            return
        response, body = _rewritten(response, body, verdict)
    response = response.with_body(body)
    response.headers = tuple(to_client(response.headers))
    await flow.deliver(response)


def _rewritten(response: Response, body: bytes, verdict: Rewrite) -> tuple[Response, bytes]:
    headers = response.headers if verdict.headers is None else verdict.headers
    if verdict.body is None:
        return attrs.evolve(response, headers=headers), body
    # The new body is plain, whatever the old one was.
    headers = without(headers, b"content-encoding", b"content-length")
    return attrs.evolve(response, headers=headers), verdict.body


async def _read_within(flow: Flow, response: Response, limit: int) -> tuple[bytes, bool]:
    call, clock = flow.call, flow.gateway.clock
    assert call is not None  # noqa: S101 - a response has come by it
    parts: list[bytes] = []
    size = 0
    started = clock()
    while size <= limit:
        flow.deadline = clock() + flow.upstream.settings.idle_timeout
        data = await call.read()
        if not data:
            break
        response.received(data)
        parts.append(data)
        size += len(data)
    flow.deadline = math.inf
    flow.exchange.upstream_wait += clock() - started
    return b"".join(parts), size <= limit


def _too_large(flow: Flow) -> None:
    """Apply the failure policy of each guard that would have needed the whole body."""
    for bound in flow.gateway.hooks.guard_response:
        error = ValueError("the response is too large to be held back for a guard")
        report(bound, error)
        if bound.fail_closed:
            raise GuardFailed(bound.plugin, str(error))
