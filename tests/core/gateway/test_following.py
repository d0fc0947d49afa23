"""Calls are followed beside the data path: that can't delay, change or break traffic."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import attrs
import httpx

from faults import NoConfig
from perimeter import Block, Respond, application, hookimpl
from perimeter.calls import LLMReply, LLMRequest, Message, Text
from perimeter.context import Clock
from perimeter.dialects import Dialect
from perimeter.sessions.memory import Limits, MemoryStore
from perimeter.settings import Settings, UpstreamSettings


def reply(text: str = "Hello.") -> bytes:
    """Return a whole response of chat completions."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    body = json.dumps({"id": "c", "model": "m", "choices": choices}).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def says(*parts: bytes) -> Any:
    """Return a handler that writes these bytes."""

    async def handler(_: Any, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handler


async def ask(proxy: Any, *messages: str, **headers: str) -> httpx.Response:
    """Send a conversation of the user and the model in turn."""
    roles = ("user", "assistant")
    body = {
        "model": "m",
        "messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(messages)],
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{proxy.url}/v1/chat/completions"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.post(url, json=body, headers=named)


@attrs.define(eq=False)
class Listener:
    """A plugin that keeps every event."""

    Config = NoConfig
    config: Any
    context: Any
    events: list[Any] = attrs.field(factory=list)

    @hookimpl
    def on_session_event(self, event: Any) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        """What happened."""
        return [event.name for event in self.events]


def offering(dialect: Dialect) -> type:
    """Return a plugin that contributes a dialect."""

    @attrs.define(eq=False)
    class Offering:
        Config = NoConfig
        config: Any
        context: Any

        @hookimpl
        def dialects(self) -> list[Dialect]:
            return [dialect]

    return Offering


def listener(proxy: Any) -> Listener:
    """Return the plugin of a proxy."""
    return proxy.application.registry.plugins["listener"].instance


async def test_the_response_names_the_session(start, upstream):
    """A call that goes on with an answer has the session of the call that got it."""
    upstream.handler = says(reply())
    proxy = await start()

    first = await ask(proxy, "Hi.")
    second = await ask(proxy, "Hi.", "Hello.", "How are you?")
    other = await ask(proxy, "Hi.")

    sessions = [each.headers["x-perimeter-session-id"] for each in (first, second, other)]
    assert sessions[0] == sessions[1] != sessions[2]


async def test_an_id_that_was_made_up_may_be_sent_back(start, upstream):
    """It leads to its session, whatever is said there, and to nobody else's."""
    upstream.handler = says(reply())
    proxy = await start(Listener)

    first = await ask(proxy, "Hi.")
    given = first.headers["x-perimeter-session-id"]
    second = await ask(proxy, "Something else.", x_perimeter_session_id=given)
    third = await ask(proxy, "Something else.", "Hello.", "And now?")

    assert second.headers["x-perimeter-session-id"] == given
    assert third.headers["x-perimeter-session-id"] == given
    assert listener(proxy).names.count("session.start") == 1


async def test_a_stream_without_a_label_is_read(start, upstream):
    """A stream that no content type says to be one is read at its end; bad events are told."""
    body = b'data: {"choices":[{"index":0,"delta":{"content":"Hello."}}]}\n\ndata: {broken\n\n'
    upstream.handler = says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    proxy = await start(Listener)

    await ask(proxy, "Hi.")

    told = listener(proxy).events[-1].attributes
    assert told["llm.response.content"].text == "Hello."
    assert "no JSON" in told["llm.response.problem"]


async def test_a_client_that_leaves_is_told_of(start, upstream):
    """A call whose client left has failed, with what had come; asked again, it is a repetition."""
    event = b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'

    async def handler(request, writer):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await request.reader.read()
        writer.close()

    upstream.handler = handler
    proxy = await start(Listener)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"{proxy.url}/v1/chat/completions"
        async with client.stream("POST", url, json=body) as first:
            await anext(first.aiter_raw())
    await proxy.log.ended.wait()
    failed = listener(proxy).events[-1]
    upstream.handler = says(reply())
    second = await ask(proxy, "Hi.")

    assert failed.name == "llm.call.error"
    assert failed.attributes["error.type"] == "client_disconnected"
    assert failed.attributes["llm.response.content"].text == "Hel"
    assert second.headers["x-perimeter-session-id"] == failed.session_id
    [again] = [event for event in listener(proxy).events if "call.retry_of" in event.attributes]
    assert again.attributes["call.retry_of"] == failed.attributes["call.id"]


class Later(Clock):
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


async def test_sessions_end_and_go_on(upstream):
    """A quiet session is over; called again it goes on; forgotten, it is over for good."""
    table = UpstreamSettings(type="openai", base_url=upstream.url)
    settings = Settings(upstreams={"default": table}, plugins={"listener": {}})
    clock = Later()
    app = application.build(settings, plugins={"listener": Listener}, clock=clock)
    upstream.handler = says(reply())
    await app.startup()
    heard = app.registry.plugins["listener"].instance
    transport = httpx.ASGITransport(app=app.asgi)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
    named = {"x-cylestio-session-id": "mine"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for seconds in (
            0,
            settings.session.completion_timeout,
            settings.session.session_ttl_seconds,
        ):
            clock.ahead += seconds + 1
            await client.post("/v1/chat/completions", json=body, headers=named)
            await app.gateway.wait_idle()
    await app.shutdown()

    told = [event for event in heard.events if event.name.startswith("session.")]
    assert [event.name for event in told] == ["session.start", "session.end"] * 3
    assert [each.attributes["session.end_reason"] for each in told[1::2]] == [
        "idle",
        "idle",
        "shutdown",
    ]
    resumed = [each.attributes.get("session.resumed", False) for each in told[::2]]
    assert resumed == [False, True, False]
    assert {event.session_id for event in told} == {"mine"}


async def test_own_headers_can_be_left_out(start, upstream):
    """Without response_headers neither id is added."""
    upstream.handler = says(reply())
    proxy = await start(server={"response_headers": False})

    answered = await ask(proxy, "Hi.")

    assert not [name for name in answered.headers if name.startswith("x-perimeter")]


async def test_the_next_call_may_come_before_the_stream_has_ended(start, upstream):
    """An answer counts from its last event on, however long the upstream takes to hang up."""
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"Hello."}}]}\n\n'
    ended = asyncio.Event()

    async def handler(_, writer):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
        for event in (chunk, b"data: [DONE]\n\n"):
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await ended.wait()
        writer.write(b"0\r\n\r\n")

    upstream.handler = handler
    proxy = await start()
    client = httpx.AsyncClient(trust_env=False)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi."}]}
    async with client.stream("POST", f"{proxy.url}/v1/chat/completions", json=body) as first:
        lines = first.aiter_lines()
        while "[DONE]" not in await anext(lines):
            pass
        upstream.handler = says(reply())
        second = await ask(proxy, "Hi.", "Hello.", "How are you?")
        assert proxy.application.gateway.in_flight == 1  # the first stream is still open
        ended.set()
    await client.aclose()

    assert second.headers["x-perimeter-session-id"] == first.headers["x-perimeter-session-id"]


