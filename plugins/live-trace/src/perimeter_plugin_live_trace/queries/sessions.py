"""The list of sessions: which ones, in which order, and what is shown of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import msgspec

from perimeter_plugin_live_trace.queries import matching
from perimeter_plugin_live_trace.queries.language import SEVERITIES, Query
from perimeter_plugin_live_trace.queries.names import AgentName, agent_by_key, agent_names
from perimeter_plugin_live_trace.queries.paging import Count, Page, Place, capped_count, page
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, Call, Session, Tag


SORTS: dict[str, tuple[Any, ...]] = {
    "last": (Session.last_us, Session.id),
    "started": (Session.started_us, Session.id),
    "cost": (Session.cost_nano, Session.id),
    "tokens": (Session.tok_in, Session.id),
    "turns": (Session.turns, Session.id),
    "errors": (Session.errors, Session.id),
    "p95": (Session.p95_us, Session.id),
    "sev": (Session.sev, Session.last_us, Session.id),
}
"""What the list can be sorted by: each is an index."""
_MOST_TAGS = 20
_MOST_AGENTS = 50

_COLUMNS = [field for field in Session._meta.sorted_fields if field.name != "hist"]


@attrs.frozen
class Filter:
    """
    Which sessions are asked for.

    Attributes:
        query: What was typed.
        agent: An agent's key, or "".
        status: `active`, `done`, `stalled`, `error`, or "".
        sev: The least severity, 0 for any.
        from_us: Something happened in them since then.
        to_us: Nothing happened in them since then; None for now.
        ids: Only these, by their public ids; empty for all.
    """

    query: Query = Query()
    agent: str = ""
    status: str = ""
    sev: int = 0
    from_us: int = 0
    to_us: int | None = None
    ids: tuple[str, ...] = ()


class SessionRow(msgspec.Struct, frozen=True):
    """A session as a row of the list; costs in billionths of a dollar, times in microseconds."""

    id: int
    public_id: str
    title: str
    agent: AgentName
    workflow: str
    started_us: int
    last_us: int
    dur_us: int
    status: str
    running: int
    turns: int
    tools: int
    events: int
    errors: int
    tok_in: int
    tok_out: int
    tok_cached: int
    cost_nano: int
    unpriced: int
    p95_us: int
    llm_us: int
    tool_us: int
    sev: int
    findings: int
    pii: int
    models: list[str]
    tags: list[str]
    match: str
    rev: int
    last_seq: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.tok_in + self.tok_out

    @property
    def cost(self) -> int | None:
        """What is known of its cost; None where nothing is."""
        return None if self.unpriced and not self.cost_nano else self.cost_nano


def filtered(reader: Reader, wanted: Filter, now_us: int) -> Any:
    """Return the query for the sessions that are asked for, without order."""
    found: list[Any] = []
    if wanted.agent:
        agent = agent_by_key(reader, wanted.agent)
        found.append(Session.agent_id == (agent.id if agent else -1))
    if wanted.status:
        found.append(matching.has_status(wanted.status, now_us))
    if wanted.sev:
        found.append(Session.sev >= wanted.sev)
    if wanted.from_us:
        found.append(Session.last_us >= wanted.from_us)
    if wanted.to_us is not None:
        found.append(Session.last_us < wanted.to_us)
    if wanted.ids:
        found.append(Session.public_id.in_(wanted.ids))
    found += matching.conditions(reader, wanted.query, now_us)
    query = Session.select(*_COLUMNS)
    return query.where(*found) if found else query


def sessions_page(
    reader: Reader, wanted: Filter, sort: str, at: Place | None, size: int, *, now_us: int
) -> Page:
    """Return a page of the list; `sort` is one of `SORTS`, with `-` for the largest first."""
    keys = SORTS[sort.removeprefix("-")]
    query = filtered(reader, wanted, now_us)
    found = page(reader, query, keys, at=at, size=size, down=sort.startswith("-"))
    return msgspec.structs.replace(found, rows=rows_of(reader, found.rows, now_us))


def counted(reader: Reader, wanted: Filter, now_us: int, most: int = 10_000) -> Count:
    """Return how many sessions are asked for, counted up to a limit."""
    return capped_count(reader, filtered(reader, wanted, now_us), most)


def rows_of(reader: Reader, rows: Sequence[Any], now_us: int) -> list[SessionRow]:
    """Return rows of sessions as they are shown."""
    names = agent_names(reader, [row.agent_id for row in rows])
    tags = tags_of(reader, [row.id for row in rows])
    late = _late(reader, [row.id for row in rows if row.running and row.status == "active"], now_us)
    return [_row(row, names, tags, late) for row in rows]


def _row(
    row: Any, names: dict[int, AgentName], tags: dict[int, list[str]], late: set[int]
) -> SessionRow:
    own = {"agent", "dur_us", "status", "models", "tags"}
    same = {name: getattr(row, name) for name in SessionRow.__struct_fields__ if name not in own}
    return SessionRow(
        **same,
        agent=names[row.agent_id or 0],
        dur_us=max(0, row.last_us - row.started_us),
        status="stalled" if row.id in late else row.status,
        models=[name for name in row.models.split(", ") if name],
        tags=tags.get(row.id, []),
    )


def _late(reader: Reader, ids: Sequence[int], now_us: int) -> set[int]:
    """Return which sessions wait for a call that runs for too long."""
    if not ids:
        return set()
    query = Call.select(Call.session_id).where(
        Call.session_id.in_(ids)
        & (Call.state == "running")
        & (Call.started_us < now_us - matching.STALLED_US)
    )
    return {row[0] for row in reader.rows(query)}


def tags_of(reader: Reader, ids: Iterable[int]) -> dict[int, list[str]]:
    """Return the tags of sessions, as `key=value`."""
    chosen = list(ids)
    found: defaultdict[int, list[str]] = defaultdict(list)
    if chosen:
        query = Tag.select(Tag.session_id, Tag.key, Tag.value).where(Tag.session_id.in_(chosen))
        for session, key, value in reader.rows(query.limit(_MOST_TAGS * len(chosen))):
            found[session].append(f"{key}={value}" if value else key)
    return {session: sorted(tags)[:_MOST_TAGS] for session, tags in found.items()}


def agents(reader: Reader) -> list[AgentName]:
    """Return the agents to choose from, the last seen first."""
    query = Agent.select(Agent.id, Agent.key, Agent.name).order_by(
        Agent.last_us.desc(), Agent.id.desc()
    )
    return [
        AgentName(row[0], row[1], row[2] or row[1])
        for row in reader.rows(query.limit(_MOST_AGENTS))
    ]


def severity(word: str) -> int:
    """Return the number of a severity's word, 0 for none."""
    return SEVERITIES.index(word) if word in SEVERITIES else 0
