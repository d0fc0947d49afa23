"""Calling plugins: in order, isolated, timed, and within a time budget."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import attrs
import pluggy
import pytest

from perimeter import Block, Respond, Rewrite, dispatch, hookimpl
from perimeter.dispatch import Bound, Hooks, decide, notify
from perimeter.errors import GuardFailed
from perimeter.hookspecs import PROJECT, SPECS


EXCHANGE: Any = object()
"""Guards here do not look at it."""


def compiled(*plugins: object, timeout: float = 2.0) -> Hooks:
    """Compile plugins that are called in this order; each is named after its class."""
    manager = pluggy.PluginManager(PROJECT)
    for spec in SPECS:
        manager.add_hookspecs(spec)
    for plugin in reversed(plugins):
        manager.register(plugin, f"{type(plugin).__name__.lower()}{len(manager.get_plugins())}")
    return Hooks.compile(manager, timeout=timeout)


def bound(call: Any, **more: Any) -> Bound:
    """Bind a function as a guard of requests."""
    return Bound("tester", more.pop("hook", "guard_request"), call, **more)


def fails(*_: object) -> None:
    """Fail as a plugin does."""
    raise ValueError("boom")


@attrs.define(eq=False)
class Recorder:
    """Notes what it is told in a list that others may share."""

    name: str
    heard: list[Any]

    @hookimpl
    def on_error(self, error: Exception) -> None:
        """Take the second argument only."""
        self.heard.append((self.name, error))

    @hookimpl
    def on_verdict(self, verdict: Any, exchange: Any) -> None:
        """Take two of three arguments, in an order of our own."""
        self.heard.append((self.name, verdict, exchange))

    @hookimpl
    def on_request(self) -> None:
        """Take no argument."""
        self.heard.append((self.name,))

    @hookimpl
    def on_response(self, exchange: Any) -> None:
        """Take all there are."""
        self.heard.append((self.name, exchange))


class Late(Recorder):
    """Asks to be called last."""

    @hookimpl(trylast=True)
    def on_response(self, exchange: Any) -> None:
        """Take all there are."""
        self.heard.append((self.name, exchange))


class Guarding:
    """Decides, and refuses everything when it fails."""

    fail_closed = True

    @hookimpl
    async def guard_request(self) -> Block:
        """Refuse."""
        return Block("no")


def test_nobody_is_no_chain():
    """A hook that nobody implements is an empty tuple, and nobody observes."""
    hooks = compiled()

    assert attrs.astuple(hooks, recurse=False) == ((),) * 10
    assert not hooks.observes
    assert hooks.all == ()


def test_call_order_is_the_given_order():
    """Plugins are called in the order of their tables, except where they ask to be last."""
    heard: list[Any] = []
    hooks = compiled(Late("late", heard), Recorder("first", heard), Recorder("second", heard))

    notify(hooks.on_request, EXCHANGE)
    notify(hooks.on_response, EXCHANGE)

    assert [name for name, *_ in heard] == ["late", "first", "second", "first", "second", "late"]


def test_arguments_are_chosen_by_name():
    """An implementation gets the arguments that it names, in its own order."""
    heard: list[Any] = []
    hooks = compiled(Recorder("one", heard))
    error = ValueError()

    notify(hooks.on_request, EXCHANGE)
    notify(hooks.on_error, EXCHANGE, error)
    notify(hooks.on_verdict, EXCHANGE, "other", "verdict")
    notify(hooks.on_response, EXCHANGE)

    assert heard == [
        ("one",),
        ("one", error),
        ("one", "verdict", EXCHANGE),
        ("one", EXCHANGE),
    ]


async def test_compiled_guards_know_their_policy():
    """Whether a guard is async, fails closed, and how long it may take is settled beforehand."""
    (guard,) = compiled(Guarding(), timeout=0.5).guard_request

    assert (guard.plugin, guard.hook) == ("guarding0", "guard_request")
    assert (guard.is_async, guard.fail_closed, guard.timeout) == (True, True, 0.5)
    assert await decide(guard, EXCHANGE) == Block("no")


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_observers_are_isolated(error):
    """An observer that raises, or ends the process, disturbs nobody else."""
    heard: list[Any] = []

    def breaks(_: object) -> None:
        raise error("boom")

    chain = (bound(breaks, hook="on_request"), bound(heard.append, hook="on_request"))
    notify(chain, EXCHANGE)

    assert heard == [EXCHANGE]
    assert [each.failures for each in chain] == [1, 0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, asyncio.CancelledError])
def test_what_stops_the_program_passes(error):
    """Ctrl-C and cancellation are not a plugin's failure."""

    def stops(_: object) -> None:
        raise error

    chain = (bound(stops, hook="on_request"),)
    with pytest.raises(error):
        notify(chain, EXCHANGE)

    assert chain[0].failures == 0


def test_calls_are_timed(monkeypatch):
    """Every call is counted with the time it took, failed ones too."""
    ticks = iter([10.0, 10.5, 20.0, 22.0])
    monkeypatch.setattr(dispatch, "perf_counter", lambda: next(ticks))
    chain = (bound(lambda _: None), bound(fails))

    notify(chain, EXCHANGE)

    assert [(each.calls, each.seconds) for each in chain] == [(1, 0.5), (1, 2.0)]


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time of the log's limits, in a list so that a test can change it."""
    time = [1000.0]

    class Clock:
        monotonic = staticmethod(lambda: time[0])

    monkeypatch.setattr(dispatch, "time", Clock)
    return time


