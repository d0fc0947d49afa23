"""A session's calls one after the other, and what each of them lost."""

from __future__ import annotations

from typing import Any

from perimeter_plugin_live_trace.cache.breaks import judge, missed, pieces
from perimeter_plugin_live_trace.cache.money import LEAST, lost_nano, lost_tokens
from perimeter_plugin_live_trace.cache.views import BREAKS, Piece, Report, Step, Sums
from perimeter_plugin_live_trace.store import Reader, models


MOST_CALLS = 2000
"""That are looked at, of one session."""
_GOOD = 0.8
"""Of what could be cached; less is worth a word."""
_REPORTS = (
    b'"cached_tokens"',
    b'"cache_read_input_tokens"',
    b'"cachedContentTokenCount"',
    b'"prompt_cache_hit_tokens"',
)
"""How providers call it; one that has none of them says nothing about its cache."""

_C = models.Call
COLUMNS = (
    _C.id, _C.session_id, _C.number, _C.model, _C.dialect, _C.started_us, _C.dur_us, _C.messages,
    _C.carried, _C.rewritten, _C.system_digest, _C.envelope_blob, _C.node_id, _C.response_blob,
    _C.tok_in, _C.tok_cached, _C.tok_cache_write,
)  # fmt: skip


def report(reader: Reader, session_id: int, *, start: int = 0, limit: int = 50) -> Report:
    """
    Return what happened to the cache in a session.

    Args:
        reader: The database.
        session_id: The row of the session.
        start: Show the steps of calls with larger numbers.
        limit: Steps to show.
    """
    query = _C.select(*COLUMNS).where(_C.session_id == session_id)
    calls = reader.rows(query.order_by(_C.number).limit(MOST_CALLS + 1))
    cut, calls = len(calls) > MOST_CALLS, calls[:MOST_CALLS]
    says = speaks(reader, calls)
    sums = Sums()
    steps: list[Step] = []
    for before, call, shared in pairs(calls):
        shown = call.number > start and len(steps) < limit
        step = _step(reader, before, call, shared, says=says, shown=shown)
        add(sums, step)
        if shown:
            steps.append(step)
    return Report(sums=sums, steps=steps, notes=_notes(sums, says=says, cut=cut), cut=cut)


def pairs(calls: list[Any]) -> list[tuple[Any | None, Any, int]]:
    """
    Return calls with the answered one before each, and how many messages the two share.

    Calls that were not answered have cached nothing, but are what the next one was compared with
    when it was stored: what two calls share is the least that any between them shared.
    """
    found: list[tuple[Any | None, Any, int]] = []
    before: Any | None = None
    shared = 1 << 60
    for call in calls:
        shared = min(shared, call.carried)
        if call.tok_in:
            found.append((before, call, shared))
            before, shared = call, 1 << 60
    return found


def speaks(reader: Reader, calls: list[Any]) -> bool:
    """Whether the provider says how much was cached: in numbers, or in the answers' own words."""
    answered = [call for call in calls if call.tok_in]
    if any(call.tok_cached or call.tok_cache_write for call in answered):
        return True
    looked_at = [call for call in answered if call.response_blob][:3]
    return any(
        word in data for call in looked_at for data in [reader.blob(call.response_blob)]
        for word in _REPORTS
    )  # fmt: skip


def _step(
    reader: Reader, before: Any | None, call: Any, shared: int, *, says: bool, shown: bool
) -> Step:
    cached = min(call.tok_cached or 0, call.tok_in)
    write = call.tok_cache_write or 0
    lost = lost_tokens(before.tok_in, call.tok_in, cached) if before is not None and says else 0
    found = _cause(reader, before, call, shared, cached=cached, lost=lost, says=says)
    cause, words, at = found
    was: Piece | None = None
    now: Piece | None = None
    if at is not None and before is not None and shown:
        was, now = pieces(reader, before, call, at)
    if cause in {"kept", "first", "short"}:
        lost = 0
    price = reader.known.prices.price_of(call.model)
    return Step(
        number=call.number,
        before=before.number if before is not None else 0,
        at_us=call.started_us,
        gap_us=_gap(before, call),
        model=call.model,
        tok_in=call.tok_in,
        tok_cached=cached if says else None,
        tok_write=write,
        share=cached / call.tok_in if says else None,
        cause=cause,
        words=words,
        broke_at=None if at is None else at + 1,
        was=was,
        now=now,
        lost_tokens=lost,
        lost_nano=lost_nano(price, call.tok_in, cached, write, lost),
    )


def _cause(
    reader: Reader,
    before: Any | None,
    call: Any,
    shared: int,
    *,
    cached: int,
    lost: int,
    says: bool,
) -> tuple[str, str, int | None]:
    """Return the cause, the words for it, and after how many messages the prompts part."""
    if before is None:
        return "first", "The first call: there was nothing that could be cached.", None
    found = judge(reader, before, call, shared)
    if found is not None:
        return found.cause, found.words, found.at
    if not says:
        return "unknown", "It continues the call before. The provider tells nothing.", None
    possible = min(before.tok_in, call.tok_in)
    small = possible < LEAST and cached > 0
    if small or (possible >= LEAST and lost <= possible * (1 - _GOOD)):
        return "kept", "It continues the call before, which came from the cache.", None
    why = missed(reader, before, call, possible)
    return why.cause, why.words, None


def _gap(before: Any | None, call: Any) -> int:
    return 0 if before is None else max(call.started_us - before.started_us, 0)


def add(sums: Sums, step: Step) -> None:
    """Add a step to sums."""
    sums.calls += 1
    sums.known += step.tok_cached is not None
    sums.tok_in += step.tok_in
    sums.tok_cached += step.tok_cached or 0
    sums.breaks += step.cause in BREAKS
    sums.missed += step.cause == "missed"
    sums.lost_tokens += step.lost_tokens
    sums.lost_nano += step.lost_nano or 0
    sums.unpriced += step.lost_nano is None


def _notes(sums: Sums, *, says: bool, cut: bool) -> list[str]:
    notes = []
    if sums.calls and not says:
        notes.append(
            "The provider says nothing about its cache in these answers, so there are no figures: "
            "only where a prompt stopped being a continuation of the one before."
        )
    if sums.unpriced:
        notes.append(
            "The price of some of these models is not known; what they lost is not in the sum."
        )
    if cut:
        notes.append(f"Only the first {MOST_CALLS:,} calls are looked at.")
    if sums.lost_tokens:
        notes.append(
            "What could have been cached is at most the prompt of the call before. The figures are "
            "list prices, and an estimate: providers cache in blocks, and not always."
        )
    return notes
