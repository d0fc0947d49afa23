"""Plain lines: what stands in them for every kind of record."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perimeter import Block, Event, Exchange, Outcome, Respond, Rewrite, Stop
from perimeter.calls import LLMReply, Usage
from perimeter.errors import ClientDisconnected, UpstreamConnectError
from perimeter.model import Session
from perimeter_plugin_printer import PrinterConfig
from perimeter_plugin_printer.exchanges import count_events
from perimeter_plugin_printer.records import Decided, Ended, Happened, Record, Sent
from perimeter_plugin_printer.render import Plain, line_of
from perimeter_plugin_printer.told import Told


Make = Callable[..., Exchange]

WHERE = (
    "exchange=ex-019a0b3f00000001 upstream=openai dialect=openai.chat "
    "method=POST path=/v1/chat/completions"
)


def plain(record: Record, config: PrinterConfig | None = None) -> str:
    """Render a record as a plain line."""
    return Plain().render(line_of(record, config or PrinterConfig()))


def test_a_request(make_exchange: Make) -> None:
    """A request line says where to, which model, whether it streams, and how large it is."""
    body = json.dumps({"messages": [{"model": "no"}], "model": "gpt-4o", "stream": True}).encode()
    line = plain(Sent.of(make_exchange(body, workflow_id="my flow")))
    assert line == (
        f"2026-01-31T12:00:00.001Z → request {WHERE} "
        f'workflow="my flow" model=gpt-4o stream=true size={len(body)}\n'
    )


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'{"model": 1}', b"\xff", b"[" * 100_000])
def test_a_request_without_a_model(make_exchange: Make, body: bytes) -> None:
    """A body that names no model, or is no JSON, leaves the model out."""
    line = plain(Sent.of(make_exchange(body)))
    assert line == f"2026-01-31T12:00:00.001Z → request {WHERE} size={len(body)}\n"


def test_a_request_whose_body_streams_through(make_exchange: Make) -> None:
    """The size is the announced one where the body is not kept, or left out."""
    announced = make_exchange(None, headers=((b"content-length", b"123456"),))
    assert plain(Sent.of(announced)).endswith(" size=123456\n")
    for length in (b"", b"-1", b"9" * 5000, "²".encode("latin-1")):
        unknown = make_exchange(None, headers=((b"content-length", length),))
        assert "size" not in plain(Sent.of(unknown))


def test_a_response(make_exchange: Make, end: Make) -> None:
    """A response line says the status, the outcome, the size and the time."""
    line = plain(Ended.of(end(make_exchange(), b"hello"), bodies=False))
    expected = "status=200 outcome=completed size=5 seconds=3.210"
    assert line == f"2026-01-31T12:00:03.210Z ← response {WHERE} {expected}\n"


def test_a_stream_is_one_line(make_exchange: Make, end: Make) -> None:
    """A stream's line also says how many events came, and when the first byte did."""
    exchange = end(make_exchange(), b'data: {"a": 1}\n\n' * 45, framing="sse")
    line = plain(Ended.of(exchange, bodies=False))
    assert " size=720 stream=sse events=45 first_byte=0.210 seconds=3.210\n" in line


def test_a_compressed_stream_is_counted(make_exchange: Make, end: Make) -> None:
    """Events are counted in what was meant, not in compressed bytes."""
    body = gzip.compress(b"data: 1\n\ndata: 2\n\n")
    headers = ((b"content-encoding", b"gzip"),)
    exchange = end(make_exchange(), body, framing="sse", headers=headers)
    assert " events=2 " in plain(Ended.of(exchange, bodies=False))


def test_a_stream_that_was_not_kept_whole_has_no_count(make_exchange: Make, end: Make) -> None:
    """A wrong count is worse than none."""
    exchange = end(make_exchange(), b"data: 1\n\n" * 9, framing="sse", capture=20)
    line = plain(Ended.of(exchange, bodies=False))
    assert "events" not in line
    assert " size=81 stream=sse " in line


@pytest.mark.parametrize(
    ("framing", "body", "count"),
    [
        ("sse", b"event: a\ndata: 1\n\n: comment\n\ndata: [DONE]\n\n", 2),
        ("sse", b"data: 1\r\n\r\ndata: 2\r\n\r\n", 2),
        ("sse", b"", 0),
        ("ndjson", b'{"a":1}\n{"a":2}\n', 2),
        ("ndjson", b'{"a":1}\n{"a":2}', 2),
        ("aws", b"\x00\x00\x00\x10", None),
    ],
)
def test_counting_events(framing: str, body: bytes, count: int | None) -> None:
    """Events are counted where that is a matter of counting bytes."""
    assert count_events(framing, body) == count


