"""A plugin that sees everything, and recordings made by hand."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from perimeter import hookimpl
from perimeter.model import Outcome
from perimeter.options import option
from perimeter.playback import Head, Player, Recorded, RecordedSession
from perimeter.settings import ServerSettings, Settings


BEGAN = 1_700_000_000.25
"""When the recorded traffic began."""


@attrs.frozen
class NoOptions:
    """A plugin without options."""

    unused: str = option("", help="Nothing.")


@attrs.define(eq=False)
class Witness:
    """Notes every hook with the time at which it was called."""

    Config = NoOptions

    config: NoOptions
    context: Any
    calls: list[tuple[str, float, Any]] = attrs.field(factory=list)

    def _note(self, hook: str, value: Any) -> None:
        self.calls.append((hook, self.context.clock.time(), value))

    @hookimpl
    def startup(self) -> None:
        LAST.clear()
        LAST.append(self)

    @hookimpl
    def on_request(self, exchange: Any) -> None:
        self._note("on_request", exchange)

    @hookimpl
    def on_response_start(self, exchange: Any) -> None:
        self._note("on_response_start", exchange)

    @hookimpl
    def on_chunk(self, exchange: Any, chunk: Any) -> None:
        self._note("on_chunk", (exchange.id, chunk))

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        self._note("on_response", exchange)

    @hookimpl
    def on_error(self, exchange: Any, error: Exception) -> None:
        self._note("on_error", exchange)

    @hookimpl
    def on_verdict(self, exchange: Any, plugin: str, verdict: Any) -> None:
        self._note("on_verdict", (plugin, verdict))

    @hookimpl
    def on_session_event(self, session: Any, event: Any) -> None:
        self._note("on_session_event", event)

    def names(self, exchange_id: str = "") -> list[str]:
        """The hooks called, in order; those of one exchange where an id is given."""
        return [
            name for name, _, value in self.calls if not exchange_id or _id(value) == exchange_id
        ]

    def values(self, hook: str) -> list[Any]:
        """What a hook was called with."""
        return [value for name, _, value in self.calls if name == hook]

    @property
    def ended(self) -> dict[str, Any]:
        """The exchanges that ended, by id."""
        found = [*self.values("on_response"), *self.values("on_error")]
        return {exchange.id: exchange for exchange in found}

    @property
    def events(self) -> list[Any]:
        """All events."""
        return self.values("on_session_event")


LAST: list[Witness] = []


def _id(value: Any) -> str:
    return value[0] if isinstance(value, tuple) else getattr(value, "id", "")


async def play(
    *recordings: Recorded,
    plugins: dict[str, type] | None = None,
    settings: dict[str, Any] | None = None,
    **options: Any,
) -> Witness:
    """Play recordings, and return what a plugin saw of it."""
    classes = {**(plugins or {}), "witness": Witness}
    made = Settings(
        server=ServerSettings(port=0), plugins={name: {} for name in classes}, **(settings or {})
    )
    player = Player(made, plugins=classes, patience=5.0, **options)
    await player.play(recordings)
    return LAST[0]


def chat(number: int = 1, *, at: float = 0.0, **changes: Any) -> Recorded:
    """Return a call of a model that was answered whole."""
    question, answer = f"question {number}", f"answer {number}"
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": question}]})
    told = {"role": "assistant", "content": answer}
    reply = {
        "id": f"chatcmpl-{number}",
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": told, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }
    data = json.dumps(reply).encode()
    fields = {
        "id": f"ex-{number}",
        "started_at": BEGAN + at,
        "method": "POST",
        "target": "/v1/chat/completions",
        "headers": (
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ),
        "body": body.encode(),
        "upstream": "main",
        "upstream_type": "openai",
        "client": "192.0.2.7",
        "sent": 0.001,
        "head": Head(
            0.5,
            200,
            ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))),
        ),
        "chunks": [(0.75, data)],
        "ended": 0.8,
        "outcome": Outcome.COMPLETED,
        "session": RecordedSession(f"ses-{number}", "agent-7", "new"),
    }
    return Recorded(**{**fields, **changes})


def stream(number: int = 1, *, at: float = 0.0, pieces: int = 3, **changes: Any) -> Recorded:
    """Return a call of a model that was answered in pieces, a second apart."""
    asked = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "go on"}]}
    body = json.dumps(asked).encode()
    events = [_event(number, f"word{piece} ") for piece in range(pieces)]
    chunks = [(1.0 + place, event) for place, event in enumerate(events)]
    chunks.append((1.0 + pieces, _event(number, None) + b"data: [DONE]\n\n"))
    return chat(
        number,
        at=at,
        **{
            "headers": (
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(body)),
            ),
            "body": body,
            "head": Head(0.5, 200, ((b"content-type", b"text/event-stream"),)),
            "chunks": chunks,
            "ended": 1.25 + pieces,
            **changes,
        },
    )


def _event(number: int, text: str | None) -> bytes:
    delta = {} if text is None else {"content": text}
    finish = "stop" if text is None else None
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": f"chatcmpl-{number}", "model": "gpt-4o", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def told(witness: Witness, name: str) -> list[Any]:
    """Return the calls of hooks for one exchange, with the bytes of its chunks."""
    return [
        (hook, value[1].data if hook == "on_chunk" else "")
        for hook, _, value in witness.calls
        if hook not in {"on_session_event", "on_verdict"} and _id(value) == name
    ]


def ends(witness: Witness) -> list[str]:
    """Return the ids of the exchanges in the order in which they ended."""
    return [value.id for hook, _, value in witness.calls if hook in {"on_response", "on_error"}]


TIMES = {"tool.execution_time_ms", "llm.response.time_to_first_token_ms", "session.duration_ms"}
"""Attributes that are measured a few microseconds beside what is recorded."""


def same_events(live: Witness, played: Witness) -> None:
    """Fail unless both saw the same events of each call and of each session."""
    then, now = by_call(live.events), by_call(played.events)
    assert now.keys() == then.keys()
    for name, events in then.items():
        assert [plain(event) for event in now[name]] == [plain(event) for event in events], name
        for event, again in zip(events, now[name], strict=True):
            if event.name != "session.end":
                assert again.timestamp == pytest.approx(event.timestamp, abs=0.25)
            for attribute in TIMES & event.attributes.keys():
                assert again.attributes[attribute] == pytest.approx(
                    event.attributes[attribute], abs=250.0
                )


def by_call(events: list[Any]) -> dict[str, list[Any]]:
    """Return the events of each call, in order; those of sessions by the session."""
    found: dict[str, list[Any]] = {}
    for event in events:
        name = event.attributes.get("call.id") or f"{event.name} {event.session_id}"
        found.setdefault(name, []).append(event)
    return found


def plain(event: Any) -> Any:
    """Return an event without what is new each time, and with times that may differ left out."""
    left_out = {*TIMES, "parent_span_id", "session.events_count"}
    attributes = {key: value for key, value in event.attributes.items() if key not in left_out}
    trace = event.trace_id if event.session_id else ""  # else it is made up for each call
    return attrs.evolve(event, span_id="", trace_id=trace, timestamp=0.0, attributes=attributes)
