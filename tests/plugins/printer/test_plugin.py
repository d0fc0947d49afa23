"""The plugin with a real worker: what is printed, what is not, and what it may cost."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest

from perimeter import Block, Event, Exchange, Outcome, Worker
from perimeter.context import Clock
from perimeter.errors import ClientDisconnected
from perimeter.worker import Handler
from perimeter_plugin_printer import Printer, PrinterConfig


Make = Callable[..., Exchange]
Run = Callable[..., AbstractAsyncContextManager[Printer]]


@attrs.define
class Context:
    """What the printer uses of its context, without the application around it."""

    clock: Clock = attrs.field(factory=Clock)
    workers: list[Worker[Any]] = attrs.field(factory=list)

    def worker(self, handler: Handler[Any], **options: Any) -> Worker[Any]:
        worker = Worker(handler, **options)
        worker.start()
        self.workers.append(worker)
        return worker


class TerminalText(io.StringIO):
    """Takes text, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a context manager that runs a printer; its lines are complete when it is left."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    @asynccontextmanager
    async def start(stream: Any, **options: Any) -> AsyncIterator[Printer]:
        config = PrinterConfig(**options)
        monkeypatch.setattr(sys, config.output, stream)
        context = Context()
        printer = Printer(config, context)  # type: ignore[arg-type]  # it has what is used
        printer.startup()
        try:
            yield printer
        finally:
            for worker in context.workers:
                await worker.drain(30.0)

    return start


def everything(printer: Printer, make_exchange: Make, end: Make) -> None:
    """Let one thing of every kind happen."""
    exchange = make_exchange(b'{"model": "m"}')
    printer.on_request(exchange)
    printer.on_verdict(exchange, "guard", Block("no"))
    printer.on_response(end(exchange, b"{}"))
    failed = end(make_exchange(), status=None, outcome=Outcome.CLIENT_DISCONNECTED)
    printer.on_error(failed, ClientDisconnected("the client left"))
    for name in ("session.start", "tool.execution", "tool.result", "session.end", "llm.call.start"):
        printer.on_session_event(Event(name, 0.0, session_id="s"))


def words(text: str) -> list[str]:
    """Return the word of each plain line."""
    return [line.split()[2] for line in text.splitlines()]


EVERYTHING = ["request", "blocked", "response", "error"]
EVERYTHING += ["session.start", "tool.execution", "tool.result", "session.end"]


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, set()),
        ({"log_requests": False}, {"request"}),
        ({"log_responses": False}, {"response"}),
        ({"show_sessions": False}, {"session.start", "session.end"}),
        ({"show_tools": False}, {"tool.execution", "tool.result"}),
    ],
)
async def test_options_choose_the_lines(
    run: Run, make_exchange: Make, end: Make, options: dict[str, Any], missing: set[str]
) -> None:
    """Each option leaves out its own lines; errors and verdicts always come, in order."""
    stream = io.StringIO()
    async with run(stream, **options) as printer:
        everything(printer, make_exchange, end)
    assert words(stream.getvalue()) == [word for word in EVERYTHING if word not in missing]


async def test_tools_stand_below_their_call(run: Run, make_exchange: Make, end: Make) -> None:
    """A finish event has no line of its own; its tools come after the response, none is lost."""
    stream = io.StringIO()
    async with run(stream) as printer:
        exchange = end(make_exchange(), b"{}")
        for call in ("gone", exchange.id):
            about = {"call.id": call, "llm.cost_usd": 0.25, "tool.name": call}
            for name in ("llm.call.finish", "tool.execution"):
                printer.on_session_event(Event(name, 0.0, session_id="s", attributes=about))
        printer.on_response(exchange)
        printer.on_response(end(make_exchange(), b"{}"))
    assert words(stream.getvalue()) == ["tool.execution", "response", "tool.execution", "response"]
    assert stream.getvalue().count("cost_usd=0.25 ") == 1


async def test_failed_calls_are_always_printed(run: Run, make_exchange: Make, end: Make) -> None:
    """A rate limit is a complete response, and an error all the same."""
    stream = io.StringIO()
    async with run(stream, log_responses=False) as printer:
        exchange = end(make_exchange(), status=429)
        about = {"call.id": exchange.id, "error.type": "rate_limit_error", "error.message": "slow"}
        printer.on_session_event(Event("llm.call.error", 0.0, attributes=about))
        printer.on_response(exchange)
    assert words(stream.getvalue()) == ["response"]


async def test_standard_error(run: Run, make_exchange: Make, end: Make) -> None:
    """The lines can go to standard error."""
    stream = io.StringIO()
    async with run(stream, output="stderr") as printer:
        everything(printer, make_exchange, end)
    assert words(stream.getvalue()) == EVERYTHING