def test_an_error(make_exchange: Make, end: Make) -> None:
    """An error line names the reason, how often it was tried, and what the client got."""
    exchange = end(make_exchange(), b"{}", status=502, outcome=Outcome.UPSTREAM_ERROR)
    exchange.attempts = 3
    error = UpstreamConnectError("connection refused: https://h/?key=hunter2")
    assert plain(Ended.of(exchange, error, bodies=False)) == (
        f"2026-01-31T12:00:03.210Z ✗ error {WHERE} status=502 outcome=upstream_error "
        'code=upstream_unreachable reason="connection refused: https://h/?key=*******" '
        "attempts=3 size=2 seconds=3.210\n"
    )


def test_an_error_without_a_response(make_exchange: Make, end: Make) -> None:
    """An exchange that ended before any head has no status and no size."""
    exchange = end(make_exchange(), status=None, outcome=Outcome.CLIENT_DISCONNECTED)
    line = plain(Ended.of(exchange, ClientDisconnected("the client left"), bodies=False))
    assert 'outcome=client_disconnected code=client_disconnected reason="the client left"' in line
    assert "status=" not in line
    assert "size=" not in line


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Block("no secrets, please"), '⛔ blocked {} plugin=guard reason="no secrets, please"'),
        (Stop("enough"), "⛔ stopped {} plugin=guard reason=enough"),
        (Respond(b"{}"), '↩ answered {} plugin=guard reason="with status 200"'),
        (
            Rewrite(body=b"{}", headers=(), upstream="other"),
            '✎ rewritten {} plugin=guard reason="body of 2 B, headers, upstream other"',
        ),
        (Rewrite(), "✎ rewritten {} plugin=guard"),
    ],
)
def test_verdicts(
    make_exchange: Make, verdict: Block | Respond | Rewrite | Stop, expected: str
) -> None:
    """A verdict's line names the plugin and the reason."""
    record = Decided.of(make_exchange(), 1_769_860_800.0, "guard", verdict)
    assert plain(record) == f"2026-01-31T12:00:00.000Z {expected.format(WHERE)}\n"


def happened(name: str, level: str = "INFO", **attributes: object) -> Record:
    """Return a record of an event; in names of attributes, `__` stands for the dot."""
    dotted = {key.replace("__", "."): value for key, value in attributes.items()}
    event = Event(
        name,
        1_769_860_800.0,
        level=level,
        session_id="5e551012-3456",
        agent_id="prompt-1",
        attributes=dotted,
    )
    return Happened(event)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (happened("session.start"), "● session.start session=5e551012-3456 agent=prompt-1"),
        (
            happened("session.start", llm__model="gpt-4o", session__match="prefix"),
            "● session.start session=5e551012-3456 agent=prompt-1 model=gpt-4o match=prefix",
        ),
        (
            happened("session.end", session__duration_ms=2500, session__events_count=8),
            "○ session.end session=5e551012-3456 agent=prompt-1 seconds=2.500 events=8",
        ),
        (
            happened("session.end", session__duration_ms=float("inf")),
            "○ session.end session=5e551012-3456 agent=prompt-1",
        ),
        (
            happened("tool.execution", tool__name="get_weather", tool__params={"city": "Zürich"}),
            (
                "⚙ tool.execution session=5e551012-3456 agent=prompt-1 tool=get_weather "
                r'params="{\"city\": \"Zürich\"}"'
            ),
        ),
        (
            happened(
                "tool.result",
                tool__name="f",
                tool__status="success",
                tool__execution_time_ms=12.3,
                tool__result="a\nb",
            ),
            (
                "↳ tool.result session=5e551012-3456 agent=prompt-1 tool=f "
                "status=success seconds=0.012 "
                r'result="a\nb"'
            ),
        ),
        (
            happened("tool.result", level="ERROR", tool__name="f", error__message="boom"),
            "↳ tool.result session=5e551012-3456 agent=prompt-1 tool=f result=boom",
        ),
    ],
)
def test_session_events(record: Record, expected: str) -> None:
    """Sessions and tools have lines of their own."""
    assert plain(record) == f"2026-01-31T12:00:00.000Z {expected}\n"


