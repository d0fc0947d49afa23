"""Overview: how things go, what needs attention, and where the money goes."""

from __future__ import annotations

from typing import Any

import msgspec

from perimeter_plugin_live_trace.queries import overview as ask_overview
from perimeter_plugin_live_trace.queries.attention import Item, attention, make
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.names import agent_by_key
from perimeter_plugin_live_trace.queries.overview import (
    AgentRow,
    Bucket,
    EventRow,
    Figures,
    NameRow,
    Now,
)
from perimeter_plugin_live_trace.queries.rollups import Of
from perimeter_plugin_live_trace.queries.spans import Span
from perimeter_plugin_live_trace.web import formats
from perimeter_plugin_live_trace.web.drawn import drawn
from perimeter_plugin_live_trace.web.page import Ask, Redirect, fragment, page


class Change(msgspec.Struct, frozen=True):
    """
    How a figure differs from the time before.

    Attributes:
        share: Such as 0.12 for 12 % more; None where there was nothing to compare with.
        word: For people, such as `12 % more`.
        tone: `good`, `bad` or "": whether that is welcome.
        arrow: `up`, `down` or `even`.
    """

    share: float | None
    word: str
    tone: str
    arrow: str


class OverviewView(msgspec.Struct):
    """The page."""

    title: str
    agent: str
    span: Span
    now: Now
    figures: Figures
    before: Figures
    changes: dict[str, Change]
    coverage: Coverage
    attention: list[Item]
    buckets: list[Bucket]
    costs: dict[str, list[int]]
    agents: list[AgentRow]
    tools: list[NameRow]
    models: list[NameRow]
    events: list[EventRow]
    charts: Any = None


class Latest(msgspec.Struct, frozen=True):
    """The newest events."""

    events: list[EventRow]


@page("/overview", template="pages/overview.html", nav="overview", title="Overview")
def overview(ask: Ask) -> OverviewView | Redirect:
    """Show it; before anything is recorded, the page that helps to connect is more use."""
    reader, agent = ask.reader, _agent(ask)
    if not ask.json and ask_overview.is_empty(reader):
        return Redirect("/connect")
    span = ask_overview.span_for(reader, ask.range.from_us, ask.range.to_us, ask.now_us)
    course = ask_overview.course(reader, span, Of("llm", agent))
    before = ask_overview.figures(reader, *span.before(), agent)
    view = OverviewView(
        title="Overview",
        agent=ask.params.text("agent") if agent is not None else "",
        span=span,
        now=ask_overview.now(reader, ask.now_us, agent),
        figures=course.figures,
        before=before,
        changes=_changes(course.figures, before),
        coverage=coverage(reader),
        attention=attention(reader, span, faults(ask)),
        buckets=course.buckets,
        costs=course.costs,
        agents=ask_overview.dearest_agents(reader, span),
        tools=ask_overview.worst_tools(reader, span),
        models=ask_overview.dearest_models(course.models),
        events=ask_overview.latest_events(reader),
    )
    if not ask.json:
        view.charts = drawn(ask, span, view.buckets, view.costs, view.figures)
    return view


@fragment("/overview/events", template="pages/overview_events.html")
def events(ask: Ask) -> Latest:
    """Show the newest events."""
    return Latest(ask_overview.latest_events(ask.reader))


def _agent(ask: Ask) -> int | None:
    key = ask.params.text("agent")
    found = agent_by_key(ask.reader, key) if key else None
    if key and found is None:
        ask.params.problems.append(f"There is no agent “{key[:60]}”: all are shown.")
    return found.id if found else None


def _changes(now: Figures, before: Figures) -> dict[str, Change]:
    return {
        "calls": change(now.calls_per_min, before.calls_per_min),
        "errors": change(now.error_rate, before.error_rate, good="down", points=True),
        "p95": change(now.p95_us, before.p95_us, good="down"),
        "cost": change(now.cost_nano, before.cost_nano, good="down"),
    }


def change(
    now: float | None, before: float | None, *, good: str = "", points: bool = False
) -> Change:
    """
    Return how a figure differs from what it was.

    Args:
        now: The figure; None where there is none.
        before: What it was.
        good: Which way is welcome: `up`, `down`, or "" for neither.
        points: Whether it is a share, whose difference is told in percentage points.
    """
    if now is None or before is None or (not points and not before):
        return Change(None, "nothing before", "", "even")
    share = now - before if points else now / before - 1
    shown = f"{abs(share) * 100:,.1f} points" if points else formats.percent(abs(share))
    if abs(share) < (0.0005 if points else 0.005):
        return Change(share, "as before", "", "even")
    arrow = "up" if share > 0 else "down"
    word = f"{shown} {'more' if share > 0 else 'less'}"
    return Change(share, word, ("good" if arrow == good else "bad") if good else "", arrow)


def faults(ask: Ask) -> list[Item]:
    """Return what is wrong with the proxy's plugins and with the store."""
    ingest, found = ask.site.ingest, []
    for plugin in ingest.plugins:
        errors, state = int(plugin.get("errors") or 0), str(plugin.get("state", ""))
        if not errors and state != "failed":
            continue
        name = str(plugin.get("name", "a plugin"))
        title = f"Plugin {name} failed to load" if state == "failed" else f"Plugin {name} fails"
        found.append(_fault(ask, 3, title, formats.plural(errors, "error"), max(1, errors)))
    if ingest.state != "open":
        title = f"The database is {ingest.state}"
        found.append(_fault(ask, 4, title, ingest.problem or "Nothing is recorded.", 1))
    if ingest.missing:
        detail = "Totals are too low. See Health for the reason."
        lost = formats.plural(ingest.missing, "record")
        found.append(_fault(ask, 3, f"{lost} could not be stored", detail, ingest.missing))
    return found


def _fault(ask: Ask, sev: int, title: str, detail: str, count: int) -> Item:
    return make(
        "health", sev, title, detail, path="/plugins", at_us=ask.now_us, count=count,
        now_us=ask.now_us,
    )  # fmt: skip


routes = (overview, events)
