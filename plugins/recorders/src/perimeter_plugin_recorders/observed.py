"""What the event loop hands to the recorder's thread: references, and nothing that is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from perimeter.verdicts import Headers


if TYPE_CHECKING:
    from perimeter import Exchange, Request, Session


@attrs.define(eq=False)
class Asked:
    """
    The request of an exchange, without what comes later.

    Attributes:
        original: As the client sent it.
        sent: As it goes upstream.
        bodies: Whether there was room in memory for their bodies.
    """

    original: Request
    sent: Request
    bodies: bool
    started_at: float
    upstream: str
    upstream_type: str
    dialect: str
    workflow_id: str | None
    client: str

    @classmethod
    def of(cls, exchange: Exchange, *, bodies: bool) -> Asked:
        """Take what there is to say about a request."""
        original, sent = exchange.original, exchange.request
        if not bodies:
            original, sent = _without_body(original), _without_body(sent)
        return cls(
            original,
            sent,
            bodies,
            exchange.started_at,
            exchange.upstream,
            exchange.dialect.upstream_type,
            exchange.dialect.name,
            exchange.workflow_id,
            exchange.client,
        )


@attrs.define(eq=False)
class Head:
    """A response's head: seconds since the request, and what it says."""

    at: float
    status: int
    headers: Headers
    framing: str | None


@attrs.define(eq=False)
class End:
    """How an exchange ended, without what would keep its bodies in memory."""

    at: float
    outcome: str
    error: Exception | None
    attempts: int
    sent: float | None
    session: Session | None
    verdicts: list[tuple[str, str, str]]
    received: str
    delivered: str
    size: int
    lost: int
    truncated: bool

    @classmethod
    def of(cls, exchange: Exchange, error: Exception | None, *, lost: int, over: bool) -> End:
        """Take what there is to say about an exchange that is over."""
        response = exchange.response
        return cls(
            exchange.duration or 0.0,
            str(exchange.outcome),
            error,
            exchange.attempts,
            None if exchange.sent is None else exchange.sent - exchange.started,
            exchange.session,
            [
                (plugin, type(verdict).__name__.lower(), getattr(verdict, "reason", ""))
                for plugin, verdict in exchange.verdicts
            ],
            "" if response is None else response.received_digest,
            "" if response is None else response.delivered_digest,
            0 if response is None else response.size,
            lost,
            over,
        )


def _without_body(request: Request) -> Request:
    if not request.body:
        return request
    return attrs.evolve(request, body=None, truncated=True)