def test_bodies_stand_on_the_same_line(make_exchange: Make, end: Make) -> None:
    """With `log_body` the line also has the text, cut, masked and without line breaks."""
    key = "sk-" + "x" * 24
    config = PrinterConfig(log_body=True, max_body_chars=20)
    body = f'{{\n"key": "{key}", "more": 1}}'.encode()
    expected = r'body="{\n\"key\": \"sk-*******…"'
    assert expected in plain(Sent.of(make_exchange(body)), config)
    assert expected in plain(Ended.of(end(make_exchange(), body), bodies=True), config)
    assert "body=" not in plain(Sent.of(make_exchange(body)))


def test_secrets_in_targets_are_masked(make_exchange: Make) -> None:
    """Keys in paths and query strings are not shown."""
    key = "sk-" + "x" * 24
    line = plain(Sent.of(make_exchange(path=f"/v1/{key}/x", query="alt=sse&key=hunter2")))
    assert f"path=/v1/sk-{'*' * 24}/x?alt=sse&key=******* " in line


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.tuples(*[st.text(st.characters(), max_size=60)] * 2),
    st.binary(max_size=60) | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode),
    st.recursive(st.none() | st.floats() | st.text(st.characters()), st.lists, max_leaves=5),
)
def test_whatever_comes_is_one_harmless_line(
    make_exchange: Make, end: Make, texts: tuple[str, str], body: bytes, value: object
) -> None:
    """No request, response, error or event makes it fail, break a line or steer a terminal."""
    config = PrinterConfig(log_body=True)
    path, text = texts
    exchange = end(make_exchange(body, path=path, query=text, method=text), body, framing="sse")
    attributes = {"tool.name": value, "tool.params": value, "session.duration_ms": value}
    records: list[Record] = [
        Sent.of(exchange),
        Ended.of(exchange, bodies=True),
        Ended.of(exchange, ValueError(text), bodies=True),
        Decided.of(exchange, 0.0, text, Block(text)),
        Happened(Event("tool.execution", 0.0, session_id=text, attributes=attributes)),
        Happened(Event("session.end", 0.0, attributes=attributes)),
    ]
    for record in records:
        line = plain(record, config)
        assert line.endswith("\n")
        rest = line[:-1].replace("\u200c", "").replace("\u200d", "").replace("\u3000", "")
        assert rest.isprintable()


def test_a_response_says_session_tokens_and_cost(make_exchange: Make, end: Make) -> None:
    """Of a call that was followed, the line also says whose it is and what it took."""
    exchange = end(make_exchange(), b"hello")
    exchange.session = Session("ses-0123456789abcdef", "prompt-1")
    exchange.llm_reply = LLMReply(usage=Usage(input=1234, output=340, cache_read=1024))
    told = Told(exchange.id, cost=0.00314)
    record = Ended.of(exchange, bodies=False, told=told)
    usage = "input_tokens=1234 output_tokens=340 cached_tokens=1024 cost_usd=0.00314 "
    who = "session=ses-0123456789abcdef agent=prompt-1 "
    assert f"response {who}exchange=" in plain(record)
    assert f" outcome=completed {usage}size=5 " in plain(record)
    without = plain(record, PrinterConfig(show_usage=False, show_sessions=False))
    assert "tokens" not in without
    assert "cost" not in without
    assert "session=" not in without


def test_an_error_in_a_complete_response(make_exchange: Make, end: Make) -> None:
    """What the provider says about its error is shown, with secrets masked."""
    told = Told("x", error_type="rate_limit_error", error="slow down, ?key=hunter2")
    line = plain(Ended.of(end(make_exchange(), status=429), bodies=False, told=told))
    assert 'error_type=rate_limit_error error="slow down, ?key=*******" size=0' in line


def test_an_error_is_said_once(make_exchange: Make, end: Make) -> None:
    """Where the exchange failed for the same reason, the event's words are left out."""
    exchange = end(make_exchange(), status=None, outcome=Outcome.CLIENT_DISCONNECTED)
    told = Told("x", error_type="client_disconnected", error="the client left")
    error = ClientDisconnected("the client left")
    assert plain(Ended.of(exchange, error, bodies=False, told=told)).count("the client left") == 1
