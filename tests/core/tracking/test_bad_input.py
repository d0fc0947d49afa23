"""Bodies and headers that are not what they should be: they pass, and events say what is wrong."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import httpx
import pytest

from faults import NoConfig
from perimeter import application, hookimpl
from perimeter.calls import Other
from perimeter.events import to_json_bytes
from perimeter.model import Event
from perimeter.settings import ServerSettings, Settings, UpstreamSettings
from perimeter.testing import serve


PATIENCE = 30.0
TENANTS = itertools.count()
ENDS = frozenset({"llm.call.finish", "llm.call.error"})
MEGABYTE = 1024 * 1024

PATHS = {
    "openai.chat": ("openai", "/v1/chat/completions"),
    "openai.responses": ("openai", "/v1/responses"),
    "openai.completions": ("openai", "/v1/completions"),
    "anthropic.messages": ("anthropic", "/v1/messages"),
    "gemini.generate": ("gemini", "/v1beta/models/gemini-2.5-flash:generateContent"),
    "gemini.stream": ("gemini", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    "ollama.chat": ("ollama", "/api/chat"),
    "ollama.generate": ("ollama", "/api/generate"),
    "openai.embeddings": ("openai", "/v1/embeddings"),
}
FINE = {
    "openai.chat": b'{"messages": [{"role": "user", "content": "Hi"}]}',
    "openai.responses": b'{"input": "Hi"}',
    "openai.completions": b'{"prompt": "Hi"}',
    "anthropic.messages": b'{"messages": [{"role": "user", "content": "Hi"}]}',
    "gemini.generate": b'{"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}',
    "gemini.stream": b'{"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}',
    "ollama.chat": b'{"messages": [{"role": "user", "content": "Hi"}], "stream": false}',
    "ollama.generate": b'{"prompt": "Hi", "stream": false}',
    "openai.embeddings": b'{"input": "Hi"}',
}
NESTED = b"[" * (MEGABYTE // 2) + b"]" * (MEGABYTE // 2)

CONVERSATIONS = PATHS.keys() - {"openai.embeddings"}

every_dialect = pytest.mark.parametrize("dialect", PATHS)


@attrs.define(eq=False)
class Collector:
    """A plugin that keeps every event until the test is over."""

    Config = NoConfig
    config: object
    context: object
    events: list[Event] = attrs.field(factory=list)
    arrived: threading.Condition = attrs.field(factory=threading.Condition)

    @hookimpl
    def on_session_event(self, session: Any, event: Any) -> None:
        with self.arrived:
            self.events.append(event)
            self.arrived.notify_all()

    def call(self, exchange: str, wanted: frozenset[str]) -> dict[str, Event]:
        """Wait until a call has one of the wanted events, and return its events by name."""
        found: dict[str, Event] = {}

        def there() -> bool:
            mine = [each for each in self.events if each.attributes.get("call.id") == exchange]
            found.update({event.name: event for event in mine})
            return not wanted.isdisjoint(found)

        with self.arrived:
            assert self.arrived.wait_for(there, PATIENCE), "the call's end was not told"
        return found


@attrs.define(eq=False)
class Provider:
    """An upstream that keeps what it gets and answers what it is told."""

    answer: bytes = b"{}"
    headers: dict[str, str] = attrs.field(factory=lambda: {"content-type": "application/json"})
    received: list[tuple[dict[bytes, bytes], bytes]] = attrs.field(factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        self.received.append((dict(scope["headers"]), b"".join(parts)))
        fields = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        fields.append((b"content-length", b"%d" % len(self.answer)))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": self.answer})


@attrs.define(eq=False)
class Proxy:
    """A proxy in front of a provider, for all tests of a dialect: it takes a while to start."""

    dialect: str
    provider: Provider
    app: application.Application
    url: str

    @property
    def collector(self) -> Collector:
        """The plugin."""
        found: Collector = self.app.registry.plugins["collector"].instance
        return found


@contextmanager
def running(dialect: str) -> Iterator[Proxy]:
    """Run a proxy in front of a provider."""
    upstream = Provider()
    with serve(upstream, lifespan="off") as address:
        settings = Settings(
            server=ServerSettings(port=0, shutdown_timeout=1.0),
            upstreams={"default": UpstreamSettings(type=PATHS[dialect][0], base_url=address)},
            plugins={"collector": {}},
        )
        app = application.build(settings, plugins={"collector": Collector})
        with serve(app.asgi, lifespan="on") as url:
            yield Proxy(dialect, upstream, app, url)


@pytest.fixture(scope="module")
def proxies() -> Iterator[Callable[[str], Proxy]]:
    """Give the proxy of a dialect, which is started when it is first asked for."""
    started: dict[str, Proxy] = {}
    with ExitStack() as stack:

        def proxy(dialect: str) -> Proxy:
            if dialect not in started:
                started[dialect] = stack.enter_context(running(dialect))
            return started[dialect]

        yield proxy


@attrs.define(eq=False)
class Bench:
    """
    Sends a request through a proxy, and checks all that is always true.

    Attributes:
        proxy: The proxy.
        client: Of this test.
        log: What was logged since the test began.
        before: What was counted before.
    """

    proxy: Proxy
    client: httpx.Client
    log: pytest.LogCaptureFixture
    before: int = 0

    @property
    def told(self) -> list[Event]:
        """All events since the test began."""
        return self.proxy.collector.events

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str] = {},
        wanted: frozenset[str] = ENDS,
    ) -> dict[str, Event]:
        """
        Send a request, see that all passes as it is, and return the events by name.

        Args:
            body: Of the request.
            headers: Of the request.
            wanted: Which events to wait for.
        """
        # Each test is a tenant of its own, since it shares the proxy with others.
        fields = {
            "content-type": "application/json",
            "x-api-key": f"tenant-{next(TENANTS)}",
            **headers,
        }
        url = PATHS[self.proxy.dialect][1]
        with self.client.stream("POST", url, content=body, headers=fields) as response:
            assert b"".join(response.iter_raw()) == self.proxy.provider.answer
            assert response.status_code == 200
        [(sent, received)] = self.proxy.provider.received
        assert received == body
        for name, value in fields.items():
            if not name.startswith("x-cylestio-"):  # these are for the proxy
                assert sent[name.encode()] == value.encode()
        exchange = response.headers["x-perimeter-exchange-id"]
        events = self.proxy.collector.call(exchange, wanted)
        for event in events.values():
            assert to_json_bytes(event)
        self.check_log()
        return events

    def check_log(self) -> None:
        """See that nothing is logged as a defect."""
        defects = [record for record in self.log.records if record.levelno >= logging.WARNING]
        assert not [record.getMessage() for record in defects]
        assert not [record for record in self.log.records if record.exc_info]

    def parse_errors(self) -> int:
        """Return how often something could not be read since, as `/metrics` shows it."""
        return self._counted() - self.before

    def begin(self) -> None:
        """Note what was counted so far."""
        self.before = self._counted()

    def _counted(self) -> int:
        lines = self.client.get("/metrics").text.splitlines()
        wanted = f'perimeter_parse_errors_total{{dialect="{self.proxy.dialect}"}} '
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith(wanted)))


Begin = Callable[..., Bench]


@pytest.fixture
def begin(proxies: Callable[[str], Proxy], caplog: pytest.LogCaptureFixture) -> Iterator[Begin]:
    """Give a bench, whose provider answers as it is told."""
    caplog.set_level(logging.INFO)
    with ExitStack() as stack:

        def bench(dialect: str, answer: bytes = b"{}", **headers: str) -> Bench:
            proxy = proxies(dialect)
            proxy.collector.events.clear()
            proxy.provider.received.clear()
            proxy.provider.answer = answer
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            proxy.provider.headers = {"content-type": "application/json", **fields}
            client = httpx.Client(base_url=proxy.url, timeout=PATIENCE, verify=False)
            stack.enter_context(client)
            made = Bench(proxy, client, caplog)
            made.begin()
            return made

        yield bench


# -- requests


NO_OBJECT = {
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "a string": b'"messages"',
    "nothing": b"",
    "white space": b" \n",
    "half": b'{"messages": [{"role": "us',
    "two objects": b"{}{}",
    "a constant": b"nul",
    "binary": bytes(range(256)),
    "a megabyte of brackets": b"[" * MEGABYTE,
    "a megabyte of nested lists": NESTED,
    "nested in its messages": b'{"messages": %s, "input": %s, "contents": %s}' % ((NESTED,) * 3),
}


@every_dialect
@pytest.mark.parametrize("body", NO_OBJECT.values(), ids=NO_OBJECT)
def test_request_that_can_not_be_read(dialect: str, body: bytes, begin: Begin) -> None:
    """What is no JSON object passes, and the start says why it was not read."""
    bench = begin(dialect)
    events = bench.send(body)
    start = events["llm.call.start"].attributes
    assert start["llm.request.problem"]
    assert "llm.request.messages" not in start
    assert bench.parse_errors() >= 1


READABLE = {
    "nothing in it": b"{}",
    "nulls": b'{"messages": null, "input": null, "contents": null, "prompt": null, "model": null,'
    b' "tools": null, "system": null, "instructions": null, "metadata": null, "stream": null}',
    "numbers": b'{"messages": 1, "input": 2, "contents": 3.5, "prompt": 4, "model": 5, "tools": 6,'
    b' "system": 7, "stream": 8, "previous_response_id": 9, "conversation": 10, "user": 11}',
    "objects": b'{"messages": {}, "input": {}, "contents": {}, "prompt": {}, "model": {},'
    b' "tools": {}, "system": {}, "stream": {}, "previous_response_id": {}, "conversation": []}',
    "messages that are none": b'{"messages": ["a", null, 1, [], true], "input": ["a", null, 1, []],'
    b' "contents": ["a", null, 1, []], "prompt": ["a", null, 1, []]}',
    "messages with nothing in them": b'{"messages": [{}, {"role": null}, {"content": null}],'
    b' "input": [{}, {"type": null}], "contents": [{}, {"parts": null}, {"parts": [null, {}]}]}',
    "invalid UTF-8": b'{"model": "m\xff", "messages": [{"role": "user", "content": "\xff\xc3"}],'
    b' "input": "\xff\xfe\xc3", "contents": [{"role": "user", "parts": [{"text": "\xff\xfe"}]}],'
    b' "prompt": "\xff"}',
    "halves of surrogate pairs": rb'{"model": "\ud800", "messages": [{"role": "user", "content":'
    rb' "\ud800\udc00 \udfff"}], "input": "\udfff", "contents": [{"parts": [{"text": "\ud800"}]}],'
    rb' "prompt": "\ud800", "previous_response_id": "\ud800", "system": "\udead"}',
    "duplicate keys": b'{"model": "a", "messages": 5, "messages": [{"role": "user", "role": "user",'
    b' "content": "Hi"}], "model": "b", "input": 5, "input": "Hi", "contents": 5, "contents": []}',
    "huge numbers": b'{"temperature": 1e999, "max_tokens": %s, "messages": []}' % (b"9" * 5000),
    "arguments that are no JSON": b'{"messages": [{"role": "user", "content": "Hi"}, {"role":'
    b' "assistant", "content": null, "tool_calls": [{"id": "call_1", "type": "function",'
    b' "function": {"name": "add", "arguments": "{\\"a\\": "}}, '
    b'null, 5, {"function": null}]}, {"role": "tool",'
    b' "tool_call_id": null, "content": null}], "input": [{"type": "function_call", "call_id": 5,'
    b' "name": null, "arguments": "[}"}, {"type": "function_call_output", "output": null}],'
    b' "contents": [{"role": "model", "parts": [{"functionCall": {"name": 5, "args": "no"}}]},'
    b' {"role": "user", "parts": [{"functionResponse": null}]}]}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "null bytes": rb'{"model": "\u0000", "messages": [{"role": "\u0000", "content": "\u0000"}]}',
}


@every_dialect
@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE)
def test_request_with_odd_things_in_it(dialect: str, body: bytes, begin: Begin) -> None:
    """What is a JSON object is read as far as it makes sense."""
    bench = begin(dialect)
    start = bench.send(body)["llm.call.start"].attributes
    assert "llm.request.problem" not in start
    messages = start.get("llm.request.messages", [])
    assert start["llm.request.total_messages"] >= len(messages)
    if dialect in {"openai.chat", "anthropic.messages", "ollama.chat"} and b'"Hi"' in body:
        assert messages[0].text == "Hi"
    assert bench.parse_errors() == 0


LONG = "x1" * 5000


@every_dialect
def test_long_ids_in_a_body(dialect: str, begin: Begin) -> None:
    """Ids of 10,000 characters in a body are read like any other."""
    call = {"id": LONG, "type": "function", "function": {"name": LONG, "arguments": "{}"}}
    request = {
        "model": LONG,
        "previous_response_id": LONG,
        "conversation": LONG,
        "user": LONG,
        "metadata": {"user_id": LONG},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": LONG, "content": "5"},
        ],
        "input": [
            {"type": "function_call", "call_id": LONG, "name": LONG, "arguments": "{}"},
            {"type": "function_call_output", "call_id": LONG, "output": "5"},
        ],
        "contents": [{"parts": [{"functionResponse": {"id": LONG, "name": LONG}}]}],
        "prompt": "Hi",
    }
    bench = begin(dialect)
    events = bench.send(json.dumps(request).encode())
    assert "llm.request.problem" not in events["llm.call.start"].attributes
    assert bool(events["llm.call.start"].session_id) == (dialect in CONVERSATIONS)


ID_HEADERS = (
    "x-cylestio-conversation-id",
    "x-cylestio-session-id",
    "x-cylestio-prompt-id",
    "x-claude-code-session-id",
)


@every_dialect
def test_long_ids_in_headers(dialect: str, begin: Begin) -> None:
    """Ids of 10,000 characters in headers pass and are left out, and the start says so."""
    bench = begin(dialect)
    events = bench.send(FINE[dialect], dict.fromkeys(ID_HEADERS, LONG))
    problems = events["llm.call.start"].attributes["label.problems"]
    assert sorted(each.partition(":")[0] for each in problems) == sorted(ID_HEADERS)
    assert not [event for event in bench.told if LONG in repr(event)]
    session = events["llm.call.start"].session_id
    assert session.startswith("ses-") if dialect in CONVERSATIONS else session is None  # type: ignore[union-attr]


def test_headers_that_are_nonsense(begin: Begin) -> None:
    """Each header that can't be used is named, and none of them stops the call."""
    headers = {
        "traceparent": "00-zz-zz-01",
        "x-stainless-retry-count": "many",
        "x-cylestio-tags": "," * 500,
        "x-cylestio-session-id": "a\tb",
    }
    bench = begin("openai.chat")
    events = bench.send(FINE["openai.chat"], headers)
    problems = events["llm.call.start"].attributes["label.problems"]
    assert {each.partition(":")[0] for each in problems} == headers.keys()


