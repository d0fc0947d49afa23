"""Files that a reader downloads have what the list shows."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dashboards import Served


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]


def download(page: Any, link: Any) -> Path:
    """Follow a link to a file."""
    with page.expect_download() as found:
        link.click()
    return Path(found.value.path()).rename(
        Path(found.value.path()).with_name(found.value.suggested_filename)
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """Read a file as what its name says that it is."""
    text = path.read_text("utf-8-sig")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix == ".json":
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("filters", ["", "&status=error", "&q=agent:planner&sev=low"])
def test_a_list_of_sessions(served: Served, show: Show, filters: str) -> None:
    """As many rows as are counted, the same ones as are listed, in every format."""
    page = show(served.url, f"/sessions?range=all&limit=200{filters}")
    listed = page.eval_on_selector_all("tr[data-row]", "all => all.map((one) => one.dataset.peek)")
    counted = int(re.findall(r"\d+", page.locator(".count-of").inner_text())[0])
    under = page.locator(".count-of")
    files = [download(page, under.get_by_role("link", name=name)) for name in ("CSV", "JSONL")]
    # JSON has no link of its own: it is the same address with another ending.
    csv_link = under.get_by_role("link", name="CSV")
    csv_link.evaluate("(link) => { link.href = link.href.replace('.csv', '.json'); }")
    files.append(download(page, csv_link))
    assert [path.suffix for path in files] == [".csv", ".jsonl", ".json"]
    for path in files:
        assert [row["session"] for row in rows(path)] == listed
    assert len(listed) == counted > 0


def test_the_chosen_sessions(served: Served, show: Show) -> None:
    """Those whose boxes are ticked, and no other."""
    page = show(served.url, "/sessions?range=all")
    chosen = []
    for number in (1, 4):
        row = page.locator("tr[data-row]").nth(number)
        row.locator("[data-pick]").check()
        chosen.append(row.get_attribute("data-peek"))
    path = download(page, page.locator("#picked").get_by_role("button", name="Export"))
    assert [row["session"] for row in rows(path)] == chosen


def test_events_of_a_kind(served: Served, show: Show) -> None:
    """As many as there are of the kind that the list is filtered by."""
    page = show(served.url, "/events?range=all&kind=tool.execution")
    found = rows(download(page, page.get_by_role("link", name="Export")))
    count = served.reader.sql("SELECT count(*) FROM events WHERE kind = 'tool.execution'")[0][0]
    assert len({row["id"] for row in found}) == len(found) == count > 50
    assert {row["kind"] for row in found} == {"tool.execution"}


def test_findings_of_a_risk(served: Served, show: Show) -> None:
    """As many as the groups that are listed say."""
    page = show(served.url, "/findings?owasp=LLM01")
    counts = page.locator("tbody tr td:nth-child(6)").all_inner_texts()
    found = rows(download(page, page.get_by_role("link", name="CSV")))
    assert len(found) == sum(map(int, counts)) > 0


def test_events_of_a_session(served: Served, show: Show) -> None:
    """All of its events, with their attributes where that is said."""
    page = show(served.url, "/sessions/session-000?range=all")
    kept = served.reader.sql("SELECT events FROM sessions WHERE public_id = 'session-000'")[0][0]
    for name in ("Events with attributes, JSONL", "Events, CSV"):
        link = page.locator("a", has_text=name)
        page.locator("details", has=link).last.locator("summary").click()
        found = rows(download(page, link))
        assert len(found) == kept
        assert ("attributes" in found[0]) == ("attributes" in name)
        page.reload()
