"""Which exchanges plugins may keep: what clients ask for, and what the configuration says."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from perimeter import hookimpl
from perimeter.gateway.recording import Recordable
from perimeter.settings import RecordingSettings


CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()
REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        ],
    }
).encode()


@attrs.define(eq=False)
class EventLog:
    """A plugin that notes all events."""

    @attrs.frozen
    class Config:
        """Nothing to configure."""

    config: Any
    context: Any
    events: list[Any] = attrs.field(factory=list)

    @hookimpl
    def on_session_event(self, event: Any) -> None:
        self.events.append(event)


def post(path: str, *fields: str) -> bytes:
    """Return a raw call of a model."""
    lines = [f"POST {path} HTTP/1.1", "host: proxy", f"content-length: {len(CHAT)}", *fields]
    return "\r\n".join([*lines, "connection: close", "", ""]).encode() + CHAT


def answered(upstream) -> None:
    """Let the upstream answer like a provider."""

    async def handler(_: Any, writer: Any) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(REPLY) + REPLY)

    upstream.handler = handler


@pytest.mark.parametrize(
    ("fields", "recorded"),
    [
        ([], True),
        (["x-perimeter-record: on"], True),
        (["x-perimeter-record: "], True),
        (["x-perimeter-record: off"], False),
        (["X-Perimeter-Record: OFF"], False),
        (["x-perimeter-record: 0"], False),
        (["x-perimeter-record: False"], False),
        (["x-perimeter-record: no"], False),
        (["x-perimeter-record: on", "x-perimeter-record: off"], False),
    ],
)
async def test_a_client_keeps_a_call_out_of_records(start, upstream, fields, recorded):
    """The exchange and its events say so; the header stays here and the call goes its way."""
    answered(upstream)
    proxy = await start(EventLog)

    response = await proxy.request(post("/v1/chat/completions", *fields))

    assert response.endswith(REPLY)
    [exchange] = proxy.log.endings
    assert exchange.recorded is recorded
    assert not upstream.requests[0].header("x-perimeter-record")
    events = proxy.application.registry.plugins["eventlog"].instance.events
    assert {"llm.call.start", "llm.call.finish"} <= {event.name for event in events}
    assert {event.recorded for event in events} == {recorded}


@pytest.mark.parametrize(
    ("pattern", "path", "recorded"),
    [
        ("/v1/chat/*", "/v1/chat/completions", False),
        ("/v1/chat", "/v1/chat/completions", True),
        ("*/completions", "/v1/chat/completions", False),
        ("/azure/*", "/azure/v1/chat/completions", False),
        ("/v1/*", "/azure/v1/chat/completions", False),
        ("/agent-workflow/secret/*", "/agent-workflow/secret/v1/chat/completions", False),
        ("/agent-workflow/secret/*", "/agent-workflow/open/v1/chat/completions", True),
        ("/v1/CHAT/*", "/v1/chat/completions", True),
        ("/v1/ch?t/[!x]*", "/v1/chat/completions", False),
    ],
)
def test_patterns_are_matched_with_the_path_of_client_and_upstream(pattern, path, recorded):
    """A pattern can name Perimeter's own prefixes, or the provider's path alone."""
    recordable = Recordable(RecordingSettings(exclude_paths=["/never", pattern]))
    sent = path[path.index("/v1/") :]

    assert recordable((), sent, {"raw_path": path.encode()}) is recorded


async def test_excluded_paths_are_not_recorded(start, upstream):
    """`exclude_paths` holds for the gateway's exchanges, the query string left out."""
    answered(upstream)
    proxy = await start(recording=RecordingSettings(exclude_paths=["/v1/chat/*"]))

    await proxy.request(post("/v1/chat/completions?a=b"))
    await proxy.request(post("/v1/responses"))

    assert [exchange.recorded for exchange in proxy.log.endings] == [False, True]


@pytest.mark.parametrize("redact", [True, False])
async def test_plugins_are_told_whether_to_mask(start, redact):
    """A plugin's context has what `[recording] redact` says."""
    proxy = await start(recording=RecordingSettings(redact=redact))

    assert proxy.log.context.redact is redact
