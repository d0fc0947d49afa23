"""The list of sessions: found, sorted, peeked into, compared, exported, deleted."""

from __future__ import annotations

from typing import Any

import attrs
import msgspec

from perimeter_plugin_live_trace.queries import paging
from perimeter_plugin_live_trace.queries import sessions as ask_sessions
from perimeter_plugin_live_trace.queries import views as ask_views
from perimeter_plugin_live_trace.queries.language import EXAMPLES, SEVERITIES, STATUSES, Term, parse
from perimeter_plugin_live_trace.queries.names import AgentName
from perimeter_plugin_live_trace.queries.peek import Peek, peek_of
from perimeter_plugin_live_trace.queries.sessions import SORTS, Filter, SessionRow
from perimeter_plugin_live_trace.queries.views import SavedView
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.store.models import Session
from perimeter_plugin_live_trace.web.ask import LABELS, RANGES
from perimeter_plugin_live_trace.web.page import (
    Ask,
    NotFound,
    Redirect,
    Refused,
    action,
    fragment,
    page,
)
from perimeter_plugin_live_trace.web.pages import saved_views


SIZES = (25, 50, 100, 200)
COLUMNS: dict[str, tuple[str, str, str]] = {
    "agent": ("Agent", "", ""),
    "last": ("Last activity", "last", ""),
    "started": ("Started", "started", ""),
    "status": ("Status", "", ""),
    "turns": ("Turns", "turns", "num"),
    "dur": ("Duration", "", "num"),
    "tokens": ("Tokens in / out", "tokens", "num"),
    "cost": ("Cost", "cost", "num"),
    "p95": ("p95", "p95", "num"),
    "errors": ("Errors", "errors", "num"),
    "sev": ("Severity", "sev", ""),
    "findings": ("Findings", "", "num"),
    "pii": ("PII", "", "num"),
    "models": ("Models", "", ""),
    "tags": ("Tags", "", ""),
}
"""Columns beside the title: label, what it is sorted by, alignment."""
DEFAULT = ("agent", "last", "status", "turns", "dur", "tokens", "cost", "p95", "errors", "sev")
_MOST_CHOSEN = 200
_COUNTED = 1000
"""Sessions that are counted without being asked."""


class Wider(msgspec.Struct, frozen=True):
    """A longer span of time in which there is something: `label` says which, `text` how many."""

    label: str
    text: str
    href: str


class SessionsView(msgspec.Struct, frozen=True):
    """The list."""

    title: str
    rows: list[SessionRow]
    prev: str
    next: str
    size: int
    sort: str
    q: str
    agent: str
    status: str
    sev: str
    cols: list[str]
    chips: list[tuple[str, str]]
    agents: list[AgentName]
    saved: list[SavedView]
    wider: list[Wider]
    peek: Peek | None
    count: paging.Count | None
    any: bool
    words: bool
    columns: dict[str, tuple[str, str, str]]
    examples: dict[str, str]


class RowsView(msgspec.Struct, frozen=True):
    """Rows alone."""

    rows: list[SessionRow]
    cols: list[str]
    peek: Peek | None = None
    sort: str = ""


class CountView(msgspec.Struct, frozen=True):
    """How many there are."""

    count: paging.Count


class DeleteView(msgspec.Struct, frozen=True):
    """What is about to be deleted."""

    title: str
    rows: list[SessionRow]
    back: str


def read_filter(ask: Ask) -> Filter:
    """Return which sessions an address asks for; what it does not understand becomes problems."""
    params = ask.params
    query = parse(params.text("q"))
    params.problems.extend(query.problems)
    return Filter(
        query=query,
        agent=params.text("agent"),
        status=params.choice("status", "", ("", *STATUSES)),
        sev=ask_sessions.severity(params.choice("sev", "", ("", *SEVERITIES[1:]))),
        from_us=ask.range.from_us,
        to_us=ask.range.to_us if ask.range.name == "custom" else None,
        ids=tuple(params.many("s")[:_MOST_CHOSEN]),
    )


@page("/sessions", template="pages/sessions.html", nav="sessions", title="Sessions")
def sessions(ask: Ask) -> SessionsView:
    """Show a page of the list."""
    params, wanted = ask.params, read_filter(ask)
    sort = params.choice("sort", "-last", [mark + name for name in SORTS for mark in ("-", "")])
    size = params.integer("limit", ask.prefs.page_size, 1, max(SIZES))
    at = paging.place(params, [int] * len(SORTS[sort.removeprefix("-")]))
    found = ask_sessions.sessions_page(ask.reader, wanted, sort, at, size, now_us=ask.now_us)
    return SessionsView(
        title="Sessions",
        rows=found.rows,
        prev=found.prev,
        next=found.next,
        size=size,
        sort=sort,
        q=params.text("q"),
        agent=wanted.agent,
        status=wanted.status,
        sev=SEVERITIES[wanted.sev] if wanted.sev else "",
        cols=_columns(ask),
        chips=_chips(ask, wanted),
        agents=ask_sessions.agents(ask.reader),
        saved=ask_views.saved(ask.reader),
        wider=[] if found.rows or at else _wider(ask, wanted),
        peek=peek_of(ask.reader, params.text("peek"), ask.now_us),
        count=_count(ask, wanted, found),
        any=bool(found.rows) or ask.reader.one(Session.select(Session.id).limit(1)) is not None,
        words=any(not term.key for term in wanted.query.terms),
        columns=COLUMNS,
        examples=EXAMPLES,
    )


