"""
Calling plugins: each traffic hook compiled once into a tuple of bound calls.

pluggy finds, validates and orders implementations; its own call costs over a microsecond even
where nobody implements the hook, can't await in order, and ends at the first failure.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from perimeter.errors import GuardFailed
from perimeter.verdicts import Block, Respond, Rewrite


if TYPE_CHECKING:
    import pluggy

    from perimeter.model import Exchange

log = logging.getLogger("perimeter.plugins")

GUARDS = ("guard_request", "guard_response", "guard_stream")
OBSERVERS = (
    "on_request",
    "on_response_start",
    "on_chunk",
    "on_response",
    "on_error",
    "on_verdict",
    "on_session_event",
)
ALLOWED: dict[str, tuple[type, ...]] = {
    "guard_request": (Block, Respond, Rewrite),
    "guard_response": (Block, Rewrite),
}
LOG_SECONDS = 20.0
"""After a failure was logged, further ones of the same hook are only counted for so long."""

perf_counter = time.perf_counter


@attrs.define(eq=False)
class Bound:
    """
    One implementation of a traffic hook, ready to call.

    Attributes:
        plugin: The plugin's name.
        hook: The hook's name.
        call: Takes the hook's arguments positionally, all of them.
        is_async: Whether what it returns must be awaited.
        fail_closed: Whether a failure of it refuses the exchange.
        timeout: Seconds it may take, where it is async.
        calls: How often it was called.
        seconds: How long that took in all.
        failures: How often it failed.
    """

    plugin: str
    hook: str
    call: Callable[..., Any]
    is_async: bool = False
    fail_closed: bool = False
    timeout: float = 2.0
    calls: int = 0
    seconds: float = 0.0
    failures: int = 0
    _quiet_until: float = 0.0
    _unlogged: int = 0

    def failed(self, error: BaseException) -> None:
        """Count a failure, and log it unless one was logged a moment ago."""
        self.failures += 1
        now = time.monotonic()
        if now < self._quiet_until:
            self._unlogged += 1
            return
        again = f" ({self._unlogged} more failures since the last report)" if self._unlogged else ""
        self._unlogged = 0
        self._quiet_until = now + LOG_SECONDS
        own = _own_frames(error)
        log.error("plugin %s failed in %s%s", self.plugin, self.hook, again, exc_info=own)


Chain = tuple[Bound, ...]


class HookCalls(NamedTuple):
    """How often a hook of a plugin was called, how many seconds that took, how often it failed."""

    calls: int = 0
    seconds: float = 0.0
    failures: int = 0


@attrs.frozen
class Hooks:
    """Every traffic hook's implementations in call order; empty where there are none."""

    guard_request: Chain = ()
    guard_response: Chain = ()
    guard_stream: Chain = ()
    on_request: Chain = ()
    on_response_start: Chain = ()
    on_chunk: Chain = ()
    on_response: Chain = ()
    on_error: Chain = ()
    on_verdict: Chain = ()
    on_session_event: Chain = ()

    @classmethod
    def compile(cls, manager: pluggy.PluginManager, *, timeout: float) -> Hooks:
        """
        Compile what is registered.

        Args:
            manager: With every plugin registered and validated.
            timeout: Seconds that an async guard may take.
        """
        return cls(**{name: _chain(manager, name, timeout) for name in (*GUARDS, *OBSERVERS)})

    @property
    def observers(self) -> Hooks:
        """The same without guards."""
        return attrs.evolve(self, guard_request=(), guard_response=(), guard_stream=())

    @property
    def observes(self) -> bool:
        """Whether anybody looks at exchanges."""
        return bool(
            self.on_request
            or self.on_response_start
            or self.on_chunk
            or self.on_response
            or self.on_error
            or self.on_verdict
            or self.guard_request
            or self.guard_response
            or self.guard_stream
        )

    @property
    def all(self) -> tuple[Bound, ...]:
        """Every bound call."""
        chains = (getattr(self, name) for name in (*GUARDS, *OBSERVERS))
        return tuple(bound for chain in chains for bound in chain)


def notify(chain: Chain, *arguments: object) -> None:
    """Tell observers, one after the other; none of them can disturb the others or the caller."""
    for bound in chain:
        started = perf_counter()
        try:
            bound.call(*arguments)
        except (Exception, SystemExit) as error:  # a plugin's failure is its own
            bound.failed(error)
        bound.seconds += perf_counter() - started
        bound.calls += 1


async def decide(bound: Bound, exchange: Exchange) -> Any:
    """
    Ask one guard.

    Returns:
        Its verdict (or stream guard), or None; also None where it failed and fails open.

    Raises:
        GuardFailed: It failed, or took too long, and fails closed.
    """
    started = perf_counter()
    try:
        result = bound.call(exchange)
        # Also an ordinary function may return something to await.
        if bound.is_async or (result is not None and inspect.isawaitable(result)):
            result = await _in_time(bound, result)
        return _checked(bound, result)
    except (Exception, SystemExit) as error:
        bound.failed(error)
        if bound.fail_closed:
            message = f"the guard {bound.plugin} failed, and nothing passes without it"
            raise GuardFailed(bound.plugin, message) from error
        return None
    finally:
        bound.seconds += perf_counter() - started
        bound.calls += 1


async def _in_time(bound: Bound, waiting: Awaitable[Any]) -> Any:
    budget = asyncio.timeout(bound.timeout)
    try:
        async with budget:
            return await waiting
    except TimeoutError:
        if not budget.expired():  # it is the guard's own
            raise
        raise TimeoutError(f"it took longer than {bound.timeout:g} s") from None


def report(bound: Bound, error: BaseException) -> None:
    """Count and log a failure that the caller has caught itself."""
    bound.failed(error)


def _checked(bound: Bound, result: Any) -> Any:
    if result is None:
        return None
    allowed = ALLOWED.get(bound.hook)
    if allowed is None:
        fits = callable(getattr(result, "feed", None)) and callable(getattr(result, "close", None))
    else:
        fits = isinstance(result, allowed)
    if not fits:
        message = f"{bound.hook} returned {type(result).__name__}, which is no verdict of it"
        raise TypeError(message)
    return result


def _chain(manager: pluggy.PluginManager, name: str, timeout: float) -> Chain:
    caller = getattr(manager.hook, name)
    names = caller.spec.argnames
    bound = []
    for implementation in reversed(caller.get_hookimpls()):
        function = implementation.function
        bound.append(
            Bound(
                plugin=implementation.plugin_name,
                hook=name,
                call=_adapted(function, names, implementation.argnames),
                is_async=inspect.iscoroutinefunction(function),
                fail_closed=bool(getattr(implementation.plugin, "fail_closed", False)),
                timeout=timeout,
            )
        )
    return tuple(bound)


def _adapted(
    function: Callable[..., Any], offered: tuple[str, ...], wanted: tuple[str, ...]
) -> Callable[..., Any]:
    """Return the function as one that takes all of the hook's arguments positionally."""
    if wanted == offered:
        return function
    if not wanted:
        return lambda *_: function()
    positions = [offered.index(name) for name in wanted]
    if len(positions) == 1:
        position = positions[0]
        return lambda *arguments: function(arguments[position])
    pick = itemgetter(*positions)
    return lambda *arguments: function(*pick(arguments))


def _own_frames(error: BaseException) -> BaseException:
    """Cut the frames of the dispatcher, so that a traceback begins in the plugin's own code."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == __name__:
        frames = frames.tb_next
    return error.with_traceback(frames or error.__traceback__)
