"""Reports: what they say, that they stay as they were, and their files."""

from __future__ import annotations

import re

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.store import changes


@pytest.fixture
def pages(tmp_path):
    factory.build(tmp_path / "a.db")
    made = Pages(tmp_path / "a.db")
    yield made
    made.close()


@pytest.fixture
def empty(tmp_path):
    made = Pages(tmp_path / "a.db")
    yield made
    made.close()


def write(pages, **fields):
    answer = pages.post("/reports", page="/reports", **{"range": "all", **fields})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def test_report(pages):
    """A report has the figures of its time, the findings, and a decision."""
    report = pages.json(write(pages, title="First"))["report"]
    assert report["title"] == "First"
    assert report["decision"] == "attention"
    assert report["sessions"] == 50
    assert report["severities"] == {"low": 1, "medium": 1, "high": 1, "critical": 1}
    calls = pages.reader.sql(
        "SELECT count(*) FROM events WHERE kind IN ('llm.call.finish', 'llm.call.error')"
    )[0][0]
    assert report["figures"]["calls"] == calls
    states = {each["key"]: each["state"] for each in report["controls"]}
    assert (states["LLM01"], states["LLM02"], states["LLM05"]) == ("fail", "warning", "untested")


def test_untested_traffic_passes_nothing(empty):
    """A report without detectors decides nothing, and every control reads "not tested"."""
    path = write(empty)
    report = empty.json(path)["report"]
    assert report["decision"] == "untested"
    assert {each["state"] for each in report["controls"]} == {"untested"}
    for text in (
        empty.get(path).text,
        empty.get(path + "/file/markdown").text,
        empty.get(path + "/file/html").text,
    ):
        assert "Not tested" in text
        assert "Nothing found" not in text


def test_tested_and_clean(empty):
    """With detectors on and nothing found, what they cover is clean and the rest is not."""
    empty.changes.change(changes.put_document("detector", "all", {"covers": ["LLM01", "LLM02"]}))
    report = empty.json(write(empty))["report"]
    assert report["decision"] == "clear"
    states = {each["key"]: each["state"] for each in report["controls"]}
    assert (states["LLM01"], states["LLM06"], states["LLM03"]) == ("pass", "untested", "na")


def test_reports_stay(pages):
    """A report does not change when findings do."""
    path = write(pages)
    before = pages.json(path)["report"]
    for group in pages.json("/findings")["rows"]:
        pages.changes.change(changes.set_group_state(group["id"], "fixed"))
    assert pages.json(path)["report"] == before
    after = pages.json(write(pages))["report"]
    assert after["decision"] == "untested"
    assert after["trail"][0]["after"] == "fixed"


def test_report_of_one_agent(pages):
    """A report of one agent tells of nobody else."""
    report = pages.json(write(pages, agent="support-triage"))["report"]
    assert [each["key"] for each in report["agents"]] == ["support-triage"]
    assert report["groups"] == []
    assert pages.post("/reports", page="/reports", agent="nobody").status_code == 404


def test_list_and_delete(pages):
    """Reports are listed, the newest first, and can be deleted."""
    paths = [write(pages, title=f"Report {number}") for number in range(3)]
    listed = pages.json("/reports")["reports"]
    assert {each["title"] for each in listed} == {"Report 0", "Report 1", "Report 2"}
    assert pages.post(paths[0] + "/delete", page="/reports").status_code == 303
    assert pages.get(paths[0]).status_code == 404
    assert len(pages.json("/reports")["reports"]) == 2


TITLE = '<script>alert(1)</script> | [x](javascript:1) # "quoted"'


def test_files_are_escaped(pages):
    """Nothing in a report becomes a tag in its HTML or markup in its Markdown."""
    pages.changes.change(lambda work: work.sql("UPDATE finding_groups SET title = ?", (TITLE,)))
    path = write(pages, title=TITLE)
    html = pages.get(path + "/file/html")
    assert "attachment" in html.headers["content-disposition"]
    assert "<script" not in html.text
    assert "&lt;script&gt;alert(1)" in html.text
    markdown = pages.get(path + "/file/markdown").text
    assert "\\<script\\>" in markdown
    assert "](javascript" not in markdown
    assert not re.search(r"(?<!\\)\|.*alert.*(?<!\\)\| \[x", markdown)
    assert "<script>alert" not in pages.get(path).text


def test_findings_without_detectors(pages):
    """Findings of a plugin that does not say what it tests make nothing else tested."""
    path = write(pages)
    report = pages.json(path)["report"]
    assert not report["tested"]
    agents = {each["key"]: each["findings"] for each in report["agents"]}
    assert (agents["planner"], agents["support-triage"]) == (8, None)
    assert "does not say what it tests" in pages.get(path).text