@every_dialect
def test_messages_that_are_none(dialect: str, begin: Begin) -> None:
    """What stands in a message's place is told of, as words or as something that was not read."""
    bench = begin(dialect)
    start = bench.send(READABLE["messages that are none"])["llm.call.start"].attributes
    messages = start["llm.request.messages"]
    assert len(messages) >= 4
    assert messages[0].text == "a"
    unread = [part for message in messages for part in message.parts if isinstance(part, Other)]
    assert unread
    assert all(part.digest for part in unread)


MANY = 50_000
MANY_MESSAGES: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "openai.chat": ("messages", lambda role, text: {"role": role, "content": [parts(text)]}),
    "openai.responses": ("input", lambda role, text: {"role": role, "content": text}),
    "openai.completions": ("prompt", lambda _, text: text),
    "openai.embeddings": ("input", lambda _, text: text),
    "anthropic.messages": ("messages", lambda role, text: {"role": role, "content": [parts(text)]}),
    "gemini.generate": ("contents", lambda role, text: {"role": role, "parts": [{"text": text}]}),
    "ollama.chat": ("messages", lambda role, text: {"role": role, "content": text}),
}


def parts(text: str) -> dict[str, str]:
    """Return words as a part of a message."""
    return {"type": "text", "text": text}


@pytest.mark.parametrize("dialect", MANY_MESSAGES)
def test_very_many_messages(dialect: str, begin: Begin) -> None:
    """50,000 messages are read, and all of them are in the start's count."""
    field, message = MANY_MESSAGES[dialect]
    roles = ("user", "model" if dialect == "gemini.generate" else "assistant")
    messages = [message(roles[number % 2], f"Word {number}") for number in range(MANY)]
    bench = begin(dialect)
    start = bench.send(json.dumps({field: messages}).encode())["llm.call.start"]
    assert start.attributes["llm.request.total_messages"] == MANY
    assert bool(start.session_id) == (dialect in CONVERSATIONS)


