"""From the lines of a recording to what core plays back."""

from __future__ import annotations

import math
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perimeter.model import Outcome
from perimeter.playback import Head, Recorded, RecordedSession, Rewritten
from perimeter.verdicts import Block, Headers, Respond, Rewrite, Stop, Verdict, header
from perimeter_plugin_recorders.lines import EndLine, Fields, HeadLine, VerdictPart


if TYPE_CHECKING:
    from perimeter_plugin_recorders.recordings import Recording

LATEST = 253_402_300_799.0
"""Unix time of the last second that calendars know (year 9999)."""
LONGEST = 365 * 86_400.0
"""Seconds that an exchange may have taken."""

_NEVER_SENT = frozenset(
    {
        Outcome.RESPONDED,
        Outcome.BLOCKED,
        Outcome.REJECTED,
        Outcome.CLIENT_DISCONNECTED,
        Outcome.PROXY_ERROR,
    }
)
"""Outcomes that an exchange may have without its request ever going upstream."""

_FAILED = frozenset({Outcome.UPSTREAM_ERROR, Outcome.PROXY_ERROR})

_BELIED = frozenset({b"content-encoding", b"content-length"})
"""Fields that are not true of a body that was recorded without its content-encoding."""

Chunks = Sequence[tuple[float, bytes]]


class Unplayable(ValueError):
    """A recording that can't be played; the message says why."""


def recorded_of(recording: Recording) -> Recorded:
    """
    Return what core plays back.

    Raises:
        Unplayable: The recording contradicts itself.
    """
    try:
        return _recorded(recording)
    except (Base64Error, UnicodeEncodeError) as error:
        raise Unplayable(f"has bytes that can't be read: {error}") from error


def _recorded(recording: Recording) -> Recorded:
    request, head, end = recording.request, recording.head, recording.end
    outcome = _outcome(end)
    sent_at = _sent_at(end, outcome)
    chunks = [(chunk.at, chunk.data) for chunk in recording.chunks]
    own = _is_own(end, outcome, sent_at)
    made = Recorded(
        id=request.exchange,
        started_at=request.at,
        method=request.method,
        target=request.target,
        headers=_without(_headers(request.headers), _BELIED if request.decoded else frozenset()),
        body=request.data,
        truncated=request.truncated,
        upstream=request.upstream,
        upstream_type=request.upstream_type,
        workflow_id=request.workflow_id,
        client=request.client,
        sent=sent_at,
        attempts=end.attempts if end else 1,
        rewritten=_rewritten(recording),
        head=_head(head, request.method, outcome, chunks) if head else None,
        chunks=chunks,
        partial=bool(end and (end.truncated or end.lost)),
        own=own and head is not None,
        ended=_ended(head, chunks, end),
        outcome=outcome,
        error=end.error if end else None,
        verdicts=_verdicts(end.verdicts if end else [], head, chunks),
        session=_session(recording),
    )
    _check(made)
    return made


def _outcome(end: EndLine | None) -> Outcome | None:
    if end is None:
        return None
    try:
        return Outcome(end.outcome)
    except ValueError:
        raise Unplayable(f"has the unknown outcome {end.outcome!r}") from None


def _sent_at(end: EndLine | None, outcome: Outcome | None) -> float | None:
    """Return when it went upstream; recordings of other products do not say."""
    if end is None or outcome not in _NEVER_SENT:
        return (end and end.sent) or 0.0
    return end.sent


def _is_own(end: EndLine | None, outcome: Outcome | None, sent_at: float | None) -> bool:
    """Whether the response was none of the upstream's, of which a digest would be there."""
    if end is None:
        return False
    if outcome in {Outcome.RESPONDED, Outcome.REJECTED}:
        return True
    return sent_at is None or (outcome in _FAILED and not end.received)


def _headers(fields: Fields) -> Headers:
    return tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields
    )


def _head(head: HeadLine, method: str, outcome: Outcome | None, chunks: Chunks) -> Head:
    """Return the head, without fields that the body as it was recorded belies."""
    headers = _headers(head.headers)
    drop: frozenset[bytes] = frozenset()
    if head.decoded:
        drop = _BELIED
    elif (length := header(headers, b"content-length")) is not None:
        size = sum(len(data) for _, data in chunks)
        bodiless = method == "HEAD" or head.status in {204, 304}
        whole = outcome is Outcome.COMPLETED and not bodiless
        if not length.isdigit() or size > int(length) or (whole and size != int(length)):
            drop = frozenset({b"content-length"})
    return Head(head.at, head.status, _without(headers, drop))


def _without(headers: Headers, drop: frozenset[bytes]) -> Headers:
    return tuple(field for field in headers if field[0] not in drop)


def _rewritten(recording: Recording) -> Rewritten | None:
    sent = recording.sent
    if sent is None:
        return None
    return Rewritten(sent.target, _headers(sent.headers), sent.data)


def _ended(head: HeadLine | None, chunks: Chunks, end: EndLine | None) -> float:
    if end is not None:
        return end.at
    return max([0.0, *([head.at] if head else []), *(at for at, _ in chunks[-1:])])


def _verdicts(
    parts: Sequence[VerdictPart], head: HeadLine | None, chunks: Chunks
) -> list[tuple[str, Verdict]]:
    return [(part.plugin, _verdict(part, head, chunks)) for part in parts]


def _verdict(part: VerdictPart, head: HeadLine | None, chunks: Chunks) -> Verdict:
    status = head.status if head else 403
    match part.kind.lower():
        case "block":
            return Block(part.reason, status)
        case "respond":
            body = b"".join([data for _, data in chunks])
            return Respond(body, status, _headers(head.headers) if head else ())
        case "rewrite":
            return Rewrite()
        case "stop":
            return Stop(part.reason)
        case other:
            raise Unplayable(f"has the unknown verdict {other!r}")


def _session(recording: Recording) -> RecordedSession | None:
    said = recording.end.session if recording.end else None
    if said is None:
        return RecordedSession(recording.owner) if recording.owner else None
    if not said.id:
        return None
    return RecordedSession(said.id, said.agent_id, said.match, said.score)


def _check(made: Recorded) -> None:
    """
    Refuse what no proxy can have recorded.

    Raises:
        Unplayable: It says what is wrong.
    """
    if not made.id:
        raise Unplayable("has no id")
    if not 0 <= made.started_at <= LATEST:
        raise Unplayable(f"began at {made.started_at:g}, which is no time")
    offsets = [made.ended, made.sent or 0.0, *([made.head.at] if made.head else [])]
    offsets += [at for at, _ in made.chunks]
    if not all(0 <= at <= LONGEST and math.isfinite(at) for at in offsets):
        raise Unplayable("has times that can't be")
