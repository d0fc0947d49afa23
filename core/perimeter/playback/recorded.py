"""What is known of an exchange that happened, in the form in which it is played back."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perimeter.model import Outcome
from perimeter.verdicts import Headers, Verdict


@attrs.frozen
class Head:
    """
    A response's head.

    Attributes:
        at: Seconds since the exchange began.
        status: HTTP status.
        headers: Header fields, names lower-case.
    """

    at: float
    status: int
    headers: Headers = ()


@attrs.frozen
class Rewritten:
    """
    The request that went upstream, where a guard had changed it.

    Attributes:
        target: Path and query.
        headers: Header fields.
        body: The body.
    """

    target: str
    headers: Headers
    body: bytes = b""


@attrs.frozen
class RecordedSession:
    """
    The conversation that an exchange was found to belong to.

    Attributes:
        id: Its id.
        agent_id: The agent it belongs to, or None.
        match: Which evidence decided, "" where unknown.
        score: How alike, where fuzzy matching was tried.
    """

    id: str
    agent_id: str | None = None
    match: str = ""
    score: float | None = None


@attrs.frozen(eq=False)
class Recorded:
    """
    One exchange that happened. Times are seconds since it began, unless said otherwise.

    Attributes:
        id: The exchange's id.
        started_at: Unix time of its beginning.
        method: HTTP method.
        target: Path and query as the client sent them, without Perimeter's own prefixes.
        headers: The request's header fields, names lower-case.
        body: The request's body.
        truncated: Whether that lacks something.
        upstream: Name of the upstream.
        upstream_type: Which provider's API that spoke.
        workflow_id: From the path's prefix, or None.
        client: The peer's address, or "".
        sent: When the request went upstream; None if it never did.
        attempts: How often it did.
        rewritten: What went upstream instead, where a guard had changed it.
        head: The head of the response that the client got, or None.
        chunks: The pieces of that response's body: when, and the bytes.
        partial: Whether pieces of it are missing here.
        own: Whether the proxy or a guard made the response, and not the upstream.
        ended: When it was over.
        outcome: How it ended; None where the recording breaks off before that.
        error: Type and message of what kept it from completing, or None.
        verdicts: What guards decided, in order.
        session: The conversation, None where there was none or it is not known.
    """

    id: str
    started_at: float
    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    truncated: bool = False
    upstream: str = ""
    upstream_type: str = "raw"
    workflow_id: str | None = None
    client: str = ""
    sent: float | None = 0.0
    attempts: int = 1
    rewritten: Rewritten | None = None
    head: Head | None = None
    chunks: Sequence[tuple[float, bytes]] = ()
    partial: bool = False
    own: bool = False
    ended: float = 0.0
    outcome: Outcome | None = None
    error: tuple[str, str] | None = None
    verdicts: Sequence[tuple[str, Verdict]] = ()
    session: RecordedSession | None = None