@pytest.mark.parametrize(
    ("terminal", "color", "variable", "colored"),
    [
        (True, "auto", "", True),
        (True, "auto", "1", False),
        (True, "always", "1", True),
        (True, "never", "", False),
        (False, "auto", "", False),
        (False, "always", "", True),
    ],
)
async def test_when_there_are_colors(
    run: Run,
    make_exchange: Make,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    color: str,
    variable: str,
    colored: bool,
) -> None:
    """Terminals get colours unless NO_COLOR or the option says otherwise; pipes only by option."""
    stream = TerminalText() if terminal else io.StringIO()
    async with run(stream, color=color) as printer:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", variable)
        printer.startup()
        printer.on_request(make_exchange())
    assert ("\x1b[" in stream.getvalue()) is colored
    assert ("exchange=" in stream.getvalue()) is (not terminal and not colored)


async def test_colored_lines_in_a_pipe_are_not_cut(run: Run, make_exchange: Make) -> None:
    """A pipe has no width, so that nothing is shortened."""
    stream = io.StringIO()
    async with run(stream, color="always") as printer:
        printer.on_request(make_exchange(path="/" + "x" * 1000))
    assert "x" * 1000 in stream.getvalue()


async def test_no_standard_output_at_all(run: Run, make_exchange: Make, end: Make) -> None:
    """A process that was started without standard output prints nothing, and works."""
    async with run(None) as printer:
        everything(printer, make_exchange, end)


class Stuck(io.StringIO):
    """Takes nothing until it is let go, like a terminal that was stopped with Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.waiting = threading.Event()

    def write(self, text: str) -> int:
        self.waiting.set()
        self.go_on.wait()
        return super().write(text)


async def test_lost_lines_are_admitted(run: Run, make_exchange: Make) -> None:
    """What a stuck terminal made the queue drop is counted, and said once it goes on."""
    stream = Stuck()
    async with run(stream) as printer:
        printer.on_request(make_exchange())
        stream.waiting.wait()
        for _ in range(6000):
            printer.on_request(make_exchange())
        stream.go_on.set()
    lines = words(stream.getvalue())
    assert lines.count("request") == 5001
    assert lines.count("lost") == 1
    assert "… lost lines=1000\n" in stream.getvalue()


async def test_bodies_that_wait_are_limited(run: Run, make_exchange: Make, end: Make) -> None:
    """Behind a stuck terminal bodies are let go, while their lines are kept."""
    stream = Stuck()
    body = b'{"model": "m", "text": "' + bytes(10_000_000).replace(b"\0", b"x") + b'"}'
    async with run(stream, log_body=True) as printer:
        for _ in range(5):
            printer.on_request(make_exchange(body))
            printer.on_response(end(make_exchange(), body))
        stream.go_on.set()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert sum("body=" in line for line in lines) == 3


async def test_bodies_are_free_again_when_they_are_printed(run: Run, make_exchange: Make) -> None:
    """The limit is on what waits, not on what was ever printed."""
    stream = io.StringIO()
    body = b'{"model": "m", "text": "' + bytes(10_000_000).replace(b"\0", b"x") + b'"}'
    async with run(stream, log_body=True) as printer:
        for number in range(1, 11):
            printer.on_request(make_exchange(body))
            while stream.getvalue().count("\n") < number:
                await a_moment()
    assert stream.getvalue().count("body=") == 10


async def test_one_bad_record_costs_one_line(
    run: Run, make_exchange: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that cannot be printed is logged; those around it are printed."""
    stream = io.StringIO()
    async with run(stream) as printer:
        printer.on_request(make_exchange())
        printer.on_session_event(Event("session.start", float("nan"), session_id="s"))
        printer.on_request(make_exchange())
    assert words(stream.getvalue()) == ["request", "request"]
    assert "could not handle a batch" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
async def test_after_a_closed_pipe_nothing_is_queued(run: Run, make_exchange: Make) -> None:
    """Once the reader has gone, hooks cost next to nothing and nothing is raised."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        async with run(stream) as printer:
            printer.on_request(make_exchange())
            while not printer._output.closed:
                await a_moment()
            printer.on_request(make_exchange())
            assert printer._worker.depth == 0


async def a_moment() -> None:
    """Let other tasks run; the thread that is waited for runs meanwhile."""
    import anyio

    await anyio.sleep(0.001)


def test_every_option_is_explained() -> None:
    """Options have help texts, and defaults that need no configuration."""
    for field in attrs.fields(PrinterConfig):
        assert field.metadata["help"].endswith(".")
    assert PrinterConfig() == PrinterConfig()
    with pytest.raises(ValueError, match="0 or more"):
        PrinterConfig(max_body_chars=-1)
