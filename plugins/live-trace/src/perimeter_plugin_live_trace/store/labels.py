"""Where events belong: their sessions and agents, made when they are first heard of."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from perimeter_plugin_live_trace.records import Happened
from perimeter_plugin_live_trace.store import texts
from perimeter_plugin_live_trace.store.work import Work


_MOST_TAGS = 100
_MOST_TOOLS = 300
_MOST_MODELS = 6
"""Names that a session's row lists; `session_models` has all of them."""


class Labels:
    """Finds and makes sessions and agents, and keeps what is said about them."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def place(self, record: Happened, ts_us: int) -> tuple[Any, Any]:
        """Return the agent and the session of an event, None each where it has none."""
        workflow = texts.identifier(record.attributes.get("agent_workflow.id"))
        agent = self._agent(record.agent, ts_us, workflow) if record.agent else None
        if not record.session:
            return agent, None
        session = self._session(record.session, ts_us, agent)
        if workflow and not session.workflow:
            session.workflow = workflow
        return agent, session

    def _agent(self, name: str, ts_us: int, workflow: str) -> Any:
        key = texts.identifier(name)
        agent = self._work.agents.get(key)
        if agent is None:
            return self._work.agents.add(
                key, key=key, workflow=workflow, first_us=ts_us, last_us=ts_us
            )
        agent.first_us = min(agent.first_us, ts_us)
        agent.last_us = max(agent.last_us, ts_us)
        agent.workflow = agent.workflow or workflow
        self._work.agents.change(agent)
        return agent

    def _session(self, name: str, ts_us: int, agent: Any) -> Any:
        public_id = texts.identifier(name)
        session = self._work.sessions.get(public_id)
        if session is None:
            session = self._work.sessions.add(
                public_id, public_id=public_id, started_us=ts_us, last_us=ts_us
            )
            # It was deleted perhaps, and goes on now.
            self._work.connection.execute("DELETE FROM gone WHERE public_id = ?", (public_id,))
        session.started_us = min(session.started_us, ts_us)
        session.last_us = max(session.last_us, ts_us)
        if agent is not None and session.agent_id is None:
            session.agent_id = agent.id
            agent.sessions += 1
        self._work.sessions.change(session)
        return session

    def begin(self, record: Happened, session: Any, agent: Any) -> None:
        """Take what the beginning of a session tells."""
        attributes = record.attributes
        if session is not None:
            session.match = session.match or texts.name(attributes.get("session.match"))
            session.status = "active"
        if agent is not None:
            self._offer(agent, attributes.get("tools"))
            prompt = attributes.get("prompt")
            if isinstance(prompt, str) and prompt:
                agent.prompt_blob = self._work.blobs.shared(texts.clean(prompt).encode())
        self.label(attributes, session)

    def _offer(self, agent: Any, tools: Any) -> None:
        """Note which tools an agent may use."""
        names = tools[:_MOST_TOOLS] if isinstance(tools, list) else []
        found = sorted({texts.name(name) for name in names} - {""})
        if found:
            agent.tools = msgspec.json.encode(found).decode()

    def label(self, attributes: dict[str, Any], session: Any) -> None:
        """Take the labels that a client gave a session."""
        if session is None:
            return
        session.run = session.run or texts.identifier(attributes.get("run.id"))
        tags = attributes.get("session.tags")
        if isinstance(tags, dict):
            for key, value in islice(tags.items(), _MOST_TAGS):
                pair = texts.name(key), texts.excerpt(_text(value), texts.NAME)
                self._work.tags.add((*pair, session.id))

    def model(self, session: Any, name: str) -> None:
        """Count a call of a model."""
        if not name:
            return
        key = (name, session.id)
        self._work.models[key] = self._work.models.get(key, 0) + 1
        known = session.models.split(", ") if session.models else []
        if name not in known and len(known) < _MOST_MODELS:
            session.models = ", ".join([*known, name])

    def tool(self, session: Any, name: str, *, calls: int, errors: int) -> None:
        """Count a call of a tool, or a failure of one."""
        counts = self._work.tools.setdefault((name, session.id), [0, 0])
        counts[0] += calls
        counts[1] += errors


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)[: texts.NAME]
