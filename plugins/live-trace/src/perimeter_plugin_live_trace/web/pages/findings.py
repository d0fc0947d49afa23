"""Findings: what detectors found, grouped, and what people decide about it."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries import findings as ask_findings
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.evidence import Context, contexts
from perimeter_plugin_live_trace.queries.findings import Change, Group, Occurrence
from perimeter_plugin_live_trace.queries.matrix import Matrix, owasp_matrix, severity_matrix
from perimeter_plugin_live_trace.queries.names import AgentName
from perimeter_plugin_live_trace.queries.owasp import BY_KEY, RISKS, Risk
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.store.models import Finding, FindingGroup
from perimeter_plugin_live_trace.web.page import Ask, NotFound, Redirect, Refused, action, page
from perimeter_plugin_live_trace.web.paged import Page, paged


SORTS = ("-urgency", "-last", "last", "-count", "count", "-sessions", "sessions", "-first", "first")
_KEYS: dict[str, tuple[Any, ...]] = {
    "urgency": ask_findings.URGENCY,
    "last": (FindingGroup.last_us, FindingGroup.id),
    "first": (FindingGroup.first_us, FindingGroup.id),
    "count": (FindingGroup.count, FindingGroup.id),
    "sessions": (FindingGroup.sessions, FindingGroup.id),
}
BY = ("agent", "severity")
"""What the columns of the matrix can be."""
MOST_REASON = 2000


class FindingsView(msgspec.Struct, frozen=True):
    """The list."""

    title: str
    rows: list[Group]
    page: Page
    sort: str
    state: str
    sev: str
    owasp: str
    rule: str
    agent: str
    states: dict[str, int]
    rules: list[str]
    risks: tuple[Risk, ...]
    agents: list[AgentName]
    coverage: Coverage
    any: bool


class MatrixView(msgspec.Struct, frozen=True):
    """The matrix."""

    title: str
    by: str
    matrix: Matrix
    coverage: Coverage
    risks: dict[str, Risk]


class RevealedView(msgspec.Struct, frozen=True):
    """What was found, in clear; never kept, and never the title of anything."""

    title: str
    group: Group
    occurrence: Occurrence
    context: Context


class FindingView(msgspec.Struct, frozen=True):
    """A group."""

    title: str
    group: Group
    risk: Risk | None
    rows: list[Occurrence]
    contexts: dict[int, Context]
    page: Page
    may: tuple[str, ...]
    trail: list[Change]
    detectors: list[str]


@page("/findings", template="pages/findings.html", nav="findings", title="Findings")
def findings(ask: Ask) -> FindingsView:
    """Show the groups of findings; those that nobody decided about first."""
    params, reader = ask.params, ask.reader
    state = params.choice("state", "undecided", ask_findings.FILTERS)
    sev = params.choice("sev", "", tuple(ask_findings.LEVELS))
    owasp = params.choice("owasp", "", ("", *BY_KEY))
    agents = ask_findings.agents_with_findings(reader)
    key = params.text("agent")
    agent = next((each.id for each in agents if each.key == key), -1) if key else None
    query = ask_findings.groups_query(
        state=state, sev=sev, owasp=owasp, rule=params.text("rule"), agent=agent
    )
    sort = params.choice("sort", "-urgency", SORTS)
    rows, where = paged(ask, query, _KEYS[sort.removeprefix("-")], sort)
    states = ask_findings.counts_by_state(reader)
    return FindingsView(
        title="Findings",
        rows=ask_findings.groups(reader, rows, ask.now_us),
        page=where,
        sort=sort,
        state=state,
        sev=sev,
        owasp=owasp,
        rule=params.text("rule"),
        agent=key,
        states=states,
        rules=ask_findings.rules(reader),
        risks=RISKS,
        agents=agents,
        coverage=coverage(reader),
        any=any(states.values()),
    )


@page("/findings/matrix", template="pages/matrix.html", nav="findings", title="OWASP matrix")
def matrix(ask: Ask) -> MatrixView:
    """Show the ten risks by agent, or by severity."""
    by = ask.params.choice("by", "agent", BY)
    number = ask.params.integer("page", 1, 1, 10_000)
    found = severity_matrix(ask.reader) if by == "severity" else owasp_matrix(ask.reader, number)
    return MatrixView("OWASP matrix", by, found, coverage(ask.reader), BY_KEY)


@page("/findings/{id}", template="pages/finding.html", nav="findings")
def finding(ask: Ask) -> FindingView:
    """
    Show a group: what was found, why it matters, how to fix it, who decided what.

    Raises:
        NotFound: There is none.
    """
    group = _group(ask)
    query = ask_findings.occurrences_query(group.id)
    rows, where = paged(ask, query, (Finding.id,), "-id")
    names = Finding.select(Finding.detector).where(Finding.group_id == group.id).limit(1000)
    return FindingView(
        title=group.title,
        group=group,
        risk=BY_KEY.get(group.owasp),
        rows=ask_findings.occurrences(ask.reader, rows),
        contexts=contexts(ask.reader, rows),
        page=where,
        may=ask_findings.may_become(group.state),
        trail=ask_findings.trail(ask.reader, group.id),
        detectors=sorted({row[0] for row in ask.reader.rows(names) if row[0]}),
    )


def _group(ask: Ask) -> Group:
    text = ask.path["id"]
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
    found = ask_findings.group(ask.reader, number, ask.now_us)
    if found is None:
        raise NotFound("There is no such finding, or no longer.")
    return found


@action("/findings/state")
def decide(ask: Ask) -> Redirect:
    """
    Set the state of the chosen groups.

    Raises:
        Refused: None is chosen, or the state needs a reason.
    """
    ids = [int(each) for each in ask.many("group") if each.isascii() and each.isdigit()][:1000]
    state, reason = ask.form.get("state", ""), ask.form.get("reason", "").strip()[:MOST_REASON]
    query = FindingGroup.select(FindingGroup.id, FindingGroup.state)
    rows = ask.reader.rows(query.where(FindingGroup.id.in_(ids)))
    if not rows:
        raise Refused("Nothing was changed: choose at least one finding.")
    why = {row.id: ask_findings.refused(row.state, state, reason) for row in rows}
    allowed = [key for key, problem in why.items() if not problem]
    if not allowed:
        raise Refused("Nothing was changed. " + next(iter(why.values())))
    for key in allowed:
        ask.writer.change(changes.set_group_state(key, state, reason))
    many = f"{len(allowed):,} finding{'' if len(allowed) == 1 else 's'}"
    return Redirect(ask.form.get("back", "/findings"), f"{many} now {state}.")


@action("/findings/reveal", template="pages/revealed.html", nav="findings")
def reveal(ask: Ask) -> RevealedView:
    """
    Show the personal data of one finding, once; that somebody looked is kept.

    Raises:
        NotFound: There is no such finding, or no longer.
    """
    text = ask.form.get("finding", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
    row = ask.reader.one(Finding.select().where(Finding.id == number))
    group = row and ask_findings.group(ask.reader, row.group_id, ask.now_us)
    if row is None or group is None:
        raise NotFound("There is no such finding, or no longer.")
    ask.writer.change(changes.audit("reveal", f"group {group.id}", reason=f"finding {row.id}"))
    return RevealedView(
        title="Personal data",
        group=group,
        occurrence=ask_findings.occurrences(ask.reader, [row])[0],
        context=contexts(ask.reader, [row], reveal={row.id})[row.id],
    )


routes = (findings, matrix, finding, decide, reveal)