@every_dialect
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "gzip, gzip", "no-such-one"])
def test_request_that_can_not_be_decoded(dialect: str, encoding: str, begin: Begin) -> None:
    """A body that is not encoded as its header says passes, and the start says why."""
    bench = begin(dialect)
    events = bench.send(b"\x1f\x8bgarbage" * 20, {"content-encoding": encoding})
    assert events["llm.call.start"].attributes["llm.request.problem"]
    assert bench.parse_errors() == 1


# -- replies


STREAMS_OF_NOTHING = {
    ("gemini.generate", "a list"),
    ("gemini.stream", "a list"),
    ("gemini.stream", "white space"),
    ("gemini.stream", "two objects"),
}
"""A list of chunks, in which there are none or empty ones, is a reply that says nothing."""


@every_dialect
@pytest.mark.parametrize("name", NO_OBJECT)
def test_reply_that_can_not_be_read(dialect: str, name: str, begin: Begin) -> None:
    """What is no JSON object passes, and the end says why it was not read."""
    body = NO_OBJECT[name]
    bench = begin(dialect, answer=body)
    end = bench.send(FINE[dialect])["llm.call.finish"].attributes
    assert "llm.response.content" not in end
    if body and (dialect, name) not in STREAMS_OF_NOTHING:
        assert end["llm.response.problem"]
        assert bench.parse_errors() == 1


