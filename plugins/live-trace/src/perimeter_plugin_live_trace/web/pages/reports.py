"""Reports: written from what is known now, kept, read, printed and taken along."""

from __future__ import annotations

import msgspec

from perimeter_plugin_live_trace.queries import reports as ask_reports
from perimeter_plugin_live_trace.queries.coverage import Coverage, coverage
from perimeter_plugin_live_trace.queries.names import AgentName, agent_by_key, agent_name
from perimeter_plugin_live_trace.queries.owasp import BY_KEY
from perimeter_plugin_live_trace.queries.reports import KIND, Report, Summary
from perimeter_plugin_live_trace.store import changes
from perimeter_plugin_live_trace.store.models import Agent
from perimeter_plugin_live_trace.web import report_files
from perimeter_plugin_live_trace.web.ask import RANGES
from perimeter_plugin_live_trace.web.page import Ask, Download, NotFound, Redirect, action, page


class ReportsView(msgspec.Struct, frozen=True):
    """The list."""

    title: str
    reports: list[Summary]
    agents: list[AgentName]
    coverage: Coverage
    words: dict[str, str]


class ReportView(msgspec.Struct, frozen=True):
    """A report."""

    title: str
    report: Report
    decision: str
    about: str
    states: dict[str, str]
    why: dict[str, str]


@page("/reports", template="pages/reports.html", nav="reports", title="Reports")
def reports(ask: Ask) -> ReportsView:
    """Show the reports."""
    newest = Agent.select(Agent.id, Agent.key, Agent.name).order_by(Agent.last_us.desc()).limit(200)
    return ReportsView(
        title="Reports",
        reports=ask_reports.summaries(ask.reader),
        agents=[agent_name(*row) for row in ask.reader.rows(newest)],
        coverage=coverage(ask.reader),
        words=ask_reports.WORDS,
    )


@action("/reports")
def create(ask: Ask) -> Redirect:
    """
    Write a report of the span of time that is chosen, and keep it.

    Raises:
        NotFound: It is of an agent that is not there.
    """
    key = ask.form.get("agent", "")
    agent = agent_by_key(ask.reader, key) if key else None
    if key and agent is None:
        raise NotFound("There is no such agent, or no longer.")
    name = agent.name if agent else "All agents"
    title = " ".join(ask.form.get("title", "").split())[:120] or f"Posture of {name}"
    seconds = RANGES.get(ask.form.get("range", ""), 7 * 86400)
    made = ask_reports.write(
        ask.reader,
        title=title,
        from_us=0 if seconds is None else ask.now_us - seconds * 1_000_000,
        to_us=ask.now_us,
        now_us=ask.now_us,
        version=ask.site.version,
        agent=(agent.id, agent.name) if agent else None,
    )
    ask.writer.change(changes.put_document(KIND, made.key, msgspec.to_builtins(made)))
    return Redirect(f"/reports/{made.key}")


@page("/reports/{key}", template="pages/report.html", nav="reports")
def report(ask: Ask) -> ReportView:
    """
    Show a report.

    Raises:
        NotFound: There is none.
    """
    found = _report(ask)
    return ReportView(
        title=found.title,
        report=found,
        decision=ask_reports.WORDS[found.decision],
        about=report_files.about(found),
        states=report_files.STATES,
        why={key: risk.why for key, risk in BY_KEY.items()},
    )


def _report(ask: Ask) -> Report:
    found = ask_reports.report(ask.reader, ask.path["key"])
    if found is None:
        raise NotFound("There is no such report, or no longer.")
    return found


@page("/reports/{key}/file/{form}", template="pages/report.html")
def file(ask: Ask) -> Download:
    """
    Write a report as a file: `markdown` or `html`.

    Raises:
        NotFound: There is no such report, or it can't be had in that form.
    """
    found = _report(ask)
    if ask.path["form"] == "markdown":
        return Download(
            f"{found.key}.md", "text/markdown; charset=utf-8", report_files.markdown(found)
        )
    if ask.path["form"] != "html":
        raise NotFound("A report can be had as markdown or html.")
    return Download(f"{found.key}.html", "text/html; charset=utf-8", report_files.html(found))


@action("/reports/{key}/delete")
def delete(ask: Ask) -> Redirect:
    """Delete a report."""
    found = _report(ask)
    ask.writer.change(changes.delete_document(KIND, found.key))
    return Redirect("/reports", "The report was deleted.")


routes = (reports, create, report, file, delete)
