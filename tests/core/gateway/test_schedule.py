"""Faults, verdicts and departures in any combination: one end each, and nothing left over."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults import SSE, Guard, leaks, request
from perimeter import Block, Respond, Rewrite, Stop, hookimpl


@attrs.frozen
class Plan:
    """What happens to one exchange."""

    stream: bool
    events: int
    fault: str
    request_verdict: str
    response_verdict: str
    stream_verdict: str
    fail_closed: bool
    leaves_after: int | None


PLANS = st.builds(
    Plan,
    stream=st.booleans(),
    events=st.integers(0, 4),
    fault=st.sampled_from(["none", "close", "reset", "hang", "garbage", "no-head", "http-500"]),
    request_verdict=st.sampled_from(["none", "none", "block", "respond", "rewrite", "crash"]),
    response_verdict=st.sampled_from(["none", "none", "block", "rewrite", "crash"]),
    stream_verdict=st.sampled_from(["none", "pass", "drop", "stop", "crash"]),
    fail_closed=st.booleans(),
    leaves_after=st.one_of(st.none(), st.none(), st.integers(1, 400)),
)


PLAIN = Plan(
    stream=False,
    events=1,
    fault="none",
    request_verdict="none",
    response_verdict="none",
    stream_verdict="none",
    fail_closed=False,
    leaves_after=None,
)


class Planned:
    """A stream guard that does what the plan of its exchange says."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict
        self.closed = 0

    def feed(self, event: bytes) -> list[bytes]:
        if self.verdict == "stop":
            raise Stop("planned")
        if self.verdict == "crash":
            raise RuntimeError("planned")
        return [] if self.verdict == "drop" else [event]

    def close(self, reason: str) -> list[bytes]:
        self.closed += 1
        return []


@attrs.define(eq=False)
class Planner(Guard):
    """Guards that follow a plan, which the test sets before each exchange."""

    plan: Any = None
    stream_guards: list[Planned] = attrs.field(factory=list)

    @property
    def fail_closed(self) -> bool:
        return bool(self.plan and self.plan.fail_closed)

    @hookimpl
    async def guard_request(self, exchange: Any) -> Any:
        await asyncio.sleep(0)
        return _verdict(self.plan.request_verdict)

    @hookimpl
    def guard_response(self, exchange: Any) -> Any:
        return _verdict(self.plan.response_verdict)

    @hookimpl
    def guard_stream(self, exchange: Any) -> Any:
        if self.plan.stream_verdict == "none":
            return None
        self.stream_guards.append(Planned(self.plan.stream_verdict))
        return self.stream_guards[-1]


def _verdict(name: str) -> Any:
    if name == "crash":
        raise RuntimeError("planned")
    verdicts = {
        "block": Block("planned"),
        "respond": Respond(b"{}"),
        "rewrite": Rewrite(body=b'{"rewritten":true}'),
    }
    return verdicts.get(name)


def handler_of(plan: Plan) -> Any:
    """Return an upstream that behaves as the plan says."""

    async def handler(received: Any, writer: asyncio.StreamWriter) -> None:
        if plan.fault == "garbage":
            writer.write(b"\x00\x01 nonsense\r\n\r\n")
        elif plan.fault == "http-500":
            writer.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n{}")
            return
        elif plan.fault != "no-head":
            _write(plan, writer)
            await writer.drain()
        if plan.fault == "hang":
            await received.reader.read()
        if plan.fault == "reset":
            writer.transport.abort()
        elif plan.fault != "none":
            writer.close()

    return handler


def _write(plan: Plan, writer: asyncio.StreamWriter) -> None:
    events = [b"data: %d\n\n" % number for number in range(plan.events)]
    if plan.stream:
        writer.write(SSE + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in events))
        if plan.fault == "none":
            writer.write(b"0\r\n\r\n")
        return
    body = b"".join(events)
    missing = 0 if plan.fault == "none" else 10
    length = len(body) + missing
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % length + body)


async def play(proxy: Any, upstream: Any, plan: Plan) -> None:
    """Send one request and see it to its end."""
    planner = proxy.application.registry.plugins["planner"].instance
    planner.plan = plan
    for bound in proxy.application.gateway.hooks.all:
        bound.fail_closed = plan.fail_closed and bound.plugin == "planner"
    planner.stream_guards.clear()
    proxy.log.calls.clear()
    proxy.log.ended.clear()
    upstream.handler = handler_of(plan)
    reader, writer = await proxy.connect()
    writer.write(request(stream=plan.stream))
    with contextlib.suppress(ConnectionError):
        if plan.leaves_after is None:
            await reader.read()
        else:
            with contextlib.suppress(asyncio.IncompleteReadError):
                await reader.readexactly(plan.leaves_after)
    writer.transport.abort()
    await proxy.application.gateway.wait_idle()
    check(proxy, planner)


def check(proxy: Any, planner: Any) -> None:
    """Exactly one end, the last thing any observer hears; every stream guard closed once."""
    names = proxy.log.names
    assert [name for name in names if name in {"on_response", "on_error"}] == names[-1:]
    [exchange] = proxy.log.endings
    completed = exchange.outcome in {"completed", "responded", "blocked"}
    assert (names[-1] == "on_response") == completed
    assert (exchange.error is None) == completed
    assert all(guard.closed == 1 for guard in planner.stream_guards)
    assert proxy.application.gateway.budget.used == 0


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(plans=st.lists(PLANS, min_size=1, max_size=10))
async def test_any_schedule(start, upstream, plans):
    """Exchanges of any kind, one after the other over one proxy."""
    proxy = await start(
        Planner, first_byte_timeout=0.1, idle_timeout=0.1, max_retries=1, keepalive_expiry=0.0
    )
    await play(proxy, upstream, PLAIN)  # leaves one connection in the pool
    before = leaks()

    for plan in plans:
        await play(proxy, upstream, plan)

    async with asyncio.timeout(5):
        while leaks() > before:
            await asyncio.sleep(0.01)
