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


def describe(reply: Reply, history: History, parts: Sequence[Part]) -> None:
    """
    Say in a reply how it is known again.

    Args:
        reply: What the store is told.
        history: Of its request.
        parts: What the model said, as far as it came.
    """
    if not parts or not history.chain:
        return
    reached = history.continued_by(parts)
    answer = reached.answer
    reply.key, reply.trail = reached.key, reached.trail
    reply.answer, reply.sketch = answer.digest, answer.sketch
    reply.distinctive, reply.ids, reply.shape = answer.distinctive, answer.ids, answer.shape
