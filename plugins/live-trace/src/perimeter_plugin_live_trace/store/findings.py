"""What detectors report: findings, and groups of alike ones that people decide about."""

from __future__ import annotations

from typing import Any

from perimeter_plugin_live_trace.store import texts, values
from perimeter_plugin_live_trace.store.masking import masked
from perimeter_plugin_live_trace.store.work import Work


SEVERITIES = {"low": 1, "medium": 2, "high": 3, "critical": 4}
OPEN = ("open", "acknowledged", "regressed")
"""States of groups that still ask for something."""

_RISK = {0: 0, 1: 15, 2: 40, 3: 70, 4: 90}
_EVIDENCE = 8000
"""Bytes of a finding's evidence."""


def found(work: Work, event: Any, session: Any, attributes: dict[str, Any]) -> None:
    """
    Add the finding that an event tells of.

    Args:
        work: Where to.
        event: Its row.
        session: Its session's row, or None.
        attributes: The event's attributes.
    """
    rule = texts.name(attributes.get("finding.rule")) or "unknown"
    group = _group(work, rule, event, attributes)
    first_here = session is not None and not _known(work, group.id, session.id)
    row = work.finding(
        group_id=group.id,
        session_id=event.session_id,
        event_id=event.id,
        agent_id=event.agent_id,
        rule=rule,
        owasp=group.owasp,
        sev=_severity(attributes),
        title=_title(attributes, rule),
        detector=texts.name(attributes.get("finding.detector")),
        confidence=values.number(attributes.get("finding.confidence")),
        evidence=_evidence(attributes.get("finding.evidence")),
        created_us=event.ts_us,
    )
    _count(group, row, first_here=first_here)
    work.groups.change(group)
    if session is not None:
        work.finding_places.add((group.id, session.id))
        if group.state != "muted":
            session.findings += 1
            session.pii += rule.startswith("pii")
        if group.state in OPEN:
            session.sev = max(session.sev, row.sev)
            session.risk = risk(session.sev, session.findings)


def risk(severity: int, count: int) -> int:
    """Return how risky a session is, from 0 to 100: by the worst finding, a little by how many."""
    return min(100, _RISK[severity] + min(9, count - 1)) if severity else 0


def _group(work: Work, rule: str, event: Any, attributes: dict[str, Any]) -> Any:
    agent_id = event.agent_id or 0
    group = work.groups.get(rule, agent_id)
    if group is None:
        group = work.groups.add(
            rule, agent_id, rule=rule, agent_id=agent_id, first_us=event.ts_us, last_us=event.ts_us
        )
    group.owasp = texts.name(attributes.get("finding.owasp"), 20) or group.owasp
    group.title = _title(attributes, rule)
    return group


def _count(group: Any, row: Any, *, first_here: bool) -> None:
    group.first_us = min(group.first_us, row.created_us)
    group.last_us = max(group.last_us, row.created_us)
    group.count += 1
    group.sessions += first_here
    group.sev = max(group.sev, row.sev)
    if group.state == "fixed":
        group.state = "regressed"


def _known(work: Work, group_id: int, session_id: int) -> bool:
    """Whether a session has findings of a group already."""
    if (group_id, session_id) in work.finding_places:
        return True
    query = "SELECT 1 FROM findings WHERE session_id = ? AND group_id = ? LIMIT 1"
    return work.connection.execute(query, (session_id, group_id)).fetchone() is not None


def _severity(attributes: dict[str, Any]) -> int:
    return SEVERITIES.get(texts.name(attributes.get("finding.severity")).lower(), 1)


def _title(attributes: dict[str, Any], rule: str) -> str:
    title = attributes.get("finding.title")
    return texts.excerpt(title, texts.NAME) if isinstance(title, str) and title else rule


def _evidence(value: Any) -> str:
    """Return evidence as JSON, masked; what is too long is left out."""
    try:
        data = texts.to_json(value if isinstance(value, dict) else {})
    except ValueError:
        return "{}"
    return masked(data).decode() if len(data) <= _EVIDENCE else "{}"