async def test_sessions_may_be_off(start, upstream):
    """Then nothing is matched, calls are told all the same, and ids of clients still label."""
    upstream.handler = says(reply())
    proxy = await start(Listener)
    proxy.application.tracker.matches = False

    first = await ask(proxy, "Hi.")
    named = await ask(proxy, "Hi.", x_cylestio_session_id="mine")

    assert "x-perimeter-session-id" not in first.headers
    assert named.headers["x-perimeter-session-id"] == "mine"
    assert listener(proxy).names == ["llm.call.start", "llm.call.finish"] * 2
    assert [event.session_id for event in listener(proxy).events] == [None, None, "mine", "mine"]
    assert proxy.application.tracker.store.active == 0


async def test_guards_know_the_session(start, upstream):
    """Where a plugin guards requests, these are read before; what it refuses has failed."""
    seen = []

    @attrs.define(eq=False)
    class Guard:
        Config = NoConfig
        config: Any
        context: Any

        @hookimpl
        def guard_request(self, exchange: Any) -> Block | Respond | None:
            seen.append((exchange.session, exchange.llm_request))
            if "secret" in exchange.llm_request.messages[-1].text:
                return Block("not that")
            if "cached" in exchange.llm_request.messages[-1].text:
                kind = ((b"content-type", b"application/json"),)
                return Respond(headers=kind, body=reply().partition(b"\r\n\r\n")[2])
            return None

    upstream.handler = says(reply())
    proxy = await start(Guard, Listener)

    await ask(proxy, "a secret")
    await ask(proxy, "a cached one")
    await ask(proxy, "Hi.")

    assert all(session and request for session, request in seen)
    ends = [event for event in listener(proxy).events if "llm.call." in event.name][1::2]
    assert [event.name.rpartition(".")[2] for event in ends] == ["error", "finish", "finish"]
    assert ends[0].attributes["error.type"] == "blocked"
    assert len(upstream.requests) == 1


