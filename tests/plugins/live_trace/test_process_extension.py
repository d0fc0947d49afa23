"""Another plugin's pages, jobs, records and tools, in the dashboard of a running proxy."""

from __future__ import annotations

import httpx
import pytest
from traced import traced

from proxies import wait_until


EXTRA = '''
import attrs
from perimeter import hookimpl
from perimeter.dashboard import (
    Contribution, Extension, Facts, Heading, Job, Kind, Link, Notice, Page, Record, Table, Text,
    Tool,
)


class Extra:
    """Adds to the dashboard."""

    @attrs.frozen
    class Config:
        """No options."""

    def __init__(self, config, context):
        pass

    @hookimpl
    def dashboard(self):
        return Extension("perimeter_extra:contribute", {"greeting": "<b>good day</b>"})


def contribute(options):
    print("chatter " * 50_000)  # which is nobody's answer and fills no pipe

    def content(records, params):
        found = records.find("extra.count")
        return [
            Heading("Counted"),
            Notice(options["greeting"], "medium"),
            Text(params.get("say", "nothing")),
            Facts([("sessions", str(len(found)))]),
            Table(["session", "events"], [
                [Link(each.session, f"/sessions/{each.session}"), each.body["events"]]
                for each in found
            ]),
        ]

    def count(records):
        for session in records.sessions():
            events = len(records.events(session))
            records.put("extra.count", Record(session, {"events": events}, session=session))

    def fail(records):
        raise RuntimeError("this one always fails")

    return Contribution(
        pages=[Page("counts", "Counts", content)],
        jobs=[Job("fail", 0.05, fail), Job("count", 0.05, count)],
        kinds=[Kind("extra.count", "Counts")],
        tools=[Tool("extra_count", "Counts.", {"type": "object", "properties": {}},
                    lambda records, given: {"kept": len(records.find("extra.count"))})],
    )
'''


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """Yield a proxy with live trace and a plugin that adds to it."""
    place = tmp_path / "site" / "extra-1.0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text("[perimeter.plugins]\nextra = perimeter_extra:Extra\n")
    (tmp_path / "site" / "perimeter_extra.py").write_text(EXTRA)
    with traced(tmp_path, monkeypatch, "[plugins.extra]\n") as running:
        yield running


def test_what_a_plugin_adds(trace):
    """Its job sees sessions and keeps records, its page shows them escaped, its tool answers."""
    trace.proxy.line().chat("hello")
    trace.wait_for_calls(1)
    url = f"{trace.url}/x/extra/counts?say=<i>hi</i>"
    wait_until(lambda: "/sessions/ses-" in httpx.get(url, timeout=30).text)
    page = httpx.get(url, timeout=30).text

    assert "&lt;b&gt;good day&lt;/b&gt;" in page
    assert "&lt;i&gt;hi&lt;/i&gt;" in page
    assert "<b>good" not in page
    asked = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "extra_count", "arguments": {}},
    }
    headers = {"accept": "application/json, text/event-stream"}
    answer = httpx.post(f"{trace.url}/mcp", json=asked, headers=headers, timeout=30)
    assert '"kept"' in answer.text.replace("\\", "")
    assert "this one always fails" in trace.proxy.said
