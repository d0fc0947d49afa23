"""The pages of figures in a real browser: with data, live, by hand and without scripts."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factory
import pytest
from dashboards import Served

from perimeter_plugin_live_trace.store import changes


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

PAGES = [
    "/overview?range=all", "/agents?range=all", "/tools?range=all", "/models?range=all",
    "/findings", "/findings/1", "/findings/matrix", "/pii", "/plugins", "/status", "/settings",
    "/connect?client=curl&assistant=codex", "/agents/planner?range=all",
    *(f"/agents/planner?range=all&tab={tab}"
      for tab in ("sessions", "findings", "tools", "prompts", "behaviour")),
]  # fmt: skip


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 1440), ("light", 390)])
def test_pages_with_data_are_accessible(served: Served, show: Show, theme: str, width: int) -> None:
    """No violation that axe finds where there is something to show, in both themes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = show(served.url, "/settings", theme=theme, width=width)
    found = {}
    for path in PAGES:
        page.goto(served.url + path)
        for violation in axe.run(page).response["violations"]:
            places = [str(node["html"])[:200] for node in violation["nodes"][:3]]
            found[f"{path} {violation['id']}"] = places
    assert not found


def test_pages_with_data_fit_on_a_phone(served: Served, show: Show) -> None:
    """At 320 pixels tables scroll by themselves, and the page does not."""
    page = show(served.url, "/settings", width=320, height=640)
    wide = {}
    for path in PAGES:
        page.goto(served.url + path)
        wide[path] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert not {path: by for path, by in wide.items() if by > 0}


def test_a_bar_leads_to_its_sessions(served: Served, show: Show) -> None:
    """A click on a bar opens the sessions of its time."""
    page = show(served.url, "/overview?range=all")
    page.locator(".chart .hits a").last.click()
    page.wait_for_url(re.compile(r"/sessions\?.*from="))
    assert page.locator("h1").inner_text() == "Sessions"


def test_deciding_by_hand(served: Served, show: Show) -> None:
    """From the list to a finding, a decision with its reason, and the trail that tells of it."""
    page = show(served.url, "/findings")
    page.locator("td.main a").first.click()
    page.wait_for_url("**/findings/*")
    page.get_by_label("Reason").fill("known, and harmless here")
    page.get_by_role("button", name="Ignore").click()
    page.get_by_text("1 finding now ignored").wait_for()
    assert "known, and harmless here" in page.locator(".trail").inner_text()
    page.goto(served.url + "/findings")
    page.locator("input[name=group]").first.check()
    page.get_by_role("button", name="Acknowledged").click()
    page.get_by_text("1 finding now acknowledged").wait_for()


def test_everything_without_scripts(served: Served, show: Show) -> None:
    """Filters, sorting, tabs, decisions and settings work where scripts do not."""
    page = show(served.url, "/models?range=all", java_script_enabled=False)
    page.locator("th a", has_text="Cost").click()
    assert "sort=-cost" in page.url
    page.get_by_label("Filter models by name").fill("claude")
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr td.main").count() == 2
    page.goto(served.url + "/agents?range=all")
    page.locator("td.main a").first.click()
    page.get_by_role("link", name="Prompts").click()
    assert page.locator(".versions li").count() >= 1
    page.goto(served.url + "/settings")
    page.locator("select[name=theme]").select_option("dark")
    page.get_by_role("button", name="Save", exact=True).click()
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_a_report_prints(served: Served, show: Show) -> None:
    """A report is written, shown, and has content on paper."""
    page = show(served.url, "/reports")
    page.get_by_label("Title").fill("Quarterly")
    page.locator("select[name=range]").select_option("all")
    page.get_by_role("button", name="Write report").click()
    page.wait_for_url("**/reports/RPT-*")
    assert page.locator("h1").inner_text() == "Quarterly"
    page.emulate_media(media="print")
    assert not page.locator("header.bar").is_visible()
    assert len(page.pdf()) > 20_000
    with page.expect_download() as download:
        page.emulate_media(media="screen")
        page.get_by_role("link", name="Markdown").click()
    assert download.value.suggested_filename.endswith(".md")


def test_connect_turns_live(dashboard: Open, show: Show) -> None:
    """The connect page turns by itself when the first request comes."""
    served = dashboard()
    page = show(served.url, "/connect")
    page.get_by_text("Waiting for the first request").wait_for()
    page.locator(".live[data-state=live]").wait_for()
    _talk(served)
    page.get_by_role("link", name="Open session").wait_for(timeout=10_000)


def test_overview_is_live(dashboard: Open, small_database: Path, show: Show) -> None:
    """New events appear on the overview by themselves."""
    served = dashboard(small_database)
    page = show(served.url, "/overview")
    page.locator(".live[data-state=live]").wait_for()
    _talk(served, "Something quite new happens here.")
    page.locator("#latest").get_by_text("Something quite new happens here.").first.wait_for(
        timeout=15_000
    )
    page.locator("#tops").get_by_text(factory.AGENTS[0].key).first.wait_for(timeout=15_000)


def test_detectors_change_what_is_said(dashboard: Open, show: Show) -> None:
    """Not tested, off and clean are different words and cells."""
    served = dashboard()
    page = show(served.url, "/findings/matrix")
    assert page.locator(".matrix .cell.untested").count() == 10
    for name, state in (("LLM01", "on"), ("LLM02", "off")):
        body = {"covers": [name], "state": state}
        served.changes.change(changes.put_document("detector", name, body))
    page.reload()
    cells = page.locator(".matrix .cell")
    assert cells.nth(0).inner_text() == "0"
    assert cells.nth(1).inner_text() == "\N{EN DASH}"
    assert cells.nth(2).inner_text() == "n/a"
    assert cells.nth(4).inner_text() == "Not tested"


def test_hostile_pages(dashboard: Open, hostile_database: Path, show: Show) -> None:
    """Nothing that was recorded runs, loads or opens anything on any page."""
    served = dashboard(hostile_database)
    page = show(served.url, "/overview?range=all")
    paths = ["/overview?range=all", "/agents?range=all", "/models?range=all", "/tools?range=all",
             "/findings?state=all", "/pii", "/findings/matrix"]  # fmt: skip
    keys = [row[0] for row in served.reader.sql("SELECT id FROM finding_groups LIMIT 10")]
    for path in [*paths, *(f"/findings/{key}" for key in keys)]:
        page.goto(served.url + path)
        assert page.locator("main img, main iframe, main script").count() == 0
        assert page.evaluate("window.__x === undefined")


def _talk(served: Served, text: str = "Hello?") -> None:
    """Record a conversation that happens now."""
    traffic = factory.Traffic(random.Random(3), time.time())
    talk = factory.Talk(traffic, factory.AGENTS[0], f"new-{text[:3]}", time.time() - 2, {})
    served.changes.take(talk.turn(text))
