"""The way up from here: send the request, again where that is safe, until there is a head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perimeter.dispatch import notify
from perimeter.errors import UpstreamClosed, UpstreamError
from perimeter.gateway.headers import content_length
from perimeter.gateway.retry import retry_delay
from perimeter.upstream import UpstreamHead, UpstreamRequest


if TYPE_CHECKING:
    from perimeter.gateway.flow import Flow


async def send(flow: Flow) -> UpstreamHead:
    """
    Send the request, and wait for the response's head.

    Raises:
        ExchangeError: There is none, or the exchange was interrupted.
    """
    exchange, clock = flow.exchange, flow.gateway.clock
    request = _request(flow)
    while True:
        exchange.attempts += 1
        started = clock()
        try:
            head = await _attempt(flow, request, started)
        except UpstreamError as error:
            delay = _delay_before_retry(flow, error, None)
            if delay is None:
                raise
            # The pool has more connections that were idle for as long as one that was closed.
            request.fresh = isinstance(error, UpstreamClosed)
        else:
            delay = _delay_before_retry(flow, None, head)
            if delay is None:
                exchange.head_at = now = clock()
                exchange.upstream_wait += now - started
                return head
        await _let_go(flow)
        await flow.pause(delay)
        exchange.upstream_wait += clock() - started


async def _attempt(flow: Flow, request: UpstreamRequest, started: float) -> UpstreamHead:
    flow.deadline = started + flow.upstream.settings.first_byte_timeout
    call = flow.call = flow.upstream.transport.start(request)
    if flow.exchange.sent is None:
        flow.exchange.sent = started
        # The request is on its way; observing it now costs the time that is waited for anyway.
        await flow.track()
        if flow.gateway.hooks.on_request:
            notify(flow.gateway.hooks.on_request, flow.exchange)
    return await call.head()


def _request(flow: Flow) -> UpstreamRequest:
    request, upstream = flow.exchange.request, flow.upstream
    length = None
    if not isinstance(flow.body, bytes):
        length = content_length(flow.exchange.original.headers)
    return UpstreamRequest(
        request.method,
        upstream.target(request.path, request.query),
        upstream.credentials.add(request.headers, request.query),
        flow.body,
        length,
    )


def _delay_before_retry(
    flow: Flow, error: UpstreamError | None, head: UpstreamHead | None
) -> float | None:
    """Return the seconds to wait before sending again, or None not to."""
    if flow.interrupted is not None or not isinstance(flow.body, bytes):
        return None
    return retry_delay(flow.upstream.settings, flow.exchange.attempts, error, head)


async def _let_go(flow: Flow) -> None:
    flow.deadline = math.inf
    if flow.call is not None:
        await flow.call.close()
        flow.call = None
