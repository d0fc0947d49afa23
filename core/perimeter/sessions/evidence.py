"""
What a call tells about the session it belongs to, and what a store answers.

Everything here but `Evidence.history` is plain numbers and words, so that a store may be in another
process: it gets all that it needs in one batch, and never a conversation's content.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from perimeter.sessions.fingerprints import NO_TRAIL, Sketch, Trail


if TYPE_CHECKING:
    from perimeter.sessions.fingerprints import History

Method = Literal["header", "link", "fingerprint", "prefix", "fuzzy", "reset", "new"]
"""Which evidence decided, strongest first; `reset` and `new` made a new session."""

ReplyState = Literal["answered", "unknown", "failed", "refused"]

Ending = Literal["idle", "expired", "evicted", "shutdown"]


@attrs.define(eq=False)
class Evidence:
    """
    What a request tells about its session. Keys are 64-bit digests that have the tenant in them.

    Attributes:
        exchange_id: The exchange.
        name: Key of the session id that the client sent, 0 for none.
        session_id: That id as it was sent, "" for none.
        links: Keys of the protocol's own links: the response it follows, the stored conversation.
        history: The conversation that it carries.
        system: Key of the system prompt, 0 for none; conversations of the same agent are preferred.
        model: The model in short; conversations with the same one are preferred.
        run: Key of the execution it belongs to, 0 where unknown; another execution's sessions are
            never candidates.
        agent_id: The agent.
        workflow_id: The workflow, or None.
        retry: Whether the client says that it repeats a failed attempt.
        reset: Whether its last words ask for a new start.
    """

    exchange_id: str
    history: History
    name: int = 0
    session_id: str = ""
    links: tuple[int, ...] = ()
    system: int = 0
    model: int = 0
    run: int = 0
    agent_id: str = ""
    workflow_id: str | None = None
    retry: bool = False
    reset: bool = False


@attrs.frozen
class AskedTool:
    """
    A tool call that a reply made, until its result comes.

    Attributes:
        name: The tool.
        at: When the reply was complete; Unix time, seconds.
        span_id: Of the tool's events.
        call_span_id: Of the call that asked for it.
    """

    name: str
    at: float
    span_id: str
    call_span_id: str


@attrs.define
class Reply:
    """
    What became of a call, for the store to know the next one by.

    Attributes:
        turn: Which turn of which session, as `Resolution.turn` says.
        state: `answered`; `unknown` where the answer could not be read; `failed` where there was
            none, so that the client may try again; `refused` where that would not help it.
        key: Chain of the conversation with the answer in it; 0 where unknown.
        trail: The ids of its tool calls up to there.
        answer: Digest of the answer alone; 0 for none.
        sketch: To recognise the answer when a client changes it a little.
        distinctive: Whether no other conversation is likely to have the same answer.
        ids: Keys of the ids of its tool calls, those that look random.
        shape: What the first of these ids looks like.
        links: Keys under which the protocol may refer to it: the response's id.
        tools: The tool calls, by id.
        events: How many events the call gave.
    """

    turn: tuple[int, int]
    state: ReplyState
    key: int = 0
    trail: Trail = NO_TRAIL
    answer: int = 0
    sketch: Sketch = (0, 0, 0)
    distinctive: bool = False
    ids: tuple[int, ...] = ()
    shape: int = 0
    links: tuple[int, ...] = ()
    tools: tuple[tuple[str, AskedTool], ...] = ()
    events: int = 0


@attrs.frozen
class Ended:
    """
    A session that is over.

    Attributes:
        session_id: Its id.
        agent_id: Its agent.
        workflow_id: Its workflow, or None.
        reason: Why.
        started_at: Unix time of its first call.
        last_at: Unix time of its last call.
        events: How many events it had.
    """

    session_id: str
    agent_id: str
    workflow_id: str | None
    reason: Ending
    started_at: float
    last_at: float
    events: int


@attrs.define
class Resolution:
    """
    Where a call belongs.

    Attributes:
        session_id: The session.
        method: What decided.
        turn: What a `Reply` refers to.
        is_new: Whether the session began with this call.
        resumed: Whether it had ended, and goes on.
        score: How alike, from 0 to 1, where fuzzy matching was tried; None where it was not.
        known: How many of the request's messages were known already.
        retry_of: The failed exchange that this one repeats, or "".
        again: Whether the very same was asked before, so that its results of tools are no news.
        retold: Ids of tool calls whose results came before, as `numbered` makes them.
        tools: Asked tools whose results the request has, by the call's id.
        ended: Sessions that ended to make room, or because it was time.
    """

    session_id: str
    method: Method
    turn: tuple[int, int]
    is_new: bool = False
    resumed: bool = False
    score: float | None = None
    known: int = 0
    retry_of: str = ""
    again: bool = False
    retold: tuple[str, ...] = ()
    tools: tuple[tuple[str, AskedTool], ...] = ()
    ended: tuple[Ended, ...] = ()


class SessionStore(Protocol):
    """
    Knows the sessions, and decides which one a call belongs to.

    A store may be shared by several processes, and so be elsewhere: then its answers are awaited.
    """

    @property
    def secret(self) -> bytes:
        """What keys are made with, 32 bytes; the same for all who share the store."""

    @property
    def active(self) -> int:
        """How many sessions have not ended, as far as it is known here."""

    def resolve(
        self, evidence: Evidence, writes: Sequence[Reply]
    ) -> Resolution | Awaitable[Resolution]:
        """
        Take what became of earlier calls, then place this one.

        Args:
            evidence: What the call tells.
            writes: Replies since the last time, in order.
        """

    def write(self, replies: Sequence[Reply]) -> None:
        """Take what became of calls; returns at once."""

    def sweep(self) -> Sequence[Ended] | Awaitable[Sequence[Ended]]:
        """Return the sessions that ended since, each once over all processes."""

    async def close(self) -> Sequence[Ended]:
        """Keep what is to be kept, end all sessions, and let go of everything."""
