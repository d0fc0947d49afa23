"""The findings of a conversation: at the calls that they are about, and marked in their texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import attrs

from perimeter_plugin_live_trace.queries.findings import evidence, mark_of
from perimeter_plugin_live_trace.queries.marks import Marks
from perimeter_plugin_live_trace.queries.turns import Spotted
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Finding


_MOST = 500
"""Findings of a session that are looked at."""


@attrs.define
class Spotting:
    """
    Finds them.

    Attributes:
        marks: Of the page; they are added to.
        by_call: The findings at each call.
    """

    marks: Marks
    by_call: defaultdict[int, list[Spotted]] = attrs.field(factory=lambda: defaultdict(list))
    _placed: list[Spotted] = attrs.field(factory=list)

    def find(self, reader: Reader, session_id: int, calls: Mapping[int, int]) -> None:
        """
        Read the findings of a session.

        Args:
            reader: The database.
            session_id: The session's. Muted findings are not counted in its row, so it is asked
                for findings even where that says none: personal data stays hidden.
            calls: The calls that the page shows, by their events.
        """
        query = Finding.select().where(Finding.session_id == session_id)
        for number, row in enumerate(reader.rows(query.order_by(Finding.id).limit(_MOST)), 1):
            self._spot(row, number, calls.get(row.event_id))

    def _spot(self, row: Any, number: int, call_id: int | None) -> None:
        said = evidence(row.evidence)
        mark = mark_of(row, said, number if call_id else 0)
        if mark is not None and (call_id or mark.kind):  # hidden wherever its words are repeated
            self.marks.add(said.text_sha, mark)
        if call_id:
            found = Spotted(row.id, number, row.group_id, row.title, row.sev, row.rule, said.kind)
            self.by_call[call_id].append(found)
            self._placed += [found] if mark is not None else []

    def settle(self) -> None:
        """Say of each finding what became of its words, once all texts of the page are cut."""
        for found in self._placed:
            found.place = self.marks.place(found.id)
