"""The lists in a real browser: turned, filtered, peeked into, followed, and without JavaScript."""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factory
import pytest
from dashboards import Served
from factory import AGENTS, Talk, Traffic


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

VIEWS = ["conversation", "timeline", "events", "findings", "pii", "info"]
PAGES = [
    "/sessions?range=all",
    "/sessions?range=all&peek=session-000&q=has:findings",
    "/sessions?q=zebra",
    "/sessions/delete?s=session-000",
    *(f"/sessions/session-005?view={view}" for view in VIEWS),
    *(f"/sessions/session-rewritten?view={view}" for view in VIEWS),
    "/sessions/session-004",
    "/events?range=all",
    "/events/3/body?part=request&as=json",
    "/events/3/body?part=reply-0&as=md",
    "/events/3/curl",
    "/search?q=histogram",
    "/search?q=web_s",
    "/compare",
    "/compare?a=session-000&b=session-006",
]  # fmt: skip


@pytest.mark.parametrize(
    ("theme", "width"), [("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)]
)
def test_every_page_is_accessible_and_fits(
    served: Served, show: Show, theme: str, width: int
) -> None:
    """No violation that axe finds, one heading, and nothing that scrolls the page sideways."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = show(
        served.url, "/settings", theme=theme, width=width, height=900 if width > 700 else 844
    )
    found: dict[str, list[str]] = {}
    for path in PAGES:
        page.goto(f"{served.url}{path}")
        assert page.locator("h1").count() == 1, path
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        for violation in axe.run(page).response["violations"]:
            places = [str(node["target"]) for node in violation["nodes"][:3]]
            found[f"{path} {violation['id']}"] = places
    assert not found, json.dumps(found, indent=1)


def test_without_javascript(served: Served, show: Show) -> None:
    """Filter, turn the page, open, look at the events."""
    page = show(served.url, "/sessions?range=all&limit=5", java_script_enabled=False)
    page.fill(".filters input[name=q]", "agent:support-triage")
    page.click(".filters button:has-text('Filter')")
    assert page.locator("tbody[data-rows] tr").count() == 5
    first = page.locator("tbody a[data-open]").first.inner_text()
    page.click("a[rel=next]")
    assert page.locator("tbody[data-rows] tr").count() == 4
    page.click("a[rel=prev]")
    assert page.locator("tbody a[data-open]").first.inner_text() == first
    page.locator("tbody a[data-open]").first.click()
    page.click(".tabs a[data-tab=events]")
    assert page.locator("tbody tr").count() > 1


def test_the_address_restores_everything(served: Served, show: Show) -> None:
    """Sorting and paging change it; reload, Back and a fresh window give the same rows."""
    page = show(served.url, "/sessions?range=all&limit=5")
    page.click("th a:has-text('Cost')")
    page.wait_for_url("**sort=-cost**")
    page.click("a[rel=next]")
    page.wait_for_url("**after=**")
    rows = page.locator("tbody a[data-open]").all_inner_texts()
    page.reload()
    assert page.locator("tbody a[data-open]").all_inner_texts() == rows
    again = show(served.url, page.url.removeprefix(served.url))
    assert again.locator("tbody a[data-open]").all_inner_texts() == rows
    page.go_back()
    assert "after=" not in page.url


def test_peeking_by_keyboard(served: Served, show: Show) -> None:
    """`j` goes down, `p` peeks, the address has it, `Esc` closes."""
    page = show(served.url, "/sessions?range=all")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("p")
    page.locator("#peek h2").wait_for()
    title = page.locator("tr.current a[data-open]").inner_text()
    assert page.locator("#peek h2").inner_text().startswith(title[:20])
    assert "peek=" in page.url
    page.keyboard.press("Escape")
    page.locator("#peek").wait_for(state="detached")
    assert "peek=" not in page.url


def test_two_sessions_are_chosen_and_compared(served: Served, show: Show) -> None:
    """The buttons are there once something is chosen."""
    page = show(served.url, "/sessions?range=all&q=agent:support-triage")
    assert page.locator("#picked").is_hidden()
    page.locator("tbody input[data-pick]").nth(0).check()
    assert page.locator("button:has-text('Compare')").is_disabled()
    page.locator("tbody input[data-pick]").nth(1).check()
    page.click("button:has-text('Compare')")
    page.locator(".aligned").wait_for()
    assert page.locator(".pairing .one").count() == 2


def test_keys_of_a_session(served: Served, show: Show) -> None:
    """`t` and `m` change the view, `]` goes to the next session of the list."""
    page = show(served.url, "/sessions/session-020?range=all")
    page.keyboard.press("t")
    page.wait_for_url("**view=timeline**")
    page.keyboard.press("m")
    page.locator(".conversation").wait_for()
    page.keyboard.press("]")
    page.wait_for_url(re.compile("session-019"))


def test_an_event_is_found_by_its_address(served: Served, show: Show) -> None:
    """`at=` and `#e…` lead to it; a tool opens with `o`."""
    page = show(served.url, "/sessions/session-000?at=12#e12")
    box = page.locator("#e12").bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 900
    page.locator(".tool summary").first.click()
    assert page.locator(".tool[open] h4").first.inner_text() == "Arguments"


def test_json_opens_when_asked_for(served: Served, show: Show) -> None:
    """The attributes of an event are not in the table before."""
    page = show(served.url, "/sessions/session-000?view=events")
    assert page.locator(".json").count() == 0
    row = page.locator("tbody tr").nth(2)
    row.locator("summary").click()
    row.locator("a[data-more]").click()
    row.locator("text=call.id").wait_for()


def test_a_session_grows_while_it_is_read(served: Served, show: Show) -> None:
    """New turns come to its end by themselves, and those that were there stay."""
    traffic = Traffic(random.Random(3), factory.NOW)
    talk = Talk(traffic, AGENTS[0], "session-growing", factory.NOW, {})
    served.changes.writer.take(talk.turn("The first question"))
    page = show(served.url, "/sessions/session-growing?range=all")
    page.locator("#live[data-state=live]").wait_for()
    served.changes.writer.take(talk.turn("The second question"))
    page.locator("text=The second question").wait_for(timeout=5000)
    assert page.locator(".turn").count() == 2
    assert page.locator("#c1").count() == 1


def test_the_list_follows(served: Served, show: Show) -> None:
    """A row that changes is patched where it is."""
    traffic = Traffic(random.Random(4), factory.NOW)
    talk = Talk(traffic, AGENTS[0], "session-patched", factory.NOW, {})
    served.changes.writer.take(talk.turn("Once upon a time"))
    page = show(served.url, "/sessions?range=all")
    page.locator("#live[data-state=live]").wait_for()
    row = page.locator("tr:has-text('session-patched')")
    assert row.count() == 1
    before = row.get_attribute("data-rev")
    served.changes.writer.take(talk.turn("And then"))
    page.locator(f"tr[data-row]:not([data-rev='{before}']):has-text('session-patched')").wait_for(
        timeout=5000
    )


def test_budgets(served: Served, show: Show) -> None:
    """Bytes and elements of the list and of a session."""
    page = show(served.url, "/sessions?range=all")
    assert page.locator("tbody[data-rows] tr").count() == 50
    assert page.evaluate("document.querySelectorAll('*').length") <= 1500
    page.goto(f"{served.url}/sessions/session-038")
    assert page.evaluate("document.querySelectorAll('*').length") <= 2500


def test_attacks_come_to_nothing(dashboard: Open, hostile_database: Path, show: Show) -> None:
    """In every view of sessions: nothing runs, nothing is loaded from elsewhere."""
    served = dashboard(hostile_database)
    page = show(served.url, "/sessions?range=all&cols=agent,models,tags&limit=200")
    links = page.eval_on_selector_all("tbody a[data-open]", "all => all.map((one) => one.href)")
    paths = ["/sessions?range=all&limit=200", "/events?range=all", "/search?q=script", "/compare"]
    for link in links[:6]:
        mark = "&" if "?" in link else "?"
        paths += [f"{link.removeprefix(served.url)}{mark}view={view}" for view in VIEWS]
    for number in (2, 5, 9):
        paths += [
            f"/events/{number}/body?part=request&as={form}" for form in ("text", "md", "json")
        ]
        paths += [f"/events/{number}/curl"]
    for path in paths:
        page.goto(f"{served.url}{path}")
        assert page.evaluate("window.__x") is None, path
        assert page.locator("main img, main iframe, main script, main base, main meta").count() == 0


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="SCREENSHOTS names no folder for them")
def test_screenshots(dashboard: Open, small_database: Path, show: Show) -> None:
    """Of all pages in both themes and sizes, for people to look at."""

    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    served = dashboard(small_database)
    for theme, width, height in (("light", 1440, 900), ("dark", 1440, 900), ("dark", 390, 844)):
        page = show(served.url, "/settings", theme=theme, width=width, height=height)
        for path in PAGES:
            page.goto(f"{served.url}{path}")
            name = re.sub(r"\W+", "-", path).strip("-")
            page.screenshot(path=str(folder / f"lists-{name}-{width}-{theme}.png"))
    assert len(list(folder.glob("lists-*.png"))) >= 3 * len(PAGES)
