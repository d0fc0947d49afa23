"""Findings: the groups that people decide about, and the occurrences in each."""

from __future__ import annotations

from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.marks import Mark
from perimeter_plugin_live_trace.queries.names import AgentName, agent_names
from perimeter_plugin_live_trace.queries.spans import DAY
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import (
    Audit,
    Event,
    Finding,
    FindingGroup,
    Session,
)


STATES = ("open", "acknowledged", "fixed", "ignored", "muted", "regressed")
CHOSEN = ("open", "acknowledged", "fixed", "ignored", "muted")
"""The states that people choose; `regressed` comes by itself, when something fixed comes back."""
UNRESOLVED = ("open", "regressed", "acknowledged")
"""The states of groups that still say something of the agent."""
FILTERS = ("undecided", "unresolved", *STATES, "all")
_WORDS = ("low", "medium", "high", "critical")
LEVELS: dict[str, tuple[int, int]] = {
    "": (0, 4),
    **{word: (sev, 4) for sev, word in enumerate(_WORDS, 1)},
    **{f"only-{word}": (sev, sev) for sev, word in enumerate(_WORDS, 1)},
}
"""Severities that can be asked for: the least and the worst of each word."""
TREND_DAYS = 14
_MOST_TREND = 20_000


class Group(msgspec.Struct, frozen=True):
    """All findings of one rule in one agent."""

    id: int
    rule: str
    agent: AgentName
    owasp: str
    sev: int
    title: str
    first_us: int
    last_us: int
    count: int
    sessions: int
    state: str
    note: str
    rev: int
    trend: list[int]


class Evidence(msgspec.Struct, frozen=True):
    """
    What was found.

    Attributes:
        sample: The words, masked.
        ptr: Where the text stands, as the detector calls it.
        start: Where they begin in that text, in code points.
        end: Where they end.
        text_sha: What that text is known by, see `perimeter.findings.digest`.
        direction: `request`, `response` or `tool`; "" where the detector does not say.
        kind: What kind of personal data it is; "" where it is none.
    """

    sample: str = ""
    ptr: str = ""
    start: int | None = None
    end: int | None = None
    text_sha: str = ""
    direction: str = ""
    kind: str = ""


class Occurrence(msgspec.Struct, frozen=True):
    """One finding, where it was found."""

    id: int
    session: str
    session_title: str
    event_id: int | None
    seq: int | None
    created_us: int
    sev: int
    detector: str
    confidence: float | None
    evidence: Evidence


class Sample(msgspec.Struct, frozen=True):
    """A finding with its rule and agent."""

    rule: str
    agent: AgentName
    occurrence: Occurrence


class Change(msgspec.Struct, frozen=True):
    """What somebody decided, and when."""

    at_us: int
    action: str
    before: str
    after: str
    reason: str


def may_become(state: str) -> tuple[str, ...]:
    """Return the states that people may choose for a group in a state."""
    return tuple(each for each in CHOSEN if each != state)


def refused(state: str, chosen: str, reason: str) -> str:
    """Return why a group may not go from a state to another, or ""."""
    if chosen not in CHOSEN:
        return f"“{chosen[:40]}” is no state that can be chosen."
    if chosen == state:
        return f"It is {state} already."
    if chosen == "ignored" and not reason.strip():
        return "Say why it can be ignored."
    return ""


def groups_query(
    *, state: str, sev: str = "", owasp: str = "", rule: str = "", agent: int | None = None,
    from_us: int = 0,
) -> Any:  # fmt: skip
    """
    Return the query for groups, without order.

    Args:
        state: One of `FILTERS`; `undecided` is open or come back, `unresolved` those and those
            that somebody knows of.
        sev: One of `LEVELS`.
        owasp: Such as `LLM01`.
        rule: A rule, or the begin of one that ends in a dot.
        agent: The row of an agent.
        from_us: Only those that were found since.
    """
    group = FindingGroup
    condition = group.sev.between(*LEVELS[sev])
    if state == "undecided":
        condition &= group.state.in_(("open", "regressed"))
    elif state == "unresolved":
        condition &= group.state.in_(UNRESOLVED)
    elif state != "all":
        condition &= group.state == state
    if owasp:
        condition &= group.owasp == owasp
    if rule:
        condition &= group.rule.startswith(rule) if rule.endswith(".") else group.rule == rule
    if agent is not None:
        condition &= group.agent_id == agent
    if from_us:
        condition &= group.last_us >= from_us
    return group.select().where(condition)


URGENCY = (FindingGroup.sev, FindingGroup.last_us, FindingGroup.id)
"""What groups are sorted by: the worst first, of those the newest."""


def groups(reader: Reader, rows: list[Any], now_us: int) -> list[Group]:
    """Return rows of groups as they are shown."""
    names = agent_names(reader, [row.agent_id for row in rows])
    trends = _trends(reader, [row.id for row in rows], now_us)
    return [
        Group(
            id=row.id,
            rule=row.rule,
            agent=names[row.agent_id],
            owasp=row.owasp,
            sev=row.sev,
            title=row.title or row.rule,
            first_us=row.first_us,
            last_us=row.last_us,
            count=row.count,
            sessions=row.sessions,
            state=row.state,
            note=row.note,
            rev=row.rev,
            trend=trends.get(row.id, [0] * TREND_DAYS),
        )
        for row in rows
    ]