@every_dialect
@pytest.mark.parametrize("encoding", ["gzip", "br", "no-such-one"])
def test_reply_that_can_not_be_decoded(dialect: str, encoding: str, begin: Begin) -> None:
    """A reply that is not encoded as its header says passes, and the end says why."""
    headers = {"content_encoding": encoding}
    bench = begin(dialect, answer=b"\x1f\x8bgarbage" * 20, **headers)
    end = bench.send(FINE[dialect])["llm.call.finish"].attributes
    assert end["llm.response.problem"]
    assert bench.parse_errors() == 1


ODD_STREAMS = {
    "no JSON": b"data: {half\n\ndata: [1, 2\n\n",
    "no objects": b"data: 5\n\ndata: null\n\ndata: []\n\n",
    "invalid UTF-8": b'data: {"choices": "\xff"}\n\ndata: \xff\n\n',
    "nested": b"data: " + NESTED + b"\n\n",
    "no event at all": b"hello",
    "an open end": b'data: {"choices": [{"delta": {"content": "Hi"}}]}',
}


SSE_DIALECTS = (
    "openai.chat",
    "openai.responses",
    "openai.completions",
    "anthropic.messages",
    "gemini.stream",
)


@pytest.mark.parametrize("dialect", SSE_DIALECTS)
@pytest.mark.parametrize("body", ODD_STREAMS.values(), ids=ODD_STREAMS)
def test_stream_that_can_not_be_read(dialect: str, body: bytes, begin: Begin) -> None:
    """A stream of anything passes, and what is no event of the API is a problem that is told."""
    check_stream(begin(dialect, answer=body, content_type="text/event-stream"), body)


