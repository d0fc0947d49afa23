"""What security tests say: nothing, as long as no detector tells that it looks at the traffic."""

from __future__ import annotations

from typing import Any

from peewee import fn

from perimeter_plugin_live_trace.api.shapes import RiskAnalysis
from perimeter_plugin_live_trace.queries.coverage import coverage
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.findings import OPEN
from perimeter_plugin_live_trace.store.models import Finding, FindingGroup
from perimeter_plugin_live_trace.web.formats import SEVERITIES


NOT_TESTED = "NOT_TESTED"
COMPLETE = "COMPLETE"


def risk_of_agent(reader: Reader, agent_id: int) -> RiskAnalysis:
    """Return what tests say of an agent."""
    group = FindingGroup
    query = (
        group.select(group.sev, fn.SUM(group.count))
        .where((group.agent_id == agent_id) & group.state.in_(OPEN))
        .group_by(group.sev)
    )
    return _risk(reader, dict(reader.rows(query)))


def risk_of_session(reader: Reader, session: Any) -> RiskAnalysis:
    """Return what tests say of a session."""
    query = (
        Finding.select(Finding.sev, fn.COUNT(Finding.id))
        .join(FindingGroup, on=(FindingGroup.id == Finding.group_id))
        .where((Finding.session_id == session.id) & FindingGroup.state.in_(OPEN))
        .group_by(Finding.sev)
    )
    return _risk(reader, dict(reader.rows(query)))


def _risk(reader: Reader, by_severity: dict[int, int]) -> RiskAnalysis:
    if not coverage(reader).tested:
        return RiskAnalysis(evaluation_status=NOT_TESTED)
    report = {
        SEVERITIES[sev]: count for sev, count in sorted(by_severity.items()) if sev in range(5)
    }
    total = sum(report.values())
    words = ", ".join(f"{count} {name}" for name, count in reversed(report.items()))
    return RiskAnalysis(
        evaluation_status=COMPLETE,
        security_report=report,
        summary=f"{total} undecided findings: {words}" if total else "no undecided findings",
    )
