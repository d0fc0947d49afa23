"""Reports as files: Markdown, and HTML that stands alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from perimeter_plugin_live_trace.queries.reports import WORDS, Control, Report
from perimeter_plugin_live_trace.web import formats


STATES = {
    "fail": "Failed",
    "warning": "Warning",
    "pass": "Nothing found",
    "off": "Detector off",
    "na": "Not visible in traffic",
    "untested": "Not tested",
}
"""How the states of controls read."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0 1.5rem }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid #ccd }
h2 { margin-top: 2rem }
"""

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def markdown(report: Report) -> Iterator[bytes]:
    """Return a report as Markdown; nothing in it is a heading, a link or HTML of somebody else."""
    yield f"# {_md(report.title)}\n\n".encode()
    for title, text, table in _parts(report):
        yield f"## {title}\n\n".encode()
        if text:
            yield f"{_md(text)}\n\n".encode("utf-8", "replace")
        if table:
            yield _md_table(table).encode("utf-8", "replace")


def html(report: Report) -> Iterator[bytes]:
    """Return a report as a page of HTML without scripts, everything in it escaped."""
    title = escape(report.title)
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">\n"
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    ).encode("utf-8", "replace")
    for heading, text, table in _parts(report):
        words = f"<p>{escape(text)}</p>\n" if text else ""
        part = f"<h2>{heading}</h2>\n{words}{_html_table(table) if table else ''}"
        yield part.encode("utf-8", "replace")
    yield b"</body>\n</html>\n"


def _parts(report: Report) -> Iterator[tuple[str, str, Table | None]]:
    """Yield the titles, texts and tables of a report."""
    yield "Summary", f"{WORDS[report.decision]}. {about(report)}", _summary(report)
    yield "OWASP Top 10 for LLM applications (2025)", "", _controls(report.controls)
    yield "Agents", "", _agents(report)
    nothing = "None are undecided." if report.tested else "Not tested."
    yield "Findings", "" if report.groups else nothing, _groups(report) if report.groups else None
    decided = _trail(report) if report.trail else None
    yield "Decisions", "" if decided else "Nobody has decided anything yet.", decided


def about(report: Report) -> str:
    """Return what the decision of a report rests on."""
    if not report.tested and report.groups:
        return (
            "A plugin that does not say what it tests reported findings; nothing else was tested."
        )
    if not report.tested:
        return (
            "No detector was on: nothing can be said about the security of this traffic."
            " The figures below are of its use."
        )
    off = f", {report.detectors_off} off" if report.detectors_off else ""
    return f"{formats.plural(report.detectors_on, 'detector')} on{off}."


def _summary(report: Report) -> Table:
    figures = report.figures
    not_tested = "Not tested"
    counts = {
        name: f"{count:,}" if report.tested or count else not_tested
        for name, count in reversed(report.severities.items())
    }
    rows = [
        ("From", formats.iso(report.from_us)),
        ("To", formats.iso(report.to_us)),
        ("Scope", report.agent or "All agents"),
        ("Sessions", f"{report.sessions:,}"),
        ("Calls", f"{figures.calls:,}"),
        ("Error rate", formats.percent(figures.error_rate)),
        ("Latency p95", formats.duration(figures.p95_us)),
        ("Cost", formats.usd(figures.cost_nano)),
        *((f"{name.capitalize()} findings, undecided", count) for name, count in counts.items()),
    ]
    return ("", ""), rows


def _controls(controls: Sequence[Control]) -> Table:
    rows = [
        (
            each.key,
            each.name,
            STATES[each.state],
            f"{each.count:,}" if each.state in {"fail", "warning", "pass"} else formats.NOTHING,
            each.fix if each.count else "",
        )
        for each in controls
    ]
    return ("Risk", "Name", "State", "Findings", "What helps"), rows


def _agents(report: Report) -> Table:
    rows = [
        (
            each.name,
            f"{each.calls:,}",
            formats.percent(each.error_rate),
            formats.usd(each.cost_nano),
            f"{each.tools_used} of {each.tools_offered}",
            "Not tested" if each.findings is None else f"{each.findings:,}",
        )
        for each in report.agents
    ]
    return ("Agent", "Calls", "Error rate", "Cost", "Tools used", "Findings"), rows


def _groups(report: Report) -> Table:
    rows = [
        (
            formats.severity(each.sev).capitalize(),
            each.title,
            each.owasp,
            each.agent.name,
            f"{each.count:,}",
            each.state,
            formats.iso(each.last_us),
        )
        for each in report.groups
    ]
    return ("Severity", "Finding", "Risk", "Agent", "Count", "State", "Last"), rows


def _trail(report: Report) -> Table:
    rows = [
        (formats.iso(each.at_us), each.subject, f"{each.before} → {each.after}", each.reason)
        for each in report.trail
    ]
    return ("Time", "Subject", "Change", "Reason"), rows


def _md(text: str) -> str:
    """Return a text in which Markdown sees nothing."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&-])", r"\\\1", " ".join(text.split()))


def _md_table(table: Table) -> str:
    head, rows = table
    lines = [head, ["---"] * len(head)]
    text = [f"| {' | '.join(lines[0])} |", f"| {' | '.join(lines[1])} |"]
    text += [f"| {' | '.join(_md(cell) for cell in row)} |" for row in rows]
    return "\n".join(text) + "\n\n"


def _html_table(table: Table) -> str:
    head, rows = table
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{top}</tr>\n{body}</table>\n"