def test_failures_are_logged_sparingly(now, caplog):
    """The first failure is logged whole, then one line per 20 seconds says how many there were."""
    chain = (bound(fails, hook="on_chunk"),)
    for _ in range(4):
        notify(chain, EXCHANGE)
    assert len(caplog.records) == 1

    now[0] += dispatch.LOG_SECONDS
    notify(chain, EXCHANGE)

    first, second = caplog.records
    assert first.getMessage() == "plugin tester failed in on_chunk"
    assert "3 more failures" in second.getMessage()
    assert chain[0].failures == 5


def test_hooks_are_silenced_apart(now, caplog):
    """One hook's failures do not hide another one's."""
    notify((bound(fails, hook="on_chunk"), bound(fails, hook="on_error")), EXCHANGE)

    assert len(caplog.records) == 2


def test_tracebacks_begin_in_the_plugin(caplog):
    """The log shows the plugin's own frames, not the dispatcher's."""
    notify((bound(fails),), EXCHANGE)

    text = logging.Formatter().format(caplog.records[0])
    assert "test_dispatch.py" in text
    assert "dispatch.py" not in text.replace("test_dispatch.py", "")
    assert text.endswith("ValueError: boom")


@pytest.mark.parametrize(
    ("hook", "verdict"),
    [
        ("guard_request", Block("no")),
        ("guard_request", Respond(b"{}")),
        ("guard_request", Rewrite(b"{}")),
        ("guard_response", Block("no")),
        ("guard_response", Rewrite(b"{}")),
        ("guard_request", None),
        ("guard_stream", None),
    ],
)
async def test_verdicts_are_returned(hook, verdict):
    """A verdict that the hook may give arrives as it is, from sync and async guards."""

    async def later(_: object) -> Any:
        return verdict

    assert await decide(bound(lambda _: verdict, hook=hook), EXCHANGE) is verdict
    assert await decide(bound(later, hook=hook, is_async=True), EXCHANGE) is verdict


async def test_stream_guards_are_known_by_their_methods():
    """A stream guard needs no base class."""

    class Passing:
        def feed(self, event: bytes) -> list[bytes]:
            return [event]

        def close(self, reason: str) -> list[bytes]:
            return []

    guard = Passing()
    assert await decide(bound(lambda _: guard, hook="guard_stream"), EXCHANGE) is guard


@pytest.mark.parametrize(
    ("hook", "result"),
    [
        ("guard_request", True),
        ("guard_request", Block),
        ("guard_response", Respond(b"{}")),
        ("guard_stream", Block("no")),
        ("guard_stream", lambda event: [event]),
    ],
)
async def test_what_is_no_verdict_is_a_failure(hook, result, caplog):
    """A guard that returns what its hook has no meaning for has failed, and the log says how."""
    guard = bound(lambda _: result, hook=hook)

    assert await decide(guard, EXCHANGE) is None
    assert guard.failures == 1
    assert type(result).__name__ in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
async def test_failing_open_passes(is_async):
    """A guard that fails is passed over, and counted."""

    async def fails_later(_: object) -> None:
        fails()

    guard = bound(fails_later if is_async else fails, is_async=is_async)

    assert await decide(guard, EXCHANGE) is None
    assert (guard.failures, guard.calls) == (1, 1)


async def test_failing_closed_refuses():
    """A guard that fails closed ends the exchange, and names the plugin but not its secret."""
    guard = bound(fails, fail_closed=True)

    with pytest.raises(GuardFailed) as caught:
        await decide(guard, EXCHANGE)

    assert caught.value.plugin == "tester"
    assert "boom" not in str(caught.value)
    assert guard.failures == 1


@pytest.mark.parametrize("fail_closed", [False, True])
async def test_the_time_budget_counts(fail_closed, caplog):
    """A guard that takes too long is cancelled, and that is a failure of it."""
    ended = asyncio.Event()

    async def never(_: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    guard = bound(never, is_async=True, timeout=0.001, fail_closed=fail_closed)
    if fail_closed:
        with pytest.raises(GuardFailed):
            await decide(guard, EXCHANGE)
    else:
        assert await decide(guard, EXCHANGE) is None

    assert ended.is_set()
    assert guard.failures == 1
    assert "longer than 0.001 s" in caplog.text


async def test_a_guards_own_timeout_is_not_the_budget(caplog):
    """A guard whose own call timed out is reported with that, not with the time budget."""

    async def gives_up(_: object) -> None:
        raise TimeoutError("the database is slow")

    guard = bound(gives_up, is_async=True)

    assert await decide(guard, EXCHANGE) is None
    assert "the database is slow" in caplog.text
    assert "longer than" not in caplog.text


async def test_returned_awaitables_are_awaited():
    """A guard that is no async function, but returns what one returned, decides all the same."""

    async def later() -> Block:
        return Block("no")

    assert await decide(bound(lambda _: later()), EXCHANGE) == Block("no")


async def test_a_cancelled_exchange_is_no_failure():
    """When the client leaves, the guard is cancelled with the exchange and nothing is counted."""
    waiting = asyncio.Event()

    async def never(_: object) -> None:
        waiting.set()
        await asyncio.Event().wait()

    guard = bound(never, is_async=True, fail_closed=True)
    task = asyncio.get_running_loop().create_task(decide(guard, EXCHANGE))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (guard.failures, guard.calls) == (0, 1)
