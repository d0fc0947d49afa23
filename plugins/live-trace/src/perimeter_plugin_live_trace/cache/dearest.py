"""The sessions that lost most for want of a cache."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from perimeter_plugin_live_trace.cache.money import lost_nano, lost_tokens
from perimeter_plugin_live_trace.cache.report import COLUMNS, pairs, speaks
from perimeter_plugin_live_trace.cache.views import Row, Sums
from perimeter_plugin_live_trace.queries.names import agent_names
from perimeter_plugin_live_trace.store import Reader, models


CANDIDATES = 200
"""Sessions that are looked at: those with the most input that was not cached."""
_MOST_CALLS = 10_000


def dearest(
    reader: Reader,
    from_us: int,
    to_us: int,
    *,
    agent: int | None = None,
    workflow: str = "",
    limit: int = 50,
) -> list[Row]:
    """
    Return sessions by what they lost, the most first.

    Args:
        reader: The database.
        from_us: Only sessions that something happened in since.
        to_us: Only sessions that something happened in before.
        agent: Only those of an agent, by its row.
        workflow: Only those of a workflow; "" for all.
        limit: How many.
    """
    sessions = _candidates(reader, from_us, to_us, agent, workflow)
    names = agent_names(reader, [each.agent_id for each in sessions])
    sums = _sums(reader, sessions)
    rows = [
        Row(
            public_id=each.public_id,
            title=each.title,
            agent=names[each.agent_id or 0].key,
            agent_name=names[each.agent_id or 0].name,
            models=each.models,
            last_us=each.last_us,
            turns=each.turns,
            sums=sums[each.id],
        )
        for each in sessions
        if each.id in sums
    ]
    rows.sort(key=lambda row: (-row.sums.lost_nano, -row.sums.lost_tokens, -row.sums.tok_in))
    return rows[:limit]


def _candidates(
    reader: Reader, from_us: int, to_us: int, agent: int | None, workflow: str
) -> list[Any]:
    table = models.Session
    condition = (table.last_us >= from_us) & (table.last_us < to_us) & (table.turns > 1)
    if agent is not None:
        condition &= table.agent_id == agent
    if workflow:
        condition &= table.workflow == workflow
    return reader.rows(
        table.select(
            table.id, table.public_id, table.title, table.agent_id, table.models, table.last_us,
            table.turns,
        )
        .where(condition)
        .order_by((table.tok_in - table.tok_cached).desc())
        .limit(CANDIDATES)
    )  # fmt: skip


def _sums(reader: Reader, sessions: list[Any]) -> dict[int, Sums]:
    """Return what sessions lost, of as many as there is time for."""
    table = models.Call
    wanted: list[int] = []
    total = 0
    for each in sessions:
        total += each.turns
        if wanted and total > _MOST_CALLS:
            break
        wanted.append(each.id)
    query = table.select(*COLUMNS).where(table.session_id.in_(wanted))
    found = reader.rows(query.order_by(table.session_id, table.number).limit(_MOST_CALLS))
    grouped = groupby(found, key=lambda call: call.session_id)
    return {session: _lost(reader, list(calls)) for session, calls in grouped}


def _lost(reader: Reader, calls: list[Any]) -> Sums:
    sums, says, prices = Sums(), speaks(reader, calls), reader.known.prices
    for before, call, shared in pairs(calls):
        cached = min(call.tok_cached or 0, call.tok_in)
        sums.calls += 1
        sums.known += says
        sums.tok_in += call.tok_in
        sums.tok_cached += cached
        if before is None:
            continue
        sums.breaks += before.model != call.model or shared < before.messages
        lost = lost_tokens(before.tok_in, call.tok_in, cached) if says else 0
        if lost <= min(before.tok_in, call.tok_in) // 5 and shared >= before.messages:
            lost = 0  # as good as all of it was cached
        write = call.tok_cache_write or 0
        cost = lost_nano(prices.price_of(call.model), call.tok_in, cached, write, lost)
        sums.lost_tokens += lost
        sums.lost_nano += cost or 0
        sums.unpriced += cost is None
    return sums
