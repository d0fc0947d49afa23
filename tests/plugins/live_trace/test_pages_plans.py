"""No page of figures reads a large table from end to end."""

from __future__ import annotations

import re

import factory
import pytest
from pages_site import Pages

from perimeter_plugin_live_trace.store import Reader
from perimeter_plugin_live_trace.store.reader import _sql


LARGE = ("events", "sessions", "calls", "nodes", "blobs", "texts", "findings", "rollups")
PAGES = (
    "/overview", "/overview/events", "/agents", "/agents?q=plan", "/tools", "/models", "/findings",
    "/findings?agent=planner&sev=high", "/findings/1", "/findings/matrix", "/pii", "/plugins",
    "/status", "/health", "/metrics", "/settings", "/connect", "/reports", "/export/events.jsonl",
    "/export/sessions.csv", "/export/findings.json?owasp=LLM01",
    *(f"/agents/planner?tab={tab}"
      for tab in ("overview", "sessions", "findings", "tools", "prompts", "behaviour")),
)  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    path = tmp_path_factory.mktemp("plans") / "a.db"
    factory.build(path)
    made = Pages(path)
    yield made
    made.close()


@pytest.mark.parametrize("path", PAGES)
def test_no_large_table_is_scanned(pages, path, monkeypatch):
    """Every statement of a page reads large tables by an index."""
    asked = []
    rows, sql = Reader.rows, Reader.sql

    def noted_rows(self, query):
        asked.append(_sql().sql(query).query())
        return rows(self, query)

    def noted_sql(self, text, params=()):
        asked.append((text, params))
        return sql(self, text, params)

    monkeypatch.setattr(Reader, "rows", noted_rows)
    monkeypatch.setattr(Reader, "sql", noted_sql)
    assert pages.client.get(path).status_code == 200
    monkeypatch.undo()
    assert asked
    bad = {
        f"{step[3]}: {text}"
        for text, params in asked
        for step in pages.reader.sql(f"EXPLAIN QUERY PLAN {text}", params)
        if re.fullmatch(rf"SCAN ({'|'.join(LARGE)})( AS \w+)?", step[3])
    }
    assert not bad