@fragment("/sessions/rows", template="parts/session_rows.html")
def rows(ask: Ask) -> RowsView:
    """Show those of some sessions that the filter still lets through."""
    ids = [
        int(part) for part in ask.params.text("ids").split(",") if part.isascii() and part.isdigit()
    ]
    wanted = read_filter(ask)
    query = ask_sessions.filtered(ask.reader, wanted, ask.now_us)
    found = ask.reader.rows(
        query.where(Session.id.in_([each for each in ids[:200] if each < 2**63]))
    )
    shown = ask_sessions.rows_of(ask.reader, found, ask.now_us)
    return RowsView(sorted(shown, key=lambda row: (-row.last_us, -row.id)), _columns(ask))


@fragment("/sessions/count", template="parts/session_count.html")
def count(ask: Ask) -> CountView:
    """Say how many sessions the filter lets through."""
    return CountView(ask_sessions.counted(ask.reader, read_filter(ask), ask.now_us))


def _count(ask: Ask, wanted: Filter, found: paging.Page) -> paging.Count | None:
    """Return how many sessions there are, where that costs next to nothing; None elsewhere."""
    if not (found.prev or found.next):
        return paging.Count(len(found.rows), False)
    if wanted.query.terms:
        return None
    return ask_sessions.counted(ask.reader, wanted, ask.now_us, _COUNTED)


def _columns(ask: Ask) -> list[str]:
    asked = {part for text in ask.params.many("cols") for part in text.split(",")}
    chosen = asked or set(ask.prefs.cols.split(","))
    unknown = sorted(asked - COLUMNS.keys() - {""})
    if unknown:
        ask.params.problems.append(f"There is no column “{unknown[0][:40]}”.")
    found = [name for name in COLUMNS if name in chosen]
    return found or list(DEFAULT)


def _chips(ask: Ask, wanted: Filter) -> list[tuple[str, str]]:
    """Return the filters that are on, each with the address of the list without it."""
    first: dict[str, Any] = {"after": None, "before": None}
    found = [
        (_source(term), ask.here(q=wanted.query.without(term) or None, **first))
        for term in wanted.query.terms
    ]
    for name in ("agent", "status", "sev"):
        value = ask.params.text(name)
        if value:
            label = f"{name}:{'>=' if name == 'sev' else ''}{value}"
            found.append((label, ask.here(**{name: None}, **first)))
    if wanted.ids:
        found.append((f"{len(wanted.ids)} chosen", ask.here(s=None, **first)))
    return found


def _source(term: Term) -> str:
    return term.source if len(term.source) <= 60 else term.source[:60] + "…"


def _wider(ask: Ask, wanted: Filter) -> list[Wider]:
    """Return longer spans of time in which the same filter finds something."""
    names = list(RANGES)
    start = names.index(ask.range.name) + 1 if ask.range.name in RANGES else 0
    found: list[Wider] = []
    for name in names[start:]:
        seconds = RANGES[name]
        since = 0 if seconds is None else ask.now_us - seconds * 1_000_000
        if ask.range.name == "custom" and seconds is not None:
            continue
        several = attrs.evolve(wanted, from_us=since, to_us=None)
        number = ask_sessions.counted(ask.reader, several, ask.now_us, 1000)
        if number.number and not (found and found[-1].text == number.text):
            href = ask.here(range=name, **{"from": None, "to": None, "after": None, "before": None})
            found.append(Wider(LABELS[name].lower(), number.text, href))
    return found


# -- deletion


@page(
    "/sessions/delete",
    template="pages/sessions_delete.html",
    nav="sessions",
    title="Delete sessions",
)
def confirm(ask: Ask) -> DeleteView:
    """
    Ask whether the chosen sessions are to be deleted.

    Raises:
        NotFound: None is chosen.
    """
    wanted = Filter(ids=tuple(ask.params.many("s")[:_MOST_CHOSEN]))
    query = ask_sessions.filtered(ask.reader, wanted, ask.now_us)
    found = ask.reader.rows(query.limit(_MOST_CHOSEN)) if wanted.ids else []
    if not found:
        raise NotFound("Choose the sessions to delete in the list first.")
    return DeleteView(
        "Delete sessions", ask_sessions.rows_of(ask.reader, found, ask.now_us), "/sessions"
    )


@action("/sessions/delete")
def delete(ask: Ask) -> Redirect:
    """
    Delete the chosen sessions with everything that is only theirs.

    Raises:
        Refused: It was not confirmed by typing how many.
    """
    ids = [
        int(each) for each in ask.many("id") if each.isascii() and each.isdigit() and len(each) < 18
    ]
    if ask.form.get("confirm", "").strip().lower() != "delete":
        raise Refused("Nothing was deleted: type “delete” to confirm.")
    number = ask.writer.change(changes.delete_sessions(ids[:_MOST_CHOSEN], "deleted by hand"))
    return Redirect("/sessions", notice=f"{number} session{'' if number == 1 else 's'} deleted")


routes = (sessions, rows, count, confirm, delete, *saved_views.routes)
