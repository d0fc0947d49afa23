"""
Every hook a plugin may implement: its signature and what it means. Nothing else.

Implementations carry `@perimeter.hookimpl`, may leave out arguments they do not need, and must not
give arguments defaults. Argument order is part of the API: new arguments are only ever appended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy


if TYPE_CHECKING:
    from perimeter.dashboard import Extension
    from perimeter.dialects import Dialect
    from perimeter.model import Chunk, Event, Exchange, Session
    from perimeter.verdicts import Block, Respond, Rewrite, StreamGuard, Verdict

F = TypeVar("F", bound=Callable[..., Any])

PROJECT = "perimeter"

hookspec = cast("Callable[[F], F]", pluggy.HookspecMarker(PROJECT))
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a method as the implementation of the hook of the same name."""

Closer = Callable[[], Awaitable[None] | None]


class ContributeSpecs:
    """Called once while the application is built. Not async. A failure is fatal at start."""

    @hookspec
    def routes(self) -> Sequence[Any]:  # type: ignore[empty-body]  # a specification has no body
        """Return Litestar route handlers; they are mounted under `/-/<plugin>/`."""

    @hookspec
    def dialects(self) -> Sequence[Dialect]:  # type: ignore[empty-body]  # a specification
        """Return further provider APIs; they are matched before the built-in ones."""

    @hookspec
    def session_stores(self) -> dict[str, Any]:  # type: ignore[empty-body]  # a specification
        """Return factories of session stores by the name used in the configuration."""

    @hookspec
    def dashboard(self) -> Extension:  # type: ignore[empty-body]  # a specification
        """
        Return what this plugin adds to the dashboard, for whichever plugin shows it.

        The dashboard runs in a process of its own, so that this says how to make pages, background
        jobs, kinds of record and MCP tools there: see `perimeter.dashboard`.
        """


class LifecycleSpecs:
    """May be async, and are awaited one by one in call order (`shutdown` in reverse)."""

    @hookspec
    def supervise(self) -> Awaitable[Closer | None] | Closer | None:
        """
        Set up what there is one of per proxy: a port, a child process, a sender.

        Called in the supervising process before any worker's `startup`, on an instance of its own
        where there are several workers. A failure is fatal.

        Returns:
            What to call at the very end (it may be async), or None.
        """

    @hookspec
    def startup(self) -> Awaitable[None] | None:
        """Prepare for traffic: called in every worker before it accepts. A failure is fatal."""

    @hookspec
    def shutdown(self) -> Awaitable[None] | None:
        """Let go of everything: called in every worker after its last exchange."""


class GuardSpecs:
    """
    Decide before the thing happens. May be async; called in order; bounded by a time budget.

    A guard that raises or takes too long is passed over (it *fails open*), unless its plugin says
    `fail_closed = True`: then the client gets 503, or the stream is stopped.
    """

    @hookspec
    def guard_request(
        self, exchange: Exchange
    ) -> Awaitable[Block | Respond | Rewrite | None] | Block | Respond | Rewrite | None:
        """Decide over a request before it goes upstream; `exchange.request` is what would go."""

    @hookspec
    def guard_response(
        self, exchange: Exchange
    ) -> Awaitable[Block | Rewrite | None] | Block | Rewrite | None:
        """Decide over a response that is not a stream, whole, before its head goes out."""

    @hookspec
    def guard_stream(
        self, exchange: Exchange
    ) -> Awaitable[StreamGuard | None] | StreamGuard | None:
        """Return a guard for this stream, or None to let it pass uncut."""


class ObserveSpecs:
    """
    Observe after the thing happened. Never async; what is returned is ignored.

    An observer can't change traffic; one that raises is logged, counted and isolated. It runs on
    the event loop: give anything slow to `context.worker`.
    """

    @hookspec
    def on_request(self, exchange: Exchange) -> None:
        """The request has gone upstream. Not called for one that a guard answered or refused."""

    @hookspec
    def on_response_start(self, exchange: Exchange) -> None:
        """The response's head has gone to the client."""

    @hookspec
    def on_chunk(self, exchange: Exchange, chunk: Chunk) -> None:
        """A piece of the response body has gone to the client."""

    @hookspec
    def on_response(self, exchange: Exchange) -> None:
        """The exchange ended with a response: completed, responded or blocked."""

    @hookspec
    def on_error(self, exchange: Exchange, error: Exception) -> None:
        """The exchange ended any other way."""

    @hookspec
    def on_verdict(self, exchange: Exchange, plugin: str, verdict: Verdict) -> None:
        """A guard of `plugin` decided something."""

    @hookspec
    def on_session_event(self, session: Session | None, event: Event) -> None:
        """Something happened in a session, or a plugin emitted an event."""


SPECS = (ContributeSpecs, LifecycleSpecs, GuardSpecs, ObserveSpecs)
