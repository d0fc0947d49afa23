"""What carries an exchange that is played back: the gateway's own flow, with a recorded fate."""

from __future__ import annotations

from typing import Any

import attrs

from perimeter.errors import ExchangeError, GuardFailed
from perimeter.gateway.client import Client, Receive, Scope
from perimeter.gateway.flow import Flow
from perimeter.gateway.gateway import Gateway
from perimeter.gateway.request import guard_request, take_body
from perimeter.gateway.response import respond
from perimeter.gateway.sending import send
from perimeter.gateway.upstream import Upstream
from perimeter.model import Exchange, Outcome, Request, Response
from perimeter.playback.caller import CALLER, Caller
from perimeter.playback.failures import failure_of
from perimeter.playback.recorded import Recorded, Rewritten
from perimeter.playback.sessions import PlayedSessions
from perimeter.playback.tape import Tape
from perimeter.verdicts import Rewrite


class PlayedGateway(Gateway):
    """The data path, for exchanges whose requests come from a `Caller`."""

    def flow(
        self, scope: Scope, exchange: Exchange, upstream: Upstream, receive: Receive, client: Client
    ) -> Flow:
        """Return what carries an exchange."""
        return PlayedFlow(self, exchange, upstream, client, scope[CALLER])


class PlayedFlow(Flow):
    """
    Carries one exchange that happened before.

    Attributes:
        recorded: What happened.
        caller: The client's side.
        tape: The upstream's side.
        guarded: Whether guards decide anew.
    """

    __slots__ = ("caller", "guarded", "recorded", "tape")

    def __init__(
        self,
        gateway: Gateway,
        exchange: Exchange,
        upstream: Upstream,
        client: Client,
        caller: Caller,
    ) -> None:
        recorded = caller.recorded
        exchange.id, exchange.upstream = recorded.id, recorded.upstream or upstream.name
        caller.exchange = exchange
        self.caller, self.recorded = caller, recorded
        hooks = gateway.hooks
        self.guarded = bool(hooks.guard_request or hooks.guard_response or hooks.guard_stream)
        self.tape = Tape(self)
        own = attrs.evolve(upstream, name=exchange.upstream, transport=self.tape)
        super().__init__(gateway, exchange, own, caller.receive, client)
        self._label()

    def _label(self) -> None:
        """Let the recorded session and agent count as if the client had named them."""
        session, call = self.recorded.session, self.tracked
        store = self.gateway.tracker.store
        if session is None or call is None or not isinstance(store, PlayedSessions):
            return
        said = call.labels
        store.expect(self.exchange.id, session, named=bool(said.session_id))
        call.labels = attrs.evolve(
            said,
            session_id=said.session_id or session.id,
            agent_id=session.agent_id or said.agent_id,
        )

    async def _carry(self) -> None:
        if self.recorded.sent is None:
            await self._carry_unsent()
            return
        await self._take_body()
        answer = await self._decide()
        if answer is not None:
            await self.deliver(answer)
            return
        head = await send(self)
        await respond(self, head)
        await self._wait_for_end()

    async def _carry_unsent(self) -> None:
        """Carry what never went upstream: refused, or answered by a guard."""
        recorded, failure = self.recorded, failure_of(self.recorded)
        ruled = recorded.outcome in {Outcome.BLOCKED, Outcome.RESPONDED}
        if ruled or recorded.session is not None or isinstance(failure, GuardFailed):
            await self._take_body()
            await self.track()
        if ruled and self.gateway.hooks.guard_request:
            answer = await guard_request(self)
            if answer is not None:
                await self.deliver(answer)
                return
        for plugin, verdict in recorded.verdicts:
            self.rule(plugin, verdict)
        await self.caller.until(recorded.ended if recorded.head is None else recorded.head.at)
        self.tape.over = True
        if failure is not None:
            raise failure
        if recorded.outcome is not None:
            self.outcome = recorded.outcome
        await self.deliver(_answer(recorded))
        await self._wait_for_end()

    async def _take_body(self) -> None:
        if not self.caller.has_body:
            await self.caller.until(self.recorded.sent or 0.0)
        await take_body(self)
        if self.recorded.truncated:
            self.exchange.original.truncated = self.exchange.request.truncated = True

    async def _decide(self) -> Response | None:
        """Ask the guards, or else apply what they had decided over the request."""
        if self.gateway.hooks.guard_request:
            await self.track()
            return await guard_request(self)
        rewritten = self.recorded.rewritten
        if rewritten is not None and not self.guarded:
            for plugin, verdict in self.recorded.verdicts:
                if isinstance(verdict, Rewrite):
                    self.rule(plugin, verdict)
            self.exchange.request = _request(self.exchange.request, rewritten)
        return None

    async def _fail(self, error: ExchangeError) -> None:
        await super()._fail(error)
        await self._wait_for_end()

    async def _stop(self, stopped: Any) -> None:
        await super()._stop(stopped)
        await self._wait_for_end()

    async def _deliver_quietly(self, answer: Response) -> None:
        if self.tape.over and self.recorded.own and self.recorded.head is not None:
            answer = _answer(self.recorded)
        await super()._deliver_quietly(answer)

    async def _end_stream(self, reason: str, *, filter_reason: str) -> None:
        if not self.tape.over:
            await super()._end_stream(reason, filter_reason=filter_reason)
            return
        self._close_filter(filter_reason)
        response = self.exchange.response
        if self.tape.ending and response is not None:
            await self.send_chunk(response, self.tape.ending, last=True)
        self.client.cut()

    async def _wait_for_end(self) -> None:
        """Take as long as it took, if it went as it went."""
        if self.tape.over:
            await self.caller.until(self.recorded.ended)

    def _end(self, error: ExchangeError | None) -> None:
        if self.tape.over and self.recorded.outcome is not None:
            self.outcome = self.recorded.outcome
        super()._end(error)


def _answer(recorded: Recorded) -> Response:
    """Return what the proxy or a guard had answered."""
    body = b"".join([data for _, data in recorded.chunks])
    if recorded.head is None:
        return Response(502, (), parts=[body])
    return Response(recorded.head.status, recorded.head.headers, parts=[body])


def _request(request: Request, rewritten: Rewritten) -> Request:
    path, _, query = rewritten.target.partition("?")
    return Request(request.method, path, query, rewritten.headers, rewritten.body)
