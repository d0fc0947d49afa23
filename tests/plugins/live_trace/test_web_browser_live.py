"""Pages that follow what happens, in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from browsers import LIVE, Watch
from dashboards import Served, happen


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]


def test_a_row_follows_its_session(dashboard: Open, show: Show) -> None:
    """It is replaced where it is; what is new is offered; what is used is left alone."""
    served = dashboard()
    for number in range(3):
        happen(served, f"session-{number}", seed=number)
    page = show(served.url, "/sessions?range=all")
    page.locator(LIVE).wait_for()
    row = page.locator("tr[data-row]", has_text="session-0")
    at = [r.get_attribute("data-row") for r in page.locator("tr[data-row]").all()]
    before = int(row.get_attribute("data-rev"))
    happen(served, "session-0", seed=10)
    page.locator(
        f'tr[data-row="{row.get_attribute("data-row")}"]:not([data-rev="{before}"])'
    ).wait_for(timeout=5000)
    assert [r.get_attribute("data-row") for r in page.locator("tr[data-row]").all()] == at
    happen(served, "session-new", seed=11)
    pill = page.locator("#pill button", has_text="1 new")
    pill.wait_for(timeout=5000)
    assert page.locator("tr[data-row]").count() == 3
    page.keyboard.press("u")
    page.locator("tr[data-row]", has_text="session-new").wait_for()
    assert page.locator("tr[data-row]").count() == 4


def test_a_row_that_is_used_stays(dashboard: Open, show: Show) -> None:
    """A row with the focus is only marked."""
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, "/sessions?range=all")
    page.locator(LIVE).wait_for()
    page.locator("tr[data-row] a").first.focus()
    before = page.locator("tr[data-row]").get_attribute("data-rev")
    happen(served, "session-0", seed=10)
    page.locator("tr[data-row].stale").wait_for(timeout=5000)
    assert page.locator("tr[data-row]").get_attribute("data-rev") == before


def test_twelve_tabs_share_one_connection(served: Served, show: Show) -> None:
    """And when its tab is closed, another one takes over."""
    first = show(served.url, "/connect")
    first.locator(LIVE).wait_for()
    others = [show(served.url, "/connect", context=first.context) for _ in range(11)]
    for page in others:
        page.locator(LIVE).wait_for(timeout=10_000)
    assert served.site.live_clients == 1
    first.close()
    deadline = time.monotonic() + 10
    heard = others[-1].locator(LIVE)
    while served.site.live_clients != 1 and time.monotonic() < deadline:
        others[-1].wait_for_timeout(50)
    assert served.site.live_clients == 1
    heard.wait_for()


def test_a_restart_is_survived(dashboard: Open, show: Show, watch: Watch) -> None:
    """The page says that it has no connection, and goes on when there is one again."""
    watch.allowed += ["ERR_", "Failed to load resource"]
    served = dashboard()
    page = show(served.url, "/connect")
    page.locator(LIVE).wait_for()
    served.stop()
    page.locator('#live[data-state="reconnecting"]').wait_for()
    again = dashboard(port=served.site.port)
    page.locator(LIVE).wait_for(timeout=15_000)
    assert again.site.live_clients == 1


def test_a_session_grows_at_its_end(dashboard: Open, show: Show) -> None:
    """What is new is added; who reads further up stays there and is told."""
    served = dashboard()
    happen(served, "session-0", turns=6)
    page = show(served.url, "/sessions/session-0?range=all", height=500)
    page.locator(LIVE).wait_for()
    main = page.locator("main")
    seq = int(main.get_attribute("data-seq"))
    page.evaluate("scrollTo(0, 40)")
    happen(served, "session-0", seed=12)
    pill = page.locator("#pill button", has_text="new event")
    pill.wait_for(timeout=5000)
    assert int(main.get_attribute("data-seq")) > seq
    assert abs(page.evaluate("scrollY") - 40) <= 1
    page.keyboard.press(".")
    page.locator("#pill").wait_for(state="hidden")
    assert page.evaluate("innerHeight + scrollY >= document.body.scrollHeight - 2")


def test_events_come_as_they_happen(dashboard: Open, show: Show) -> None:
    """The newest first, each once."""
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, "/events?range=all")
    page.locator(LIVE).wait_for()
    rows = page.locator("[data-tail] > *")
    before = rows.count()
    happen(served, "session-1", seed=13)
    page.locator("[data-tail] > .fresh").first.wait_for(timeout=5000)
    deadline = time.monotonic() + 5
    total = served.reader.sql("SELECT count(*) FROM events")[0][0]
    while rows.count() < total and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    assert rows.count() == total > before
    found = [row.get_attribute("data-seq") for row in rows.all()]
    assert len(set(found)) == len(found)


def test_a_session_can_be_peeked_at(served: Served, show: Show) -> None:
    """Beside its list; the address has it, the keys walk on, and Escape gives the focus back."""
    page = show(served.url, "/sessions?range=all")
    page.keyboard.press("j")
    page.keyboard.press("p")
    panel = page.locator("#peek")
    panel.wait_for()
    assert "peek=" in page.url
    first = panel.inner_text()
    page.keyboard.press("j")
    page.locator("#peek").filter(has_not_text=first.splitlines()[0]).wait_for()
    page.keyboard.press("Escape")
    panel.wait_for(state="detached")
    assert "peek=" not in page.url
    assert page.evaluate("document.activeElement.closest('tr') !== null")
