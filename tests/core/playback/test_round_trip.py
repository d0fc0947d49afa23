"""What went through a real proxy over real sockets is played back as it was."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import attrs
import pytest

from live_traffic import all_kinds
from perimeter import application
from perimeter.playback import Head, Player, Recorded, RecordedSession
from perimeter.settings import ServerSettings, Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve
from playing import LAST, Witness, ends, same_events, told


@attrs.define(eq=False)
class Capture(Witness):
    """Notes what a recording needs, beside everything else."""

    recorded: dict[str, Recorded] = attrs.field(factory=dict)
    heads: dict[str, Head] = attrs.field(factory=dict)
    chunks: dict[str, list[tuple[float, bytes]]] = attrs.field(factory=dict)

    def _note(self, hook: str, value: Any) -> None:
        now = self.context.clock.monotonic()
        if hook == "on_response_start":
            response = value.response
            at = (value.head_at or now) - value.started
            self.heads[value.id] = Head(at, response.status, response.headers)
        elif hook == "on_chunk":
            self.chunks.setdefault(value[0], []).append((value[1].at, value[1].data))
        elif hook in {"on_response", "on_error"}:
            self.recorded[value.id] = self._made(value)
        self.calls.append((hook, self.context.clock.time(), value))

    def _made(self, exchange: Any) -> Recorded:
        session, error, original = exchange.session, exchange.error, exchange.original
        response = exchange.response
        return Recorded(
            id=exchange.id,
            started_at=exchange.started_at,
            method=original.method,
            target=original.target,
            headers=original.headers,
            body=original.body or b"",
            upstream=exchange.upstream,
            upstream_type="openai" if exchange.upstream == "gone" else exchange.upstream,
            workflow_id=exchange.workflow_id,
            client=exchange.client,
            sent=None if exchange.sent is None else exchange.sent - exchange.started,
            attempts=exchange.attempts,
            head=self.heads.get(exchange.id),
            chunks=self.chunks.get(exchange.id, []),
            own=bool(error and response and not response.received_digest),
            ended=exchange.duration,
            outcome=exchange.outcome,
            error=(type(error).__name__, str(error)) if error else None,
            session=session
            and RecordedSession(session.id, session.agent_id, session.match, session.score),
        )


async def captured() -> Capture:
    """Run a proxy, let all kinds of traffic through, and return what was seen of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with serve(Simulator(tokens_per_second=4000)) as provider:
            patience = {"idle_timeout": 0.4, "first_byte_timeout": 0.4, "max_retries": 1}
            settings = Settings(
                server=ServerSettings(port=0),
                upstreams={
                    "openai": UpstreamSettings(type="openai", base_url=provider, **patience),
                    "anthropic": UpstreamSettings(type="anthropic", base_url=provider, **patience),
                    "gone": UpstreamSettings(type="openai", base_url=nobody, prefix="/gone"),
                },
                default_upstream="openai",
                plugins={"capture": {}},
            )
            built = application.build(settings, plugins={"capture": Capture})
            with serve(built.asgi) as proxy:
                await all_kinds(proxy, proxy + "/gone")
    found = built.registry.plugins["capture"].instance
    assert isinstance(found, Capture)
    return found


@pytest.fixture(scope="module")
def live() -> Capture:
    """What was seen of live traffic."""
    return asyncio.run(captured())


@pytest.fixture(scope="module")
def played(live) -> Witness:
    """What was seen of its playback."""
    ordered = sorted(live.recorded.values(), key=lambda recorded: recorded.started_at)
    player = Player(Settings(plugins={"witness": {}}), plugins={"witness": Witness})
    asyncio.run(player.play(ordered))
    return LAST[0]


def test_the_traffic_is_of_every_kind(live):
    """Else this would prove little."""
    outcomes = {exchange.outcome for exchange in live.ended.values()}

    assert outcomes >= {"completed", "truncated", "upstream_error", "client_disconnected"}
    assert len(live.ended) > 40
    assert len({exchange.session.id for exchange in live.ended.values() if exchange.session}) > 10
    assert {exchange.dialect.name for exchange in live.ended.values()} >= {
        "openai.chat",
        "openai.responses",
        "openai.embeddings",
        "anthropic.messages",
        "raw",
    }


def test_every_exchange_is_the_same(live, played):
    """All that plugins can see of an exchange is equal, times included."""
    assert played.ended.keys() == live.ended.keys()
    for name, then in live.ended.items():
        now = played.ended[name]
        for field in ("outcome", "upstream", "workflow_id", "client", "attempts", "session"):
            assert getattr(now, field) == getattr(then, field), (name, field)
        assert (type(now.error), str(now.error)) == (type(then.error), str(then.error))
        assert now.dialect is then.dialect
        assert now.started_at == then.started_at
        assert now.duration == pytest.approx(then.duration, abs=1e-9)
        for field in ("method", "path", "query", "headers", "body", "truncated"):
            assert getattr(now.original, field) == getattr(then.original, field), (name, field)
        if then.response is None:
            assert now.response is None
            continue
        for field in ("status", "headers", "framing", "body", "size", "truncated"):
            assert getattr(now.response, field) == getattr(then.response, field), (name, field)


def test_hooks_are_called_alike(live, played):
    """Each exchange gives the same calls of hooks in the same order, and the same chunks."""

    for name in live.ended:
        assert told(played, name) == told(live, name)


def test_they_end_in_the_same_order(live, played):
    """What overlapped overlaps as it did."""

    assert ends(played) == ends(live)


def test_events_are_the_same(live, played):
    """Each exchange gives the same events: names, levels, traces, agents, sessions, attributes."""
    same_events(live, played)
