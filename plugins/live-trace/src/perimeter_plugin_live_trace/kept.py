"""`perimeter.dashboard.Records` on the database, for what other plugins add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import msgspec

from perimeter.dashboard import Record
from perimeter_plugin_live_trace.store import Reader, changes
from perimeter_plugin_live_trace.store.models import Agent, Document, Event, Session
from perimeter_plugin_live_trace.web.site import Changes


MOST = 1000
"""Of anything, at a time."""


@attrs.frozen(eq=False)
class KeptRecords:
    """Records of other plugins, and what they may read of sessions."""

    reader: Reader
    writer: Changes

    def get(self, kind: str, key: str) -> Record | None:
        """Return a record."""
        query = _records().where(Document.kind == kind, Document.key == key)
        row = self.reader.one(query)
        return None if row is None else _record(row)

    def find(self, kind: str, *, session: str = "", limit: int = 100) -> Sequence[Record]:
        """Return the records of a kind that were changed last, newest first."""
        query = _records().where(Document.kind == kind)
        if session:
            query = query.where(Session.public_id == session)
        newest = query.order_by(Document.changed_us.desc(), Document.id.desc())
        return [_record(row) for row in self.reader.rows(newest.limit(min(limit, MOST)))]

    def put(self, kind: str, record: Record) -> None:
        """Keep a record, in place of the one with its key."""
        session = Session.select(Session.id).where(Session.public_id == record.session)
        agent = Agent.select(Agent.id).where(Agent.key == record.agent)
        made = changes.put_document(
            kind,
            record.key,
            dict(record.body),
            session_id=self.reader.value(session) if record.session else None,
            agent_id=self.reader.value(agent) if record.agent else None,
        )
        self.writer.change(made)

    def delete(self, kind: str, key: str) -> None:
        """Delete a record, if it is there."""
        self.writer.change(changes.delete_document(kind, key))

    def events(
        self, session: str, *, after: int = 0, limit: int = 200
    ) -> Sequence[Mapping[str, Any]]:
        """Return events of a session as JSON values, with `seq`, in order, from after a `seq`."""
        query = (
            Event.select(
                Event.seq, Event.kind, Event.name, Event.ts_us, Event.status, Event.attributes_blob
            )
            .join(Session, on=(Session.id == Event.session_id))
            .where(Session.public_id == session, Event.seq > after)
            .order_by(Event.seq)
            .limit(min(limit, MOST))
        )
        return [self._event(row) for row in self.reader.rows(query)]

    def sessions(self, *, after: float = 0.0, limit: int = 100) -> Sequence[str]:
        """Return ids of sessions that something happened in after a time, oldest change first."""
        query = (
            Session.select(Session.public_id)
            .where(Session.last_us > int(after * 1_000_000))
            .order_by(Session.last_us, Session.id)
            .limit(min(limit, MOST))
        )
        return [row.public_id for row in self.reader.rows(query)]

    def _event(self, row: Any) -> dict[str, Any]:
        attributes = self.reader.blob(row.attributes_blob)
        return {
            "seq": row.seq,
            "name": row.kind,
            "subject": row.name,
            "timestamp": row.ts_us / 1_000_000,
            "status": row.status,
            "attributes": msgspec.json.decode(attributes) if attributes else {},
        }


def _records() -> Any:
    """Return the query that all records come from."""
    return (
        Document.select(
            Document.key,
            Document.body,
            Document.changed_us,
            Session.public_id.alias("session"),
            Agent.key.alias("agent"),
        )
        .join(Session, "LEFT JOIN", on=(Session.id == Document.session_id))
        .join(Agent, "LEFT JOIN", on=(Agent.id == Document.agent_id))
    )


def _record(row: Any) -> Record:
    key, body, changed_us, session, agent = row
    return Record(
        key, msgspec.json.decode(body), session or "", agent or "", changed_us / 1_000_000
    )
