"""Every way in which an exchange can end comes out again."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from perimeter import Block, Respond, Stop, hookimpl
from perimeter.dialects import UPSTREAM_TYPES
from perimeter.model import Outcome
from perimeter.playback import Head, PlaybackStuck, Recorded
from playing import BEGAN, NoOptions, chat, play, stream


DIALECT = UPSTREAM_TYPES["openai"].dialects[0]
JSON = ((b"content-type", b"application/json"),)


def own(status: int, message: str, code: str, at: float = 0.4) -> dict[str, Any]:
    """Return what a recording has of an answer that the proxy made."""
    body = DIALECT.error(status, message, code)
    return {"head": Head(at, status, JSON), "chunks": [(at, body)], "own": True, "ended": at + 0.1}


def mid_stream(error: str, message: str, outcome: Outcome, *, ending: bool = False) -> Recorded:
    """Return a stream that ended in its middle, perhaps with the proxy's own event."""
    whole = stream(outcome=outcome, error=(error, message), ended=2.5)
    chunks = [*whole.chunks[:2]]
    if ending:
        chunks.append((2.4, DIALECT.end_stream(message)))
    return attrs.evolve(whole, chunks=chunks)


FAILURES = {
    "refused before it was read": chat(
        **own(413, "the request body is larger than 5 bytes", "rejected"),
        sent=None,
        session=None,
        body=b"",
        outcome=Outcome.REJECTED,
        error=("RequestRejected", "the request body is larger than 5 bytes"),
    ),
    "could not be reached": chat(
        **own(502, "no route", "upstream_unreachable"),
        outcome=Outcome.UPSTREAM_ERROR,
        error=("UpstreamConnectError", "no route"),
    ),
    "timed out before the head": chat(
        **own(504, "nothing for 600 s", "upstream_timeout", at=600.0),
        outcome=Outcome.UPSTREAM_ERROR,
        error=("UpstreamTimeout", "nothing for 600 s"),
    ),
    "closed in the middle": mid_stream("UpstreamClosed", "it closed", Outcome.TRUNCATED),
    "closed, with an event for the client": mid_stream(
        "UpstreamClosed", "it closed", Outcome.TRUNCATED, ending=True
    ),
    "silent in the middle": mid_stream(
        "UpstreamTimeout", "silent for 300 s", Outcome.UPSTREAM_ERROR, ending=True
    ),
    "client left before the head": chat(
        head=None,
        chunks=[],
        ended=0.3,
        outcome=Outcome.CLIENT_DISCONNECTED,
        error=("ClientDisconnected", "the client left"),
    ),
    "client left while sending": chat(
        head=None,
        chunks=[],
        sent=None,
        session=None,
        ended=0.3,
        outcome=Outcome.CLIENT_DISCONNECTED,
        error=("ClientDisconnected", "the client left while it was sending"),
    ),
    "client left in the middle": mid_stream(
        "ClientDisconnected", "the client left", Outcome.CLIENT_DISCONNECTED
    ),
    "drained in the middle": mid_stream(
        "ShuttingDown", "the proxy is shutting down", Outcome.PROXY_ERROR, ending=True
    ),
    "a guard failed": chat(
        **own(503, "it broke", "guard_failed"),
        sent=None,
        outcome=Outcome.PROXY_ERROR,
        error=("GuardFailed", "it broke"),
    ),
    "an error of another version": mid_stream("SomethingNew", "who knows", Outcome.UPSTREAM_ERROR),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_failures_come_out_as_recorded(name):
    """Outcome, error, status, body and time of the end are those that were recorded."""
    recorded = FAILURES[name]
    witness = await play(recorded)

    exchange = witness.ended["ex-1"]
    assert exchange.outcome is recorded.outcome
    assert str(exchange.error) == recorded.error[1]
    if recorded.error[0] != "SomethingNew":
        assert type(exchange.error).__name__ == recorded.error[0]
    assert exchange.duration == recorded.ended
    assert (exchange.response and exchange.response.status) == (
        recorded.head and recorded.head.status
    )
    delivered = [chunk.data for _, chunk in witness.values("on_chunk")]
    assert delivered == [data for _, data in recorded.chunks]
    names = witness.names()
    assert names.count("on_error") == 1
    assert "on_response" not in names
    assert ("on_request" in names) == (recorded.sent is not None)


async def test_an_answer_of_another_version():
    """What the proxy had answered is told as it was, though it would be worded otherwise today."""
    recorded = attrs.evolve(
        FAILURES["could not be reached"],
        head=Head(0.4, 502, ((b"content-type", b"text/plain"),)),
        chunks=[(0.4, b"no way")],
    )
    response = (await play(recorded)).ended["ex-1"].response

    assert (response.body, response.headers) == (b"no way", ((b"content-type", b"text/plain"),))


async def test_the_proxys_own_event_is_no_part_of_the_reply():
    """What the proxy had appended to a stream is not read as if the model had said it."""
    recorded = FAILURES["silent in the middle"]
    witness = await play(recorded)

    error = next(event for event in witness.events if event.name == "llm.call.error")
    assert error.attributes["error.type"] == "upstream_timeout"
    assert witness.ended["ex-1"].llm_reply.message.text == "word0 word1 "


@pytest.mark.parametrize("status", [400, 429, 500, 529])
async def test_error_statuses_stay_errors(status):
    """An upstream's error is a completed exchange with that status, and an error of the call."""
    body = b'{"error":{"message":"no","type":"t"}}'
    recorded = chat(head=Head(0.5, status, JSON), chunks=[(0.6, body)])
    witness = await play(recorded)

    exchange = witness.ended["ex-1"]
    assert (exchange.outcome, exchange.response.status) == ("completed", status)
    [error] = [event for event in witness.events if event.name == "llm.call.error"]
    assert error.attributes["http.status_code"] == status


async def test_what_breaks_off_is_told():
    """An exchange whose end was not recorded ends where the recording ends, as cut by the proxy."""
    recorded = attrs.evolve(stream(), outcome=None, chunks=stream().chunks[:2], ended=2.0)
    witness = await play(recorded, chat(2, at=10.0))

    exchange = witness.ended["ex-1"]
    assert exchange.outcome is Outcome.PROXY_ERROR
    assert "the recording ends here" in str(exchange.error)
    assert exchange.duration == 2.0
    assert len(witness.values("on_chunk")) == 3
    assert witness.ended["ex-2"].outcome is Outcome.COMPLETED


# -- guards


BLOCKED = chat(
    **own(403, "not that", "blocked"),
    sent=None,
    attempts=0,
    outcome=Outcome.BLOCKED,
    verdicts=[("warden", Block("not that"))],
)
RESPONDED = chat(
    sent=None,
    attempts=0,
    own=True,
    head=Head(0.2, 200, JSON),
    chunks=[(0.2, b'{"cached":true}')],
    ended=0.2,
    outcome=Outcome.RESPONDED,
    verdicts=[("cache", Respond(b'{"cached":true}'))],
)
RESPONSE_BLOCKED = chat(
    head=Head(0.5, 403, JSON),
    chunks=[(0.5, DIALECT.error(403, "not that", "blocked"))],
    outcome=Outcome.BLOCKED,
    verdicts=[("warden", Block("not that"))],
)
STOPPED = attrs.evolve(
    stream(),
    chunks=[*stream().chunks[:2], (2.0, DIALECT.end_stream("enough"))],
    ended=2.0,
    outcome=Outcome.BLOCKED,
    verdicts=[("warden", Stop("enough"))],
)


@pytest.mark.parametrize(
    "recorded",
    [BLOCKED, RESPONDED, RESPONSE_BLOCKED, STOPPED],
    ids=["blocked", "responded", "response blocked", "stopped"],
)
async def test_verdicts_happen_again(recorded):
    """With guards off, a recorded verdict decides as it did, and is told as it was."""
    witness = await play(recorded)

    exchange = witness.ended["ex-1"]
    assert exchange.outcome is recorded.outcome
    assert exchange.error is None
    assert exchange.response.status == recorded.head.status
    assert exchange.response.body == b"".join(data for _, data in recorded.chunks)
    assert witness.values("on_verdict") == list(recorded.verdicts)
    assert witness.names().count("on_response") == 1
    assert ("on_request" in witness.names()) == (recorded.sent is not None)
    assert [event.name for event in witness.events][:2] == ["session.start", "llm.call.start"]


@attrs.define(eq=False)
class Warden:
    """Refuses every question with "1" in it."""

    Config = NoOptions

    config: Any
    context: Any

    @hookimpl
    def guard_request(self, exchange: Any) -> Block | None:
        return Block("fresh") if b"question 1" in exchange.request.body else None


async def test_guards_are_off_by_default():
    """A plugin's guards are not asked, so what went through goes through."""
    witness = await play(chat(1), plugins={"warden": Warden})

    assert witness.ended["ex-1"].outcome is Outcome.COMPLETED
    assert witness.values("on_verdict") == []


async def test_guards_decide_anew_if_asked():
    """With guards on, what they refuse now is refused, and the rest goes as it went."""
    witness = await play(chat(1), chat(2, at=1.0), plugins={"warden": Warden}, guards=True)

    assert witness.ended["ex-1"].outcome is Outcome.BLOCKED
    assert b"fresh" in witness.ended["ex-1"].response.body
    assert witness.ended["ex-2"].outcome is Outcome.COMPLETED
    assert witness.ended["ex-2"].response.body == chat(2).chunks[0][1]
    [(plugin, verdict)] = witness.values("on_verdict")
    assert (plugin, verdict.reason) == ("warden", "fresh")


async def test_what_was_refused_has_no_other_answer():
    """With guards on that let pass what was refused then, it is refused as it was: nobody asked."""
    body = BLOCKED.body.replace(b"question 1", b"question 2")
    witness = await play(attrs.evolve(BLOCKED, body=body), plugins={"warden": Warden}, guards=True)

    assert witness.ended["ex-1"].outcome is Outcome.BLOCKED
    assert b"not that" in witness.ended["ex-1"].response.body
    assert witness.values("on_verdict") == list(BLOCKED.verdicts)


@attrs.define(eq=False)
class Slow:
    """A guard that waits for something in real time."""

    Config = NoOptions

    config: Any
    context: Any

    @hookimpl
    async def guard_request(self, exchange: Any) -> None:
        import asyncio

        await asyncio.sleep(0.02)


async def test_time_waits_for_guards():
    """While a guard takes real time the recorded time stands still, for all that runs beside."""
    witness = await play(chat(1), stream(2, at=0.0005), plugins={"slow": Slow}, guards=True)

    seen = [(name, round(at - BEGAN, 6)) for name, at, _ in witness.calls if name == "on_request"]
    assert seen == [("on_request", 0.001), ("on_request", 0.0015)]


@attrs.define(eq=False)
class Forever(Slow):
    """A guard that never decides."""

    @hookimpl
    async def guard_request(self, exchange: Any) -> None:
        import asyncio

        await asyncio.Event().wait()


async def test_what_never_goes_on_is_an_error():
    """A playback that something holds up for good ends with the exchange's name."""
    from perimeter.playback import Player
    from perimeter.settings import ServerSettings, Settings

    settings = Settings(server=ServerSettings(guard_timeout=600.0), plugins={"forever": {}})
    player = Player(settings, plugins={"forever": Forever}, guards=True, patience=0.05)

    with pytest.raises(PlaybackStuck, match="ex-1"):
        await player.play([chat(1)])
