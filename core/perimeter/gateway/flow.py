"""One exchange on its way: check, read, guard, send, respond, and end exactly once."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Literal

import attrs

from perimeter.dispatch import decide, notify, report
from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    GuardFailed,
    ProxyError,
    RequestRejected,
    ShuttingDown,
    UpstreamError,
    UpstreamTimeout,
)
from perimeter.gateway import endings
from perimeter.gateway.body import read_whole, stream_up
from perimeter.gateway.headers import content_length, to_upstream
from perimeter.gateway.response import respond
from perimeter.gateway.retry import retry_delay
from perimeter.gateway.stream_filter import StreamFilter, StreamStopped
from perimeter.model import Outcome, Response
from perimeter.upstream import Body, UpstreamCall, UpstreamHead, UpstreamRequest
from perimeter.verdicts import Block, Respond, Rewrite, Verdict, header


if TYPE_CHECKING:
    from perimeter.dispatch import Bound
    from perimeter.gateway.client import Client, Receive
    from perimeter.gateway.gateway import Gateway
    from perimeter.gateway.upstream import Upstream
    from perimeter.model import Exchange

log = logging.getLogger("perimeter.gateway")


class Flow:
    """
    Carries one exchange from the request's head to its end.

    Attributes:
        gateway: What all flows share.
        exchange: What is carried.
        upstream: Where to.
        client: The client's side.
        call: The upstream's side, once there is one.
        filter: The guards of the response's stream, where there are any.
        deadline: Monotonic time at which waiting for the upstream ends; `inf` while not waiting.
        last: The bytes sent to the client last.
        outcome: How the exchange ends; completed unless something else turns up.
    """

    __slots__ = (
        "_body",
        "_pause_over",
        "_receive",
        "_reserved",
        "call",
        "client",
        "deadline",
        "exchange",
        "filter",
        "gateway",
        "interrupted",
        "last",
        "outcome",
        "phase",
        "upstream",
    )

    def __init__(
        self,
        gateway: Gateway,
        exchange: Exchange,
        upstream: Upstream,
        receive: Receive,
        client: Client,
    ) -> None:
        self.gateway = gateway
        self.exchange = exchange
        self.upstream = upstream
        self.client = client
        self.call: UpstreamCall | None = None
        self.filter: StreamFilter | None = None
        self.deadline = math.inf
        self.phase: Literal["first_byte", "idle"] = "first_byte"
        self.last = b""
        self.outcome = Outcome.COMPLETED
        self.interrupted: ExchangeError | None = None
        self._receive = receive
        self._body: Body = b""
        self._reserved = 0
        self._pause_over: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Carry the exchange. Ends it exactly once, whatever happens."""
        error: ExchangeError | None = None
        try:
            await self._carry()
        except StreamStopped as stopped:
            await self._stop(stopped)
        except ExchangeError as failure:
            error = self.interrupted or failure
            await self._fail(error)
        except asyncio.CancelledError:
            error = ShuttingDown("the server cancelled the request")
            self.outcome = Outcome.PROXY_ERROR
            raise
        except Exception as defect:
            log.exception("the proxy failed", extra={"exchange": self.exchange.id})
            error = ProxyError(f"the proxy failed: {type(defect).__name__}")
            await self._fail(error)
        finally:
            self._end(error)
            if self.call is not None:
                await self.call.close()

    def interrupt(self, error: ExchangeError) -> None:
        """Make the exchange end with `error`, at once wherever it waits for the upstream."""
        if self.interrupted is None:
            self.interrupted = error
        if self.call is not None:
            self.call.abort(error)
        self._wake()
        if isinstance(error, ShuttingDown) and self.call is None:
            self.client.cut()  # it may be waiting for the rest of the request

    def time_out(self) -> None:
        """End the wait for the upstream: its deadline has passed."""
        self.deadline = math.inf
        settings = self.upstream.settings
        waited = settings.idle_timeout
        if self.phase == "first_byte":
            waited = settings.first_byte_timeout
        message = f"the upstream sent nothing for {waited:g} s"
        self.interrupt(UpstreamTimeout(message, phase=self.phase))

    def check_interrupted(self) -> None:
        """Raise what the exchange was interrupted with, if it was."""
        if self.interrupted is not None:
            raise self.interrupted

    # -- the way up

    async def _carry(self) -> None:
        self._check()
        await self._take_body()
        if self.gateway.hooks.guard_request:
            answer = await self._guard_request()
            if answer is not None:
                await self.deliver(answer)
                return
        head = await self._send()
        await respond(self, head)

    def _check(self) -> None:
        request = self.exchange.original
        for name, value in request.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                message = "only the transfer coding chunked is understood"
                raise RequestRejected(501, "transfer_coding_not_implemented", message)
            if name == b"upgrade" and value.strip().lower() == b"websocket":
                message = "WebSocket connections are not proxied yet"
                raise RequestRejected(501, "websocket_not_implemented", message)
        self.gateway.access.check(self.upstream, request.headers)

    async def _take_body(self) -> None:
        """Read the body, or arrange for it to stream; only then can the client be watched."""
        request = self.exchange.original
        length = content_length(request.headers)
        hooks = self.gateway.hooks
        if not length and header(request.headers, b"transfer-encoding") is None:
            self._captured(b"")
        elif hooks.guard_request or self.exchange.dialect.name != "raw":
            await self._buffer(length or 0)
        else:
            self._body = self._stream_body()
            return
        self.client.watch(self._client_gone)

    async def _buffer(self, length: int) -> None:
        self.gateway.budget.check(length)
        started = self.gateway.clock()
        try:
            self._body = await read_whole(self._receive, self.gateway.budget, self._reserve)
        except ClientDisconnected:
            if self.client.bad_request:
                raise RequestRejected(400, "bad_request", "the body is malformed") from None
            raise
        self.exchange.client_wait += self.gateway.clock() - started
        self._captured(self._body)

    def _stream_body(self) -> Body:
        kept: list[bytes] = []
        room = self.gateway.capture_limit if self.gateway.hooks.observes else 0

        def on_data(data: bytes) -> None:
            nonlocal room
            self.deadline = self.gateway.clock() + self.upstream.settings.first_byte_timeout
            if room > 0:
                kept.append(data[:room])
            elif self.gateway.hooks.observes:
                self._mark_truncated()
            room -= len(data)

        def on_end() -> None:
            self.exchange.original.body = self.exchange.request.body = b"".join(kept)
            self.client.watch(self._client_gone)

        return stream_up(self._receive, on_data, on_end)

    def _captured(self, body: bytes) -> None:
        limit = self.gateway.capture_limit
        if len(body) > limit:
            self._mark_truncated()
            body = body[:limit]
        self.exchange.original.body = self.exchange.request.body = body

    def _mark_truncated(self) -> None:
        self.exchange.original.truncated = self.exchange.request.truncated = True

    def _reserve(self, size: int) -> None:
        self._reserved += size

    def _client_gone(self) -> None:
        self.interrupt(ClientDisconnected("the client left before the response was complete"))

    # -- guards over the request

    async def _guard_request(self) -> Response | None:
        for bound in self.gateway.hooks.guard_request:
            verdict = await decide(bound, self.exchange)
            self.check_interrupted()
            if verdict is None:
                continue
            self.rule(bound.plugin, verdict)
            if isinstance(verdict, Block):
                self.outcome = Outcome.BLOCKED
                return endings.block_response(self.exchange, verdict)
            if isinstance(verdict, Respond):
                self.outcome = Outcome.RESPONDED
                return Response(verdict.status, verdict.headers, parts=[verdict.body])
            self._rewrite(bound, verdict)
        return None

    def rule(self, plugin: str, verdict: Verdict) -> None:
        """Note a guard's verdict and tell the observers."""
        self.exchange.verdicts.append((plugin, verdict))
        self.gateway.metrics.verdict(plugin, verdict)
        if self.gateway.hooks.on_verdict:
            notify(self.gateway.hooks.on_verdict, self.exchange, plugin, verdict)

    def _rewrite(self, bound: Bound, verdict: Rewrite) -> None:
        """Put what a guard changed in place of the request; `original` stays as it is."""
        headers = self.exchange.request.headers
        if verdict.headers is not None:
            headers = to_upstream(verdict.headers)
        if verdict.upstream is not None:
            self._redirect(bound, verdict.upstream)
        headers = self.upstream.credentials.strip(headers)
        self.exchange.request = attrs.evolve(self.exchange.request, headers=headers)
        if verdict.body is not None:
            self._body = verdict.body
            limit = self.gateway.capture_limit
            self.exchange.request.body = verdict.body[:limit]
            self.exchange.request.truncated = len(verdict.body) > limit

    def _redirect(self, bound: Bound, name: str) -> None:
        upstream = self.gateway.router.to(name)
        if upstream is None:
            error = LookupError(f"there is no upstream {name!r}")
            report(bound, error)
            if bound.fail_closed:
                raise GuardFailed(bound.plugin, str(error))
            return
        self.upstream = upstream
        self.exchange.upstream = name

    # -- sending

    async def _send(self) -> UpstreamHead:
        """Send the request, again where that is safe, and return the response's head."""
        exchange, gateway = self.exchange, self.gateway
        request = self._upstream_request()
        transport = self.upstream.transport
        while True:
            exchange.attempts += 1
            started = gateway.clock()
            self.deadline = started + self.upstream.settings.first_byte_timeout
            call = self.call = transport.start(request)
            if exchange.sent is None:
                exchange.sent = started
                if gateway.hooks.on_request:
                    notify(gateway.hooks.on_request, exchange)
            try:
                head = await call.head()
            except UpstreamError as error:
                delay = self._delay_before_retry(error, None)
                if delay is None:
                    raise
            else:
                delay = self._delay_before_retry(None, head)
                if delay is None:
                    exchange.head_at = now = gateway.clock()
                    exchange.upstream_wait += now - started
                    return head
            await self._pause(call, delay)
            exchange.upstream_wait += gateway.clock() - started

    def _upstream_request(self) -> UpstreamRequest:
        request = self.exchange.request
        length = None
        if not isinstance(self._body, bytes):
            length = content_length(self.exchange.original.headers)
        return UpstreamRequest(
            request.method,
            self.upstream.target(request.path, request.query),
            self.upstream.credentials.add(request.headers, request.query),
            self._body,
            length,
        )

    def _delay_before_retry(
        self, error: UpstreamError | None, head: UpstreamHead | None
    ) -> float | None:
        if self.interrupted is not None or not isinstance(self._body, bytes):
            return None
        return retry_delay(self.upstream.settings, self.exchange.attempts, error, head)

    async def _pause(self, call: UpstreamCall, delay: float) -> None:
        self.deadline = math.inf
        await call.close()
        self.call = None
        self.check_interrupted()
        loop = asyncio.get_running_loop()
        self._pause_over = over = loop.create_future()
        timer = loop.call_later(delay, self._wake)
        try:
            await over
        finally:
            timer.cancel()
            self._pause_over = None
        self.check_interrupted()

    def _wake(self) -> None:
        if self._pause_over is not None and not self._pause_over.done():
            self._pause_over.set_result(None)

    # -- the way down

    async def deliver(self, response: Response) -> None:
        """Send a response that is here whole: a guard's, or the proxy's own."""
        body = response.take_body()
        self.exchange.response = response
        if self.gateway.hooks.observes:
            response.digest_delivery()
        headers = [item for item in response.headers if item[0] != b"content-length"]
        headers.append((b"content-length", b"%d" % len(body)))
        await self.send_head(response, headers)
        await self.send_chunk(response, body, last=True)

    async def send_head(
        self, response: Response, headers: list[tuple[bytes, bytes]], *, bodiless: bool = False
    ) -> None:
        """Send a response's head, with our own fields, and tell the observers."""
        if self.gateway.response_headers:
            headers.append((b"x-perimeter-exchange-id", self.exchange.id.encode("ascii")))
        await self.client.head(response.status, headers, bodiless=bodiless)
        if self.gateway.hooks.on_response_start:
            notify(self.gateway.hooks.on_response_start, self.exchange)

    async def send_chunk(self, response: Response, data: bytes, *, last: bool = False) -> None:
        """Send bytes of a body, then note them and tell the observers."""
        gateway, exchange = self.gateway, self.exchange
        if not last:
            await self.client.send({"type": "http.response.body", "body": data, "more_body": True})
        else:
            await self.client.finish(data)
        if data:
            gateway.passed_on(exchange, response, data)
            self.last = data

    # -- the end

    async def _stop(self, stopped: StreamStopped) -> None:
        """End a stream because a guard says so."""
        self.outcome = Outcome.BLOCKED
        if self.call is not None:
            self.call.abort(ProxyError("stopped by a guard"))
        self.rule(stopped.plugin, stopped.stop)
        await self._end_stream(stopped.stop.reason, filter_reason="stop")

    async def _fail(self, error: ExchangeError) -> None:
        """Tell the client, as far as that is still possible."""
        mid_body = self.client.head_sent
        self.outcome = endings.outcome_of(error, mid_body=mid_body)
        if self.call is not None:
            self.call.abort(error)
        if isinstance(error, ClientDisconnected):
            self._close_filter("client_disconnected")
        elif mid_body:
            ours = not isinstance(error, UpstreamError) or isinstance(error, UpstreamTimeout)
            wanted = ours or self.upstream.settings.on_truncation == "event"
            reason = "shutdown" if isinstance(error, ShuttingDown) else "upstream_error"
            await self._end_stream(str(error) if wanted else "", filter_reason=reason)
        else:
            answer = endings.error_response(self.exchange, error.status, str(error), error.code)
            await self._deliver_quietly(answer)

    async def _deliver_quietly(self, answer: Response) -> None:
        try:
            await self.deliver(answer)
        except Exception:
            log.exception("an error could not be sent", extra={"exchange": self.exchange.id})
            self.client.cut()

    async def _end_stream(self, reason: str, *, filter_reason: str) -> None:
        """End a response in its middle: by the dialect's error event, or else visibly cut."""
        self._close_filter(filter_reason)
        response = self.exchange.response
        ending = endings.stream_ending(self.exchange, self.last, reason) if reason else b""
        if ending and response is not None and not self.client.finished:
            await self.send_chunk(response, ending, last=True)
        else:
            self.client.cut()

    def _close_filter(self, reason: str) -> None:
        if self.filter is not None:
            self.filter.close(reason)

    def _end(self, error: ExchangeError | None) -> None:
        exchange, hooks = self.exchange, self.gateway.hooks
        exchange.ended = self.gateway.clock()
        exchange.outcome = self.outcome
        exchange.error = error
        self.deadline = math.inf
        self.client.release()
        self.gateway.leave(self, self._reserved)
        if error is not None:
            where = {"exchange": exchange.id}
            request = exchange.original
            log.info(
                "%s %s: %s: %s", request.method, request.path, exchange.outcome, error, extra=where
            )
        if error is None:
            if hooks.on_response:
                notify(hooks.on_response, exchange)
        elif hooks.on_error:
            notify(hooks.on_error, exchange, error)
