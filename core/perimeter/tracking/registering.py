"""What the session store is told about a reply, so that it knows the next call by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from perimeter.calls import LLMReply, Part, ToolCall
from perimeter.model import Exchange
from perimeter.sessions.evidence import AskedTool, Reply, ReplyState
from perimeter.sessions.fingerprints import History
from perimeter.sessions.wording import numbered


AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 for which the official SDKs send a request again."""


def state_of(exchange: Exchange, said: LLMReply | None) -> ReplyState:
    """Return what became of a call that had a response, as far as the next step depends on it."""
    response = exchange.response
    if response is None:
        return "failed"
    if response.status >= 400:
        again = response.status >= 500 or response.status in AGAIN
        return "failed" if again else "refused"
    if said is not None and said.error:
        return "refused" if said.error_type.startswith("invalid_request") else "failed"
    return "answered" if said is not None and said.message is not None else "unknown"


def asked_tools(asked: Iterable[tuple[ToolCall, AskedTool]]) -> tuple[tuple[str, AskedTool], ...]:
    """Return tools by the ids that their results will come with; without ids by their names."""
    pairs = list(asked)
    keys = numbered(part.id or part.name for part, _ in pairs)
    return tuple(zip(keys, (tool for _, tool in pairs), strict=True))


def record_of(
    turn: tuple[int, int],
    state: ReplyState,
    history: History,
    parts: Sequence[Part],
    *,
    links: tuple[int, ...],
    tools: tuple[tuple[str, AskedTool], ...],
    events: int,
) -> Reply:
    """
    Return what the store is told.

    Args:
        turn: As the resolution has it.
        state: What became of the call.
        history: Of its request.
        parts: What the model said, as far as it came.
        links: Keys of the response's id.
        tools: Tools that it asks for.
        events: How many events the call gives.
    """
    if not parts or not history.chain:
        return Reply(turn, state, links=links, tools=tools, events=events)
    reached = history.continued_by(parts)
    answer = reached.answer
    return Reply(
        turn,
        state,
        reached.key,
        reached.trail,
        answer.digest,
        answer.sketch,
        answer.distinctive,
        answer.ids,
        answer.shape,
        links,
        tools,
        events,
    )