@pytest.mark.parametrize("dialect", ["ollama.chat", "ollama.generate"])
@pytest.mark.parametrize("body", ODD_STREAMS.values(), ids=ODD_STREAMS)
def test_lines_that_can_not_be_read(dialect: str, body: bytes, begin: Begin) -> None:
    """The same holds where each line is an event."""
    lines = body.replace(b"data: ", b"")
    check_stream(begin(dialect, answer=lines, content_type="application/x-ndjson"), body)


def check_stream(bench: Bench, body: bytes) -> None:
    """Send a request that is answered by a stream, and see what is said of that."""
    events = bench.send(FINE[bench.proxy.dialect])
    end = events.get("llm.call.finish") or events["llm.call.error"]
    readable = {ODD_STREAMS["an open end"]}
    if bench.proxy.provider.headers["content-type"] == "text/event-stream":
        readable.add(ODD_STREAMS["no event at all"])
    if body not in readable:
        assert end.attributes["llm.response.problem"]
        assert bench.parse_errors() >= 1


ODD_CALLS: dict[str, Any] = {
    "openai.chat": {
        "choices": [
            {
                "message": {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": LONG, "function": {"name": "add", "arguments": '{"a": '}},
                        {"id": None, "function": {"name": None, "arguments": None}},
                        {"id": 5, "function": {"name": 6, "arguments": {"a": 1}}},
                        None,
                    ],
                }
            }
        ]
    },
    "openai.responses": {
        "id": LONG,
        "output": [
            {"type": "function_call", "call_id": LONG, "name": "add", "arguments": '{"a": '},
            {"type": "function_call", "call_id": None, "name": None, "arguments": None},
            None,
        ],
    },
    "anthropic.messages": {
        "content": [
            {"type": "tool_use", "id": LONG, "name": "add", "input": '{"a": '},
            {"type": "tool_use", "id": None, "name": None, "input": None},
            None,
        ]
    },
    "gemini.generate": {
        "candidates": [
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"functionCall": {"id": LONG, "name": "add", "args": '{"a": '}},
                        {"functionCall": {"id": None, "name": None, "args": None}},
                        {"functionCall": None},
                        None,
                    ],
                }
            }
        ]
    },
    "ollama.chat": {
        "message": {
            "role": "assistant",
            "tool_calls": [
                {"id": LONG, "function": {"name": "add", "arguments": '{"a": '}},
                {"function": {"name": None, "arguments": None}},
                None,
            ],
        },
        "done": True,
    },
}


@pytest.mark.parametrize("dialect", ODD_CALLS)
def test_arguments_that_are_no_json(dialect: str, begin: Begin) -> None:
    """Arguments that can't be decoded are shown as the model wrote them."""
    bench = begin(dialect, answer=json.dumps(ODD_CALLS[dialect]).encode())
    wanted = frozenset({"tool.execution"})
    events = bench.send(FINE[dialect], wanted=wanted)
    assert "llm.response.problem" not in events["llm.call.finish"].attributes
    tools = [each.attributes for each in bench.told if each.name == "tool.execution"]
    [params] = [tool["tool.params"] for tool in tools if tool["tool.name"] == "add"]
    assert params == {"raw_arguments": '{"a": '}
