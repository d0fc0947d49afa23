"""Findings as a matrix: the ten risks by agent or severity, the kinds of personal data by agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.findings import UNRESOLVED
from perimeter_plugin_live_trace.queries.names import AgentName, agent_names
from perimeter_plugin_live_trace.queries.owasp import RISKS, Risk
from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.models import Agent, FindingGroup


COLUMNS = 12
"""Agents side by side; the others are on further pages."""
SEVERITIES = (4, 3, 2, 1)
Found = dict[tuple[str, int], tuple[int, int]]
"""How many findings, and the worst of them, by row and column."""
PII_RULE = "pii"
"""What the rules of personal data begin with; the rest is the kind, such as `.EMAIL_ADDRESS`."""


class Cell(msgspec.Struct, frozen=True):
    """
    What is known of one risk in one agent.

    Attributes:
        state: `found`, `clean` (tested, nothing found), `off` (its detector is off), `na` (traffic
            does not show it) or `untested` (there is no detector for it).
        count: Findings.
        sev: The worst of them.
    """

    state: str
    count: int = 0
    sev: int = 0


class Row(msgspec.Struct, frozen=True):
    """One risk, or one kind of personal data."""

    key: str
    name: str
    total: Cell
    cells: tuple[Cell, ...]


class Matrix(msgspec.Struct, frozen=True):
    """
    The matrix, or one page of its columns.

    Attributes:
        agents: What the columns are; where there are none, the columns are severities.
        severities: What the columns are then, the worst first.
    """

    tested: bool
    agents: tuple[AgentName, ...]
    rows: tuple[Row, ...]
    page: int = 1
    pages: int = 1
    severities: tuple[int, ...] = ()


def owasp_matrix(reader: Reader, page: int = 1) -> Matrix:
    """Return the ten risks by agent."""
    said = coverage(reader)
    found = _found(reader, FindingGroup.owasp, FindingGroup.owasp != "")
    agents, page, pages = _columns(reader, found, page)
    ids = [agent.id for agent in agents]
    return Matrix(said.tested or bool(found), agents, _risks(found, ids, said), page, pages)


def severity_matrix(reader: Reader) -> Matrix:
    """Return the ten risks by how bad what was found is: groups count as their worst finding."""
    said = coverage(reader)
    found = _found(reader, FindingGroup.owasp, FindingGroup.owasp != "", columns=FindingGroup.sev)
    rows = tuple(map(_elsewhere, _risks(found, SEVERITIES, said)))
    return Matrix(said.tested or bool(found), (), rows, severities=SEVERITIES)


def _elsewhere(row: Row) -> Row:
    """Return a row by severity: what is found at one severity was looked for at all of them."""
    if row.total.state != "found":
        return row
    cells = tuple(each if each.state == "found" else Cell("clean") for each in row.cells)
    return msgspec.structs.replace(row, cells=cells)


def _risks(found: Found, columns: Sequence[int], said: Coverage) -> tuple[Row, ...]:
    return tuple(
        _row(risk.key, risk.name, found, columns, _empty(risk, said, bool(found))) for risk in RISKS
    )


def pii_matrix(reader: Reader, page: int = 1) -> Matrix:
    """Return the kinds of personal data that were found, by agent."""
    said = coverage(reader)
    found = _found(reader, FindingGroup.rule, FindingGroup.rule.startswith(PII_RULE))
    agents, page, pages = _columns(reader, found, page)
    empty = Cell({"on": "clean", "off": "off"}.get(said.of("pii"), "untested"))
    rows = tuple(
        _row(rule, pii_kind(rule), found, [agent.id for agent in agents], empty)
        for rule in sorted({rule for rule, _ in found})
    )
    return Matrix(said.of("pii") == "on" or bool(found), agents, rows, page, pages)


def pii_kind(rule: str) -> str:
    """Return the kind of personal data that a rule finds, as people would write it."""
    return rule.removeprefix(PII_RULE).strip("._-:/ ").replace("_", " ").lower() or "personal data"


def _empty(risk: Risk, said: Coverage, anything: bool) -> Cell:
    """Return what a cell without findings says."""
    state = said.of(risk.key)
    if state == "on":
        return Cell("clean")
    if state == "off":
        return Cell("off")
    return Cell("na") if not risk.at_runtime and (said.detectors or anything) else Cell("untested")


def _found(reader: Reader, row: Any, condition: Any, columns: Any = FindingGroup.agent_id) -> Found:
    """Return counts and worst severities per row and column of the matrix."""
    query = (
        FindingGroup.select(row, columns, fn.SUM(FindingGroup.count), fn.MAX(FindingGroup.sev))
        .where(condition & FindingGroup.state.in_(UNRESOLVED))
        .group_by(row, columns)
    )
    return {(key, column): (count, sev) for key, column, count, sev in reader.rows(query)}


def _columns(reader: Reader, found: Found, page: int) -> tuple[tuple[AgentName, ...], int, int]:
    """Return one page of agents: those with most findings first, then those that called last."""
    counts: dict[int, int] = {}
    for (_, agent), (count, _) in found.items():
        counts[agent] = counts.get(agent, 0) + count
    first = sorted(counts, key=lambda agent: (-counts[agent], agent))
    many = reader.value(Agent.select(fn.COUNT(Agent.id)), 0)
    pages = max(1, -(-max(many, len(first)) // COLUMNS))
    page = min(max(1, page), pages)
    ids = _slice(reader, first, (page - 1) * COLUMNS)
    names = agent_names(reader, ids)
    return tuple(names[each] for each in ids), page, pages


def _slice(reader: Reader, first: Sequence[int], skip: int) -> list[int]:
    ids = list(first[skip : skip + COLUMNS])
    if len(ids) < COLUMNS:
        query = Agent.select(Agent.id).order_by(Agent.last_us.desc(), Agent.id.desc())
        query = query.where(Agent.id.not_in(list(first))) if first else query
        rest = query.offset(max(0, skip - len(first))).limit(COLUMNS - len(ids))
        ids += [row[0] for row in reader.rows(rest)]
    return ids


def _row(key: str, name: str, found: Found, columns: Iterable[int], empty: Cell) -> Row:
    cells = tuple(_cell(found.get((key, column)), empty) for column in columns)
    of_it = [each for (row, _), each in found.items() if row == key]
    whole = (sum(count for count, _ in of_it), max((sev for _, sev in of_it), default=0))
    return Row(key, name, _cell(whole if of_it else None, empty), cells)


def _cell(found: tuple[int, int] | None, empty: Cell) -> Cell:
    return Cell("found", *found) if found and found[0] else empty
