"""What stores are told and answer, as plain data that can be sent to another process."""

from __future__ import annotations

from typing import cast

import msgspec

from perimeter.sessions.evidence import (
    Ended,
    Ending,
    Evidence,
    Method,
    Reply,
    ReplyState,
    Resolution,
)
from perimeter.sessions.fingerprints import History, Sketch
from perimeter.sessions.remote_history import PlainHistory, Wired
from perimeter.sessions.snapshot import (
    PlainTool,
    PlainTrail,
    asked_tools,
    plain_tools,
    to_bytes,
    to_text,
    trail_of,
)


class PlainReply(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A `Reply`."""

    turn: tuple[int, int]
    state: ReplyState
    key: int
    trail: PlainTrail
    answer: int
    sketch: Sketch
    distinctive: bool
    ids: tuple[int, ...]
    shape: int
    links: tuple[int, ...]
    tools: list[PlainTool]
    events: int


class PlainEvidence(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An `Evidence`."""

    exchange_id: bytes
    history: Wired
    name: int
    session_id: bytes
    links: tuple[int, ...]
    system: int
    model: int
    run: int
    agent_id: bytes
    workflow_id: bytes | None
    retry: bool
    reset: bool


class PlainEnded(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An `Ended`."""

    session_id: bytes
    agent_id: bytes
    workflow_id: bytes | None
    reason: Ending
    started_at: float
    last_at: float
    events: int


class PlainResolution(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A `Resolution` but for the sessions that ended."""

    session_id: bytes
    method: Method
    turn: tuple[int, int]
    is_new: bool
    resumed: bool
    score: float | None
    known: int
    retry_of: bytes
    again: bool
    retold: list[bytes]
    tools: list[PlainTool]


def plain_reply(reply: Reply, turn: tuple[int, int]) -> PlainReply:
    """Return a reply as it is sent, to a turn as it is called there."""
    return PlainReply(
        turn,
        reply.state,
        reply.key,
        (reply.trail.ids, reply.trail.shapes),
        reply.answer,
        reply.sketch,
        reply.distinctive,
        reply.ids,
        reply.shape,
        reply.links,
        plain_tools(reply.tools),
        reply.events,
    )


def reply_of(plain: PlainReply) -> Reply:
    """Return a reply from what was sent."""
    return Reply(
        plain.turn,
        plain.state,
        plain.key,
        trail_of(plain.trail),
        plain.answer,
        plain.sketch,
        plain.distinctive,
        plain.ids,
        plain.shape,
        plain.links,
        asked_tools(plain.tools),
        plain.events,
    )


def plain_evidence(evidence: Evidence, history: Wired) -> PlainEvidence:
    """Return evidence as it is sent, with so much of its history."""
    return PlainEvidence(
        to_bytes(evidence.exchange_id),
        history,
        evidence.name,
        to_bytes(evidence.session_id),
        evidence.links,
        evidence.system,
        evidence.model,
        evidence.run,
        to_bytes(evidence.agent_id),
        _optional_bytes(evidence.workflow_id),
        evidence.retry,
        evidence.reset,
    )


def evidence_of(plain: PlainEvidence) -> Evidence:
    """Return evidence from what was sent."""
    return Evidence(
        to_text(plain.exchange_id),
        cast("History", PlainHistory(plain.history)),  # reads as one, as far as stores do
        plain.name,
        to_text(plain.session_id),
        plain.links,
        plain.system,
        plain.model,
        plain.run,
        to_text(plain.agent_id),
        _optional_text(plain.workflow_id),
        plain.retry,
        plain.reset,
    )


def plain_resolution(found: Resolution) -> PlainResolution:
    """Return a resolution as it is sent."""
    return PlainResolution(
        to_bytes(found.session_id),
        found.method,
        found.turn,
        found.is_new,
        found.resumed,
        found.score,
        found.known,
        to_bytes(found.retry_of),
        found.again,
        [to_bytes(each) for each in found.retold],
        plain_tools(found.tools),
    )


def resolution_of(
    plain: PlainResolution, turn: tuple[int, int], ended: list[PlainEnded]
) -> Resolution:
    """
    Return a resolution from what was sent.

    Args:
        plain: What was sent.
        turn: The turn, as the worker calls it.
        ended: The sessions that ended.
    """
    return Resolution(
        to_text(plain.session_id),
        plain.method,
        turn,
        plain.is_new,
        plain.resumed,
        plain.score,
        plain.known,
        to_text(plain.retry_of),
        plain.again,
        tuple([to_text(each) for each in plain.retold]),
        asked_tools(plain.tools),
        tuple([ended_of(each) for each in ended]),
    )


def plain_ended(ended: Ended) -> PlainEnded:
    """Return the end of a session as it is sent."""
    return PlainEnded(
        to_bytes(ended.session_id),
        to_bytes(ended.agent_id),
        _optional_bytes(ended.workflow_id),
        ended.reason,
        ended.started_at,
        ended.last_at,
        ended.events,
    )


def ended_of(plain: PlainEnded) -> Ended:
    """Return the end of a session from what was sent."""
    return Ended(
        to_text(plain.session_id),
        to_text(plain.agent_id),
        _optional_text(plain.workflow_id),
        plain.reason,
        plain.started_at,
        plain.last_at,
        plain.events,
    )


def _optional_bytes(text: str | None) -> bytes | None:
    return None if text is None else to_bytes(text)


def _optional_text(data: bytes | None) -> str | None:
    return None if data is None else to_text(data)
