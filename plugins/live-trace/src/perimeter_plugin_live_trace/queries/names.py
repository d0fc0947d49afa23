"""What agents are called."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent


class AgentName(msgspec.Struct, frozen=True):
    """An agent as it is named in tables and links."""

    id: int
    key: str
    name: str


NOBODY = AgentName(0, "", "no agent")


def agent_name(row_id: int, key: str, name: str) -> AgentName:
    """Return what to call an agent: its name, or its id where nobody named it."""
    return AgentName(row_id, key, name or key)


def agent_names(reader: Reader, ids: Iterable[int | None]) -> dict[int, AgentName]:
    """Return the names of agents; those that are gone are named by number."""
    wanted = sorted({each for each in ids if each})
    found = {0: NOBODY}
    for start in range(0, len(wanted), 500):
        some = wanted[start : start + 500]
        query = Agent.select(Agent.id, Agent.key, Agent.name).where(Agent.id.in_(some))
        found |= {row[0]: agent_name(*row) for row in reader.rows(query)}
    return {each: found.get(each, AgentName(each, "", f"agent {each}")) for each in [0, *wanted]}


def agent_by_key(reader: Reader, key: str) -> AgentName | None:
    """Return the agent with an id, if there is one."""
    row = reader.one(Agent.select(Agent.id, Agent.key, Agent.name).where(Agent.key == key))
    return agent_name(*row) if row else None
