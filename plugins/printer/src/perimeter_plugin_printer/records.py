"""What the hooks hand to the printing thread: little, and nothing that changes later."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from perimeter import Block, ExchangeError, Respond, Rewrite, Stop
from perimeter_plugin_printer.text import human_size
from perimeter_plugin_printer.told import NOTHING, Told


if TYPE_CHECKING:
    from perimeter import Event, Exchange, Request, Response, Verdict
    from perimeter.calls import Usage

_SHORT = 8


@attrs.define(eq=False)
class Call:
    """
    Which exchange a line is about.

    Attributes:
        id: The exchange's id.
        session: The conversation's id, "" where there is none.
        agent: Whose conversation it is, "" where nobody knows.
        upstream: Name of its upstream.
        dialect: Name of its dialect.
        method: As it went upstream.
        path: The raw path.
        query: The raw query string.
    """

    id: str
    session: str
    agent: str
    upstream: str
    dialect: str
    method: str
    path: str
    query: str

    @property
    def short_id(self) -> str:
        """Enough of the id to tell exchanges apart on a terminal; ids begin with the time."""
        return self.id[-_SHORT:]

    @classmethod
    def of(cls, exchange: Exchange) -> Call:
        """Take what is printed of an exchange."""
        request, session = exchange.request, exchange.session
        return cls(
            exchange.id,
            session.id if session is not None else "",
            (session.agent_id or "") if session is not None else "",
            exchange.upstream,
            exchange.dialect.name,
            request.method,
            request.path,
            request.query,
        )


@attrs.define(eq=False)
class Sent:
    """
    A request went upstream.

    Attributes:
        call: Which.
        at: When; Unix time, seconds.
        workflow: Its workflow, or None.
        size: Bytes of the body, or None where nobody knows yet.
        body: The body, or None where it was not kept.
    """

    call: Call
    at: float
    workflow: str | None
    size: int | None
    body: bytes | None

    @classmethod
    def of(cls, exchange: Exchange) -> Sent:
        """Take what is printed of a request."""
        request = exchange.request
        waited = 0.0 if exchange.sent is None else exchange.sent - exchange.started
        return cls(
            Call.of(exchange),
            exchange.started_at + waited,
            exchange.workflow_id,
            _size(request),
            request.body,
        )

    @property
    def held(self) -> int:
        """Bytes of body that this record keeps in memory."""
        return len(self.body or b"")

    def without_body(self) -> Sent:
        """Return the record with nothing kept."""
        return attrs.evolve(self, body=None)


@attrs.define(eq=False)
class Ended:
    """
    An exchange ended.

    Attributes:
        call: Which.
        at: When; Unix time, seconds.
        outcome: How.
        status: HTTP status that the client got, or None where it got none.
        seconds: How long it took.
        first_byte: Seconds until the first body byte, or None where there was none.
        size: Bytes of body delivered.
        attempts: How often the request was sent.
        framing: What kind of stream the response was, or None.
        response: The response, or None where its body is not printed.
        code: The name of the reason why it did not complete, or "".
        reason: That reason in words, or "".
        usage: Tokens, or None where nobody knows.
        told: What its last event told: cost and error.
    """

    call: Call
    at: float
    outcome: str
    status: int | None
    seconds: float
    first_byte: float | None
    size: int
    attempts: int
    framing: str | None
    response: Response | None
    code: str
    reason: str
    usage: Usage | None
    told: Told

    @property
    def partial(self) -> bool:
        """Whether only a part of the body was kept."""
        return self.response is None or self.response.truncated

    @classmethod
    def of(
        cls,
        exchange: Exchange,
        error: Exception | None = None,
        *,
        bodies: bool,
        told: Told = NOTHING,
    ) -> Ended:
        """Take what is printed of an exchange's end."""
        response, reply = exchange.response, exchange.llm_reply
        framing = response.framing if response else None
        seconds = exchange.duration or 0.0
        return cls(
            Call.of(exchange),
            exchange.started_at + seconds,
            str(exchange.outcome or ""),
            response.status if response else None,
            seconds,
            exchange.time_to_first_byte,
            response.size if response else 0,
            exchange.attempts,
            framing,
            response if bodies or framing else None,
            "" if error is None else _code(error),
            "" if error is None else str(error),
            reply.usage if reply is not None else None,
            told,
        )

    @property
    def held(self) -> int:
        """Bytes of body that this record keeps in memory."""
        return self.size if self.response is not None else 0

    def without_body(self) -> Ended:
        """Return the record with nothing kept."""
        return attrs.evolve(self, response=None)


@attrs.define(eq=False)
class Decided:
    """
    A guard decided something.

    Attributes:
        call: About which exchange.
        at: When; Unix time, seconds.
        plugin: Whose guard.
        verdict: What kind of decision.
        reason: Why, or what was changed; "" where there is nothing to say.
    """

    call: Call
    at: float
    plugin: str
    verdict: type[Verdict]
    reason: str
    held: ClassVar[int] = 0

    @classmethod
    def of(cls, exchange: Exchange, at: float, plugin: str, verdict: Verdict) -> Decided:
        """Take what is printed of a verdict; the bodies that it may carry are not."""
        return cls(Call.of(exchange), at, plugin, type(verdict), _reason_of(verdict))


@attrs.define(eq=False)
class Happened:
    """
    Something happened in a session.

    Attributes:
        event: What.
    """

    event: Event
    held: ClassVar[int] = 0


Record = Sent | Ended | Decided | Happened


def _size(request: Request) -> int | None:
    if request.body is not None and not request.truncated:
        return len(request.body)
    length = request.header("content-length")
    return int(length) if length and length.isdecimal() and len(length) < 20 else None


def _reason_of(verdict: Verdict) -> str:
    match verdict:
        case Block(reason=reason) | Stop(reason=reason):
            return reason
        case Respond(status=status):
            return f"with status {status}"
        case Rewrite():
            return ", ".join(_changes(verdict))


def _changes(rewrite: Rewrite) -> list[str]:
    changes = []
    if rewrite.body is not None:
        changes.append(f"body of {human_size(len(rewrite.body))}")
    if rewrite.headers is not None:
        changes.append("headers")
    if rewrite.upstream is not None:
        changes.append(f"upstream {rewrite.upstream}")
    return changes


def _code(error: Exception) -> str:
    return error.code if isinstance(error, ExchangeError) else type(error).__name__