def _trends(reader: Reader, ids: list[int], now_us: int) -> dict[int, list[int]]:
    """Return how many findings of groups there were on each of the last days."""
    if not ids:
        return {}
    first = (now_us // DAY - TREND_DAYS + 1) * DAY
    newest = (
        Finding.select(Finding.group_id, Finding.created_us)
        .where(Finding.created_us >= first)
        .order_by(Finding.created_us.desc())
        .limit(_MOST_TREND)
        .alias("newest")
    )
    day = (newest.c.created_us - first) / DAY
    query = newest.select_from(newest.c.group_id, day, fn.COUNT(1)).where(
        newest.c.group_id.in_(ids)
    )
    found: dict[int, list[int]] = {}
    for group, number, count in reader.rows(query.group_by(newest.c.group_id, day)):
        if 0 <= number < TREND_DAYS:
            found.setdefault(group, [0] * TREND_DAYS)[number] = count
    return found


def group(reader: Reader, group_id: int, now_us: int) -> Group | None:
    """Return one group."""
    rows = reader.rows(FindingGroup.select().where(FindingGroup.id == group_id))
    return groups(reader, rows, now_us)[0] if rows else None


def counts_by_state(reader: Reader) -> dict[str, int]:
    """Return how many groups are in each state."""
    query = FindingGroup.select(FindingGroup.state, fn.COUNT(FindingGroup.id))
    found = dict(reader.rows(query.group_by(FindingGroup.state)))
    return {state: found.get(state, 0) for state in STATES}


def rules(reader: Reader) -> list[str]:
    """Return the rules that found anything."""
    query = FindingGroup.select(FindingGroup.rule).distinct().order_by(FindingGroup.rule)
    return [row[0] for row in reader.rows(query.limit(200))]


def agents_with_findings(reader: Reader) -> list[AgentName]:
    """Return the agents that anything was found in, by name."""
    query = FindingGroup.select(FindingGroup.agent_id).distinct().limit(500)
    names = agent_names(reader, [row[0] for row in reader.rows(query)])
    return sorted((each for key, each in names.items() if key), key=lambda each: each.name)


def occurrences_query(group_id: int) -> Any:
    """Return the query for the findings of a group, without order."""
    return Finding.select().where(Finding.group_id == group_id)


def occurrences(reader: Reader, rows: list[Any]) -> list[Occurrence]:
    """Return rows of findings with where they were found."""
    ids = list({row.session_id for row in rows if row.session_id})
    query = Session.select(Session.id, Session.public_id, Session.title)
    sessions = {row.id: row for row in reader.rows(query.where(Session.id.in_(ids)))}
    events = list({row.event_id for row in rows if row.event_id})
    seqs = dict(reader.rows(Event.select(Event.id, Event.seq).where(Event.id.in_(events))))
    return [_occurrence(row, sessions.get(row.session_id), seqs.get(row.event_id)) for row in rows]


def _occurrence(row: Any, session: Any | None, seq: int | None) -> Occurrence:
    return Occurrence(
        id=row.id,
        session=session.public_id if session else "",
        session_title=(session.title or session.public_id) if session else "",
        event_id=row.event_id,
        seq=seq,
        created_us=row.created_us,
        sev=row.sev,
        detector=row.detector,
        confidence=row.confidence,
        evidence=evidence(row.evidence),
    )


def evidence(text: str) -> Evidence:
    """Read evidence; what a detector wrote wrongly is left out."""
    try:
        return msgspec.json.decode(text or "{}", type=Evidence, strict=False)
    except msgspec.MsgspecError:
        return Evidence()


def mark_of(row: Any, said: Evidence, number: int = 0) -> Mark | None:
    """Return the mark that a finding puts into its text, None where it does not say where."""
    if not said.text_sha or said.start is None or said.end is None:
        return None
    return Mark(row.id, number, row.title, row.sev, said.kind, said.start, said.end)


def trail(reader: Reader, group_id: int) -> list[Change]:
    """Return what people decided about a group, the newest first."""
    query = (
        Audit.select(Audit.at_us, Audit.action, Audit.before, Audit.after, Audit.reason)
        .where(Audit.subject == f"group {group_id}")
        .order_by(Audit.id.desc())
        .limit(100)
    )
    return [Change(*row) for row in reader.rows(query)]


def newest_of(reader: Reader, prefix: str, each: int = 5, most: int = 40) -> list[Sample]:
    """Return the newest findings of the rules that begin with something: a few of each group."""
    group = FindingGroup
    query = group.select(group.id, group.rule, group.agent_id).where(group.rule.startswith(prefix))
    rows = reader.rows(query.order_by(group.last_us.desc()).limit(most))
    names = agent_names(reader, [row.agent_id for row in rows])
    found: list[Sample] = []
    for row in rows:
        newest = occurrences_query(row.id).order_by(Finding.id.desc()).limit(each)
        some = occurrences(reader, reader.rows(newest))
        found += [Sample(row.rule, names[row.agent_id], occurrence) for occurrence in some]
    return sorted(found, key=lambda sample: -sample.occurrence.id)[:most]
