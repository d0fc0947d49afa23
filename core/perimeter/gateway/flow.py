"""One exchange on its way: check, read, guard, send, respond, and end exactly once."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Literal

from perimeter.dispatch import notify
from perimeter.errors import (
    ClientDisconnected,
    ExchangeError,
    ProxyError,
    ShuttingDown,
    UpstreamError,
    UpstreamTimeout,
)
from perimeter.gateway import endings
from perimeter.gateway.request import check, guard_request, take_body
from perimeter.gateway.response import respond
from perimeter.gateway.sending import send
from perimeter.gateway.stream_filter import StreamFilter, StreamStopped
from perimeter.model import Outcome, Response
from perimeter.upstream import Body, UpstreamCall
from perimeter.verdicts import Verdict


if TYPE_CHECKING:
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
        receive: Where the request's body comes from.
        body: What goes upstream as the body.
        reserved: Bytes of the budget for bodies that it holds.
        call: The upstream's side, once there is one.
        tracked: Follows it as a call of a model; None where it is none.
        filter: The guards of the response's stream, where there are any.
        deadline: Monotonic time at which waiting ends, for the upstream or for the client to take
            what it is sent; `inf` while not waiting.
        sending: Whether it is the client that is waited for.
        last: The bytes sent to the client last.
        outcome: How the exchange ends; completed unless something else turns up.
    """

    __slots__ = (
        "_pause_over",
        "body",
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
        "receive",
        "reserved",
        "sending",
        "tracked",
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
        self.tracked = gateway.tracker.follow(exchange)
        self.filter: StreamFilter | None = None
        self.deadline = math.inf
        self.phase: Literal["first_byte", "idle"] = "first_byte"
        self.sending = False
        self.last = b""
        self.outcome = Outcome.COMPLETED
        self.interrupted: ExchangeError | None = None
        self.receive = receive
        self.body: Body = b""
        self.reserved = 0
        self._pause_over: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Carry the exchange. Ends it exactly once, whatever happens."""
        error: ExchangeError | None = None
        try:
            await self._carry()
        except StreamStopped as stopped:
            await self._stop(stopped)
        except ExchangeError as failure:
            error = self.client.cause_of(self.interrupted or failure)
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
        """End the wait for the upstream or the client: its deadline has passed."""
        self.deadline = math.inf
        settings = self.upstream.settings
        first, idle = settings.first_byte_timeout, settings.idle_timeout
        if self.sending:
            self.interrupt(ClientDisconnected(f"the client took nothing for {idle:g} s"))
            self.client.drop()
            return
        message = (
            f"the upstream sent nothing for {first if self.phase == 'first_byte' else idle:g} s"
        )
        self.interrupt(UpstreamTimeout(message, phase=self.phase))

    def check_interrupted(self) -> None:
        """Raise what the exchange was interrupted with, if it was."""
        if self.interrupted is not None:
            raise self.interrupted

    async def _carry(self) -> None:
        check(self)
        await take_body(self)
        if self.gateway.hooks.guard_request:
            await self.track()
        answer = await guard_request(self)
        if answer is not None:
            await self.deliver(answer)
            return
        self.check_interrupted()  # the client may have left before anything could be aborted
        head = await send(self)
        await respond(self, head)

    async def track(self) -> None:
        """Read the request and find its session, once."""
        if self.tracked is not None and not self.tracked.begun:
            await self.gateway.tracker.begin(self.tracked)

    def rule(self, plugin: str, verdict: Verdict) -> None:
        """Note a guard's verdict and tell the observers."""
        self.exchange.verdicts.append((plugin, verdict))
        self.gateway.metrics.verdict(plugin, verdict)
        if self.gateway.hooks.on_verdict:
            notify(self.gateway.hooks.on_verdict, self.exchange, plugin, verdict)

    async def pause(self, seconds: float) -> None:
        """
        Wait, unless something ends the exchange first.

        Raises:
            ExchangeError: What it was interrupted with.
        """
        self.check_interrupted()
        loop = asyncio.get_running_loop()
        self._pause_over = over = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await over
        finally:
            timer.cancel()
            self._pause_over = None
        self.check_interrupted()

    def client_gone(self) -> None:
        """End the exchange: the client has left."""
        self.interrupt(ClientDisconnected("the client left before the response was complete"))

    def _wake(self) -> None:
        if self._pause_over is not None and not self._pause_over.done():
            self._pause_over.set_result(None)

    # -- to the client

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
            if self.exchange.session is not None:
                headers.append((b"x-perimeter-session-id", self.exchange.session.id.encode()))
        await self.client.head(response.status, headers, bodiless=bodiless)
        if self.gateway.hooks.on_response_start:
            notify(self.gateway.hooks.on_response_start, self.exchange)

    async def send_chunk(self, response: Response, data: bytes, *, last: bool = False) -> None:
        """Send bytes of a body, then note them and tell the observers."""
        gateway = self.gateway
        self.sending = True
        if not last:
            await self.client.send({"type": "http.response.body", "body": data, "more_body": True})
        else:
            await self.client.finish(data)
        self.sending = False
        if data:
            gateway.passed_on(self, response, data)
            self.last = data
        if last and self.tracked is not None:
            gateway.afterwards.next(self.tracked.answered)

    # -- the end

    async def _stop(self, stopped: StreamStopped) -> None:
        """End a stream because a guard says so."""
        self.outcome = Outcome.BLOCKED
        if self.tracked is not None:
            self.tracked.interrupted()
        if self.call is not None:
            self.call.abort(ProxyError("stopped by a guard"))
        self.rule(stopped.plugin, stopped.stop)
        await self._end_stream(stopped.stop.reason, filter_reason="stop")

    async def _fail(self, error: ExchangeError) -> None:
        """Tell the client, as far as that is still possible."""
        if self.tracked is not None:
            self.tracked.interrupted()
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
            response.digest_apart()
            await self.send_chunk(response, ending, last=True)
        else:
            self.client.cut()

    def _close_filter(self, reason: str) -> None:
        if self.filter is not None:
            self.filter.close(reason)

    def _end(self, error: ExchangeError | None) -> None:
        exchange = self.exchange
        exchange.ended = self.gateway.clock()
        exchange.outcome = self.outcome
        exchange.error = error
        self.deadline = math.inf
        self.client.release()
        self.gateway.leave(self)
        self.gateway.afterwards.later(self._tell)

    def _tell(self) -> None:
        """Tell how it ended."""
        exchange, hooks = self.exchange, self.gateway.hooks
        if self.tracked is not None:
            self.tracked.ended()
        error, sent, where = exchange.error, exchange.original, {"exchange": exchange.id}
        if error is None:
            log.debug("%s %s: %s", sent.method, sent.path, self.outcome, extra=where)
            if hooks.on_response:
                notify(hooks.on_response, exchange)
            return
        log.info("%s %s: %s: %s", sent.method, sent.path, self.outcome, error, extra=where)
        if hooks.on_error:
            notify(hooks.on_error, exchange, error)
