"""Lines for people: they fit, they are coloured, and they are safe."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from perimeter import Block, Exchange, Outcome
from perimeter.calls import LLMReply, Usage
from perimeter.errors import UpstreamTimeout
from perimeter.model import Session
from perimeter_plugin_printer import PrinterConfig
from perimeter_plugin_printer.records import Decided, Ended, Record, Sent
from perimeter_plugin_printer.render import line_of
from perimeter_plugin_printer.terminal import Terminal, shorten
from perimeter_plugin_printer.told import Told


Make = Callable[..., Exchange]

BODY = b'{"model": "gpt-4o-mini", "stream": true}'


def shown(record: Record, width: int, *, color: bool = False, log_body: bool = False) -> str:
    """Render a record for a terminal of this width, without its time."""
    terminal = Terminal(io.StringIO(), color=color, width=width)
    return terminal.render(line_of(record, PrinterConfig(log_body=log_body)))


def without_time(text: str) -> str:
    """Leave out the time, which depends on the machine's time zone."""
    return text.removesuffix("\n")[len("12:00:00 ") :]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (98, "→  00000001  openai  openai.chat  POST  /v1/chat/completions?…  {}  stream  40 B"),
        (88, "→  00000001  openai.chat  POST  /v1/chat/completion…  {}  stream  40 B"),
        (76, "→  00000001  POST  /v1/chat/completions…  {}  stream  40 B"),
        (65, "→  00000001  POST  /v1/chat/completions?al…  {}"),
        (40, "→  00000001  POST  /v1/chat/co…"),
        (20, "→  0000000…"),
    ],
)
def test_a_narrow_terminal_gets_less(make_exchange: Make, width: int, expected: str) -> None:
    """Paths are shortened first, then what matters least goes, and lines never wrap."""
    text = shown(Sent.of(make_exchange(BODY, query="alt=sse")), width)
    assert without_time(text) == expected.format("gpt-4o-mini")


def test_a_response_is_short(make_exchange: Make, end: Make) -> None:
    """A response says what the request's line did not."""
    exchange = end(make_exchange(), b"data: 1\n\n" * 45, framing="sse")
    text = without_time(shown(Ended.of(exchange, bodies=False), 80))
    assert text == "←  00000001  200  405 B  45 events  first byte 210 ms  3.21 s"


def test_an_error_says_where_and_why(make_exchange: Make, end: Make) -> None:
    """An error says in words what happened to which path."""
    exchange = end(make_exchange(), b"{}", status=504, outcome=Outcome.UPSTREAM_ERROR)
    error = UpstreamTimeout("no answer for 600 s", phase="first_byte")
    text = without_time(shown(Ended.of(exchange, error, bodies=False), 120))
    assert text == (
        "✗  00000001  POST  /v1/chat/completions  504  upstream error  no answer for 600 s"
        "  2 B  3.21 s"
    )


def test_a_verdict_names_the_plugin(make_exchange: Make) -> None:
    """A wide sign takes the place of a narrow one and a space."""
    record = Decided.of(make_exchange(), 0.0, "security", Block("a secret"))
    text = without_time(shown(record, 120))
    assert text == "⛔ 00000001  POST  /v1/chat/completions  blocked by security  a secret"


def test_colors_say_how_it_went(make_exchange: Make, end: Make) -> None:
    """The colour of a status tells success from failure; without colours there is no escape."""
    good = Ended.of(end(make_exchange(), b"{}"), bodies=False)
    bad = Ended.of(end(make_exchange(), b"{}", status=500), bodies=False)
    assert "\x1b[1;32m200\x1b[0m" in shown(good, 80, color=True)
    assert "\x1b[1;31m500\x1b[0m" in shown(bad, 80, color=True)
    assert "\x1b" not in shown(bad, 80)


def test_a_body_stands_below_and_fits(make_exchange: Make) -> None:
    """A body's lines are kept, and folded where they are too long."""
    body = "first\n\n" + "日本語" * 10 + "\x1b[31m"
    rows = shown(Sent.of(make_exchange(body.encode())), 40, log_body=True).splitlines()
    texts = [row.partition("│")[2].strip() for row in rows[1:]]
    assert texts[:2] == ["first", ""]
    assert "".join(texts[2:]) == "日本語" * 10 + r"\x1b[31m"
    assert max(map(cell_len, rows)) <= 40


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(), max_size=80), st.text(st.characters(), max_size=80), st.data())
def test_whatever_comes_fits(
    make_exchange: Make,
    without_colors: Callable[[str], str],
    path: str,
    reason: str,
    data: st.DataObject,
) -> None:
    """No text makes a line wider than the terminal, or brings an escape of its own."""
    width = data.draw(st.integers(24, 200))
    exchange = make_exchange(reason.encode("utf-8", "replace"), path=path)
    for record in (Sent.of(exchange), Decided.of(exchange, 0.0, "p", Block(reason))):
        text = without_colors(shown(record, width, color=True, log_body=True))
        assert text.endswith("\n")
        for row in text[:-1].split("\n"):
            assert cell_len(row) <= max(width, 31)
            assert "\x1b" not in row


@given(st.text(max_size=40), st.integers(1, 60))
def test_shortening(text: str, cells: int) -> None:
    """What fits stays; the rest ends with an ellipsis and fits too."""
    short = shorten(text, cells)
    assert cell_len(short) <= cells
    assert short == text if cell_len(text) <= cells else short.endswith("…")


def test_sessions_have_colors_of_their_own(make_exchange: Make) -> None:
    """A session keeps its colour, its neighbour has another one."""
    terminal = Terminal(io.StringIO(), color=True, width=120)
    exchange = make_exchange(BODY)

    def color(session: str) -> str:
        exchange.session = Session(session)
        text = terminal.render(line_of(Sent.of(exchange), PrinterConfig()))
        found = re.search(rf"\x1b\[([0-9;]+)m{session[:12]}\x1b", text)
        assert found, text
        return found[1]

    first, second = color("ses-0123456789abcdef"), color("order-4711")
    assert first != second
    assert color("ses-0123456789abcdef") == first


def test_a_response_in_figures(make_exchange: Make, end: Make) -> None:
    """Tokens and cost are short on a terminal."""
    exchange = end(make_exchange(), b"hello")
    exchange.session = Session("ses-0123456789abcdef")
    exchange.llm_reply = LLMReply(usage=Usage(input=1234, output=340, cache_read=1024))
    record = Ended.of(exchange, bodies=False, told=Told(exchange.id, cost=0.00314))
    assert without_time(shown(record, 100)) == (
        "←  ses-01234567  00000001  200  1.2k→340 tok (1.0k cached)  $0.0031  5 B  3.21 s"
    )
