"""
Posture reports: what is known of all agents, or of one, at one moment.

A report is a document, written once and never changed. What was not tested is said to be that;
a report of traffic that nothing tested decides nothing.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.agents import findings_by_agent, tool_names
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.findings import (
    UNRESOLVED,
    Group,
    counts_by_state,
    groups,
    groups_query,
)
from perimeter_plugin_live_trace.queries.overview import Figures, figures, span_for
from perimeter_plugin_live_trace.queries.owasp import RISKS, Risk
from perimeter_plugin_live_trace.queries.rollups import Of, Totals, by_agent, by_name
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, Audit, Document, FindingGroup, Session


KIND = "report"
_MOST_AGENTS = 50
_MOST_GROUPS = 50
WORDS = {
    "attention": "Attention required",
    "clear": "Nothing serious found",
    "untested": "Not tested",
}
"""How the decisions read."""


class Control(msgspec.Struct, frozen=True):
    """
    One of the ten risks.

    Attributes:
        state: `fail` (critical or high findings are undecided), `warning` (others are), `pass`
            (tested, nothing found), `off`, `na` or `untested`.
    """

    key: str
    name: str
    state: str
    count: int
    sev: int
    about: str
    fix: str


class Posture(msgspec.Struct, frozen=True):
    """An agent."""

    name: str
    key: str
    sessions: int
    calls: int
    errors: int
    error_rate: float | None
    cost_nano: int
    tools_offered: int
    tools_used: int
    findings: int | None
    sev: int


class Decided(msgspec.Struct, frozen=True):
    """A decision of somebody about findings."""

    at_us: int
    action: str
    subject: str
    before: str
    after: str
    reason: str


class Report(msgspec.Struct, frozen=True):
    """A report."""

    key: str
    title: str
    created_us: int
    from_us: int
    to_us: int
    version: str
    agent: str
    decision: str
    tested: bool
    detectors_on: int
    detectors_off: int
    sessions: int
    figures: Figures
    states: dict[str, int]
    severities: dict[str, int]
    controls: list[Control]
    agents: list[Posture]
    groups: list[Group]
    trail: list[Decided]


class Summary(msgspec.Struct, frozen=True):
    """A report in the list."""

    key: str
    title: str
    created_us: int
    from_us: int
    to_us: int
    decision: str
    severities: dict[str, int]
    agent: str = ""


def write(
    reader: Reader, *, title: str, from_us: int, to_us: int, now_us: int, version: str,
    agent: tuple[int, str] | None = None,
) -> Report:  # fmt: skip
    """Return a new report of a span of time, of all agents or of one: its row and its name."""
    span = span_for(reader, from_us, to_us, now_us)
    start, end = max(from_us, span.from_us if from_us <= 0 else from_us), min(to_us, now_us)
    said = coverage(reader)
    row = agent[0] if agent else None
    controls = [_control(risk, said, _worst(reader, row)) for risk in RISKS]
    severities = _severities(reader, row)
    found = groups_query(state="all", agent=row).where(FindingGroup.state.in_(UNRESOLVED))
    order = (FindingGroup.sev.desc(), FindingGroup.last_us.desc())
    return Report(
        key="RPT-" + secrets.token_hex(4).upper(),
        title=title,
        created_us=now_us,
        from_us=start,
        to_us=end,
        version=version,
        agent=agent[1] if agent else "",
        decision=_decision(severities, tested=said.tested),
        tested=said.tested,
        detectors_on=said.on,
        detectors_off=said.off,
        sessions=_sessions(reader, start, end, row),
        figures=figures(reader, start, end, row),
        states=counts_by_state(reader),
        severities=severities,
        controls=controls,
        agents=_agents(reader, start, end, row, tested=said.tested),
        groups=groups(reader, reader.rows(found.order_by(*order).limit(_MOST_GROUPS)), now_us),
        trail=_trail(reader),
    )


def _decision(severities: dict[str, int], *, tested: bool) -> str:
    if severities["critical"] or severities["high"]:
        return "attention"
    return "clear" if tested else "untested"


def _undecided(agent: int | None) -> Any:
    condition = FindingGroup.state.in_(UNRESOLVED)
    return condition if agent is None else condition & (FindingGroup.agent_id == agent)


def _severities(reader: Reader, agent: int | None) -> dict[str, int]:
    query = FindingGroup.select(FindingGroup.sev, fn.COUNT(FindingGroup.id))
    rows = dict(reader.rows(query.where(_undecided(agent)).group_by(FindingGroup.sev)))
    names = ("low", "medium", "high", "critical")
    return {name: rows.get(number, 0) for number, name in enumerate(names, 1)}


def _worst(reader: Reader, agent: int | None) -> dict[str, tuple[int, int]]:
    query = FindingGroup.select(
        FindingGroup.owasp, fn.SUM(FindingGroup.count), fn.MAX(FindingGroup.sev)
    )
    rows = reader.rows(query.where(_undecided(agent)).group_by(FindingGroup.owasp))
    return {key: (count, sev) for key, count, sev in rows}


def _control(risk: Risk, said: Coverage, found: dict[str, tuple[int, int]]) -> Control:
    count, sev = found.get(risk.key, (0, 0))
    state = _state(risk, said, found)
    return Control(risk.key, risk.name, state, count, sev, risk.about, risk.fix)


def _state(risk: Risk, said: Coverage, found: dict[str, tuple[int, int]]) -> str:
    count, sev = found.get(risk.key, (0, 0))
    if count:
        return "fail" if sev >= 3 else "warning"
    covered = said.of(risk.key)
    if covered != "none":
        return {"on": "pass", "off": "off"}[covered]
    return "untested" if risk.at_runtime or not (said.detectors or found) else "na"


def _sessions(reader: Reader, start: int, end: int, agent: int | None) -> int:
    query = Session.select(fn.COUNT(Session.id)).where(
        (Session.last_us >= start) & (Session.started_us <= end)
    )
    query = query if agent is None else query.where(Session.agent_id == agent)
    return int(reader.value(query, 0))


def _agents(
    reader: Reader, start: int, end: int, agent: int | None, *, tested: bool
) -> list[Posture]:
    sums = by_agent(reader, Of("llm", agent), start, end)
    ids = sorted(sums, key=lambda key: -sums[key].calls)[:_MOST_AGENTS]
    found = findings_by_agent(reader)
    rows = {row.id: row for row in reader.rows(Agent.select().where(Agent.id.in_(ids)))}
    postures = []
    for key in ids:
        if key in rows:
            used = len(by_name(reader, Of("tool", key), start, end))
            postures.append(_posture(rows[key], sums[key], used, found.get(key), tested=tested))
    return postures


def _posture(
    row: Any, sums: Totals, used: int, found: tuple[int, int] | None, *, tested: bool
) -> Posture:
    return Posture(
        name=row.name or row.key,
        key=row.key,
        sessions=row.sessions,
        calls=sums.calls,
        errors=sums.errors,
        error_rate=sums.error_rate,
        cost_nano=sums.cost_nano,
        tools_offered=len(tool_names(row.tools)),
        tools_used=used,
        findings=found[0] if found else 0 if tested else None,
        sev=found[1] if found else 0,
    )


def _trail(reader: Reader) -> list[Decided]:
    query = Audit.select(
        Audit.at_us, Audit.action, Audit.subject, Audit.before, Audit.after, Audit.reason
    ).where(Audit.subject.startswith("group "))
    return [Decided(*row) for row in reader.rows(query.order_by(Audit.id.desc()).limit(50))]


def summaries(reader: Reader, most: int = 100) -> list[Summary]:
    """Return the reports, the newest first."""
    query = Document.select(Document.body).where(Document.kind == KIND)
    rows = reader.rows(query.order_by(Document.changed_us.desc(), Document.id.desc()).limit(most))
    found = (_read(row.body, Summary) for row in rows)
    return [each for each in found if each is not None]


def report(reader: Reader, key: str) -> Report | None:
    """Return a report."""
    condition = (Document.kind == KIND) & (Document.key == key)
    body = reader.value(Document.select(Document.body).where(condition))
    return _read(body, Report) if body else None


def _read(body: str, form: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.MsgspecError:
        return None
