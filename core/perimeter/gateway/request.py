"""The way up, as far as the proxy: check a request, take its body, and ask the guards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from perimeter.dispatch import Bound, decide, report
from perimeter.errors import GuardFailed, RequestRejected
from perimeter.gateway import endings
from perimeter.gateway.body import read_whole, stream_up
from perimeter.gateway.headers import content_length, to_upstream
from perimeter.model import Outcome, Response
from perimeter.verdicts import Block, Respond, Rewrite, header


if TYPE_CHECKING:
    from perimeter.gateway.flow import Flow
    from perimeter.gateway.upstream import Upstream
    from perimeter.upstream import Body


def check(flow: Flow) -> None:
    """
    Refuse what can't be proxied or may not pass.

    Raises:
        RequestRejected: With 501 for what is not implemented, 401 or 403 for what may not pass.
    """
    headers = flow.exchange.original.headers
    for name, value in headers:
        if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
            message = "only the transfer coding chunked is understood"
            raise RequestRejected(501, "transfer_coding_not_implemented", message)
        if name == b"upgrade" and value.strip().lower() == b"websocket":
            message = "WebSocket connections are not proxied yet"
            raise RequestRejected(501, "websocket_not_implemented", message)
    flow.gateway.access.check(flow.upstream, headers)


async def take_body(flow: Flow) -> None:
    """
    Read the body, or arrange for it to stream up; only then can the client be watched.

    Raises:
        RequestRejected: It is too large, malformed, or there is no memory left for it.
        ClientDisconnected: The client left while it was sending.
    """
    headers = flow.exchange.original.headers
    length = content_length(headers)
    if not length and header(headers, b"transfer-encoding") is None:
        _capture(flow, b"")
    elif flow.gateway.hooks.guard_request or flow.exchange.dialect.name != "raw":
        await _buffer(flow, length or 0)
    else:
        flow.body = _streamed(flow)
        return
    flow.client.watch(flow.client_gone)


async def guard_request(flow: Flow) -> Response | None:
    """
    Ask the guards in turn, and apply what they decide.

    Returns:
        What the client is answered with, or None where the request goes upstream.

    Raises:
        ExchangeError: A guard that fails closed failed, or the exchange was interrupted.
    """
    for bound in flow.gateway.hooks.guard_request:
        verdict = await decide(bound, flow.exchange)
        flow.check_interrupted()
        if verdict is None:
            continue
        flow.rule(bound.plugin, verdict)
        if isinstance(verdict, Block):
            flow.outcome = Outcome.BLOCKED
            return endings.block_response(flow.exchange, verdict)
        if isinstance(verdict, Respond):
            flow.outcome = Outcome.RESPONDED
            return Response(verdict.status, verdict.headers, parts=[verdict.body])
        _rewrite(flow, bound, verdict)
    return None


async def _buffer(flow: Flow, length: int) -> None:
    gateway = flow.gateway
    gateway.budget.check(length)

    def taken(size: int) -> None:
        flow.reserved += size

    started = gateway.clock()
    body = await read_whole(flow.receive, gateway.budget, taken)
    flow.exchange.client_wait += gateway.clock() - started
    flow.body = body
    _capture(flow, body)


def _streamed(flow: Flow) -> Body:
    kept: list[bytes] = []
    gateway = flow.gateway
    room = gateway.capture_limit if gateway.hooks.observes else 0

    def on_data(data: bytes) -> None:
        nonlocal room
        flow.deadline = gateway.clock() + flow.upstream.settings.first_byte_timeout
        if room > 0:
            kept.append(data[:room])
        room -= len(data)
        if room < 0:
            _mark_truncated(flow)

    def on_end() -> None:
        flow.exchange.original.body = flow.exchange.request.body = b"".join(kept)
        flow.client.watch(flow.client_gone)

    return stream_up(flow.receive, on_data, on_end)


def _capture(flow: Flow, body: bytes) -> None:
    """Show plugins the body, as far as they may see it."""
    limit = flow.gateway.capture_limit
    if len(body) > limit:
        _mark_truncated(flow)
        body = body[:limit]
    flow.exchange.original.body = flow.exchange.request.body = body


def _mark_truncated(flow: Flow) -> None:
    flow.exchange.original.truncated = flow.exchange.request.truncated = True


def _rewrite(flow: Flow, bound: Bound, verdict: Rewrite) -> None:
    """Put what a guard changed in place of the request; `original` stays as it is."""
    exchange = flow.exchange
    if verdict.headers is not None:
        exchange.request = attrs.evolve(exchange.request, headers=to_upstream(verdict.headers))
    if verdict.upstream is not None:
        _redirect(flow, bound, verdict.upstream)
    _strip(flow, flow.upstream)
    if verdict.body is not None:
        flow.body = verdict.body
        limit = flow.gateway.capture_limit
        exchange.request.body = verdict.body[:limit]
        exchange.request.truncated = len(verdict.body) > limit


def _redirect(flow: Flow, bound: Bound, name: str) -> None:
    upstream = flow.gateway.router.to(name)
    if upstream is None:
        error = LookupError(f"there is no upstream {name!r}")
        report(bound, error)
        if bound.fail_closed:
            raise GuardFailed(bound.plugin, str(error))
        return
    flow.gateway.access.refuse_foreign_pages(upstream, flow.exchange.original.headers)
    if upstream.credentials.overrides:
        # What the client sent was meant for the first upstream, in whichever field that reads it.
        _strip(flow, flow.upstream, always=True)
    flow.upstream = upstream
    flow.exchange.upstream = name


def _strip(flow: Flow, upstream: Upstream, *, always: bool = False) -> None:
    """Remove the client's credentials for an upstream, where ours replace them or `always`."""
    request, credentials = flow.exchange.request, upstream.credentials
    if always or credentials.overrides:
        headers, query = credentials.strip(request.headers), credentials.strip_query(request.query)
        flow.exchange.request = attrs.evolve(request, headers=headers, query=query)
