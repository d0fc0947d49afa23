"""Which sessions a deletion means, and what was changed lately."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from perimeter_plugin_live_trace.queries.names import agent_by_key
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, Audit, Session


CHUNK = 50
"""Sessions that are deleted in one transaction: the writer has other things to do in between."""
MOST = 20_000
"""Sessions that one deletion may take."""


class Chosen(msgspec.Struct, frozen=True):
    """
    What to delete.

    Attributes:
        session: The row of a session, or None.
        agent: The row of an agent, or None.
        before_us: Sessions in which nothing happened since, or None.
        reason: What the address of a deleted session says.
    """

    session: int | None = None
    agent: int | None = None
    before_us: int | None = None
    reason: str = "deleted by hand"


class Change(msgspec.Struct, frozen=True):
    """An entry of the audit trail."""

    at_us: int
    action: str
    subject: str
    before: str
    after: str
    reason: str


def find(reader: Reader, what: str, value: str) -> Chosen | None:
    """Return the session with an id, or the agent with an id or a name."""
    if what == "session":
        row = reader.value(Session.select(Session.id).where(Session.public_id == value))
        return None if row is None else Chosen(session=row)
    agent = agent_by_key(reader, value)
    if agent is None:
        named = reader.rows(Agent.select(Agent.id).where(Agent.name == value).limit(2))
        return Chosen(agent=named[0].id) if len(named) == 1 else None
    return Chosen(agent=agent.id)


def chunks(reader: Reader, chosen: Chosen) -> Iterator[list[int]]:
    """Yield the rows of what is chosen, a few at a time; those before have to be deleted then."""
    if chosen.session is not None:
        yield [chosen.session]
        return
    query = Session.select(Session.id).order_by(Session.last_us, Session.id).limit(CHUNK)
    if chosen.agent is not None:
        query = query.where(Session.agent_id == chosen.agent)
    if chosen.before_us is not None:
        query = query.where(Session.last_us < chosen.before_us)
    last: list[int] = []
    for _ in range(MOST // CHUNK):
        ids = [row[0] for row in reader.rows(query)]
        if not ids or ids == last:
            return
        yield ids
        last = ids


def changes(reader: Reader, most: int = 20) -> list[Change]:
    """Return what people changed last."""
    query = Audit.select(
        Audit.at_us, Audit.action, Audit.subject, Audit.before, Audit.after, Audit.reason
    )
    return [Change(*row) for row in reader.rows(query.order_by(Audit.id.desc()).limit(most))]