async def test_a_contributed_dialect_is_followed(start, upstream):
    """A dialect of a plugin reads its calls; they have sessions and events like all others."""

    @attrs.frozen
    class Shouting(Dialect):
        operation = "chat"

        def read_request(self, body: bytes, path: str = "") -> LLMRequest:
            return LLMRequest(model="loud", messages=(Message("user", (Text(body.decode()),)),))

        def read_reply(self, body: bytes) -> LLMReply:
            return LLMReply(message=Message("assistant", (Text(body.decode()),)))

    plugin = offering(Shouting("acme.shout", "openai", re.compile(r"/shout\Z")))
    upstream.handler = says(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nHEY")
    proxy = await start(plugin, Listener)
    async with httpx.AsyncClient(trust_env=False) as client:
        answered = await client.post(f"{proxy.url}/shout", content=b"HO")

    assert answered.text == "HEY"
    assert listener(proxy).names == ["session.start", "llm.call.start", "llm.call.finish"]
    assert listener(proxy).events[-1].attributes["llm.response.content"].text == "HEY"


async def test_a_broken_dialect_breaks_nothing(start, upstream, caplog):
    """What a dialect raises, whatever it is, is logged and counted; the call passes."""

    @attrs.frozen
    class Broken(Dialect):
        operation = "chat"

        def read_request(self, body: bytes, path: str = "") -> LLMRequest:
            raise ZeroDivisionError

    plugin = offering(Broken("acme.broken", "openai", re.compile(r"/broken\Z")))
    upstream.handler = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    proxy = await start(plugin)
    async with httpx.AsyncClient(trust_env=False) as client:
        answered = await client.post(f"{proxy.url}/broken", content=b"x")

    assert answered.text == "ok"
    assert "could not be followed" in caplog.text
    metrics = proxy.application.metrics.render("text/plain")[0].decode()
    assert 'perimeter_parse_errors_total{dialect="acme.broken"} 1.0' in metrics


async def test_a_defect_does_not_keep_a_session_open(start, upstream, caplog):
    """A call whose reply can't be read for a defect is over for its session all the same."""

    @attrs.frozen
    class Broken(Dialect):
        operation = "chat"

        def read_request(self, body: bytes, path: str = "") -> LLMRequest:
            return LLMRequest(messages=(Message("user", (Text("Hi."),)),))

        def read_reply(self, body: bytes) -> LLMReply:
            raise ZeroDivisionError

    upstream.handler = says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    proxy = await start(offering(Broken("acme.broken", "openai", re.compile(r"/broken\Z"))))
    async with httpx.AsyncClient(trust_env=False) as client:
        answered = await client.post(f"{proxy.url}/broken", content=b"x")

    assert answered.text == "ok"
    assert "could not be followed" in caplog.text
    store = proxy.application.tracker.store
    assert [record.running for record in store._records.values()] == [0]


class FarStore(MemoryStore):
    """A store that is elsewhere, and takes its time."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.allowed = asyncio.Event()

    def resolve(self, evidence: Any, writes: Any) -> Any:
        async def later() -> Any:
            await self.allowed.wait()
            return MemoryStore.resolve(self, evidence, writes)

        return later()


async def test_a_slow_store_costs_the_header_and_nothing_else(start, upstream):
    """A response does not wait for a store; its events come when the session is known."""
    stores = []

    @attrs.define(eq=False)
    class Far:
        Config = NoConfig
        config: Any
        context: Any

        @hookimpl
        def session_stores(self) -> dict[str, Any]:
            def make(limits: Limits, clock: Any) -> FarStore:
                stores.append(FarStore(limits, clock))
                return stores[0]

            return {"far": make}

    table = UpstreamSettings(type="openai", base_url=upstream.url)
    session = attrs.evolve(Settings().session, store="far")
    settings = Settings(
        session=session, upstreams={"default": table}, plugins={"far": {}, "listener": {}}
    )
    app = application.build(settings, plugins={"far": Far, "listener": Listener})
    upstream.handler = says(reply())
    transport = httpx.ASGITransport(app=app.asgi)
    await app.startup()
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}
        answered = await client.post("/v1/chat/completions", json=body)
        assert "x-perimeter-session-id" not in answered.headers
        stores[0].allowed.set()
        second = await client.post("/v1/chat/completions", json=body)
        assert second.headers["x-perimeter-session-id"]
    heard = app.registry.plugins["listener"].instance
    await app.shutdown()

    calls = [event.name for event in heard.events if event.name.startswith("llm.")]
    assert calls == ["llm.call.start", "llm.call.finish"] * 2
    text = app.metrics.render("text/plain")[0].decode()
    assert "perimeter_session_store_timeouts_total 1.0" in text


async def test_a_large_request_is_read_apart(start, upstream):
    """What is read in a thread belongs to sessions like all else."""
    upstream.handler = says(reply())
    proxy = await start()
    long = "every byte passes exactly " * 40_000

    first = await ask(proxy, long)
    second = await ask(proxy, long, "Hello.", "And now?")

    assert second.headers["x-perimeter-session-id"] == first.headers["x-perimeter-session-id"]
    assert len(upstream.requests[1].body) > 1_000_000
