"""Ways through the dashboard that cross pages, restarts and lists, in a real browser."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import attrs
import factory
import pytest
from browsers import LIVE, Watch
from dashboards import Served, happen
from factory import NOW


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

_FOCUS = """() => {
  const focused = document.activeElement;
  const box = focused.getClientRects()[0] || focused.getBoundingClientRect();
  const marked = (item) => {
    const style = item && getComputedStyle(item);
    return Boolean(style) && (style.outlineStyle !== 'none' || style.boxShadow !== 'none');
  };
  const hit = document.elementFromPoint(box.left + box.width / 2, box.top + 2);
  return {
    name: (focused.getAttribute('aria-label') || focused.innerText || focused.tagName).trim(),
    marked: marked(focused) || marked(focused.closest('form')),
    shown: Boolean(hit) && (focused.contains(hit) || hit.contains(focused)),
  };
}"""

_PLACE = """(place) => {
  const item = place.matches('.anchor') ? place.closest('.cards').querySelector('.card') : place;
  const cells = item.matches('tr') ? item.querySelector('td') : item;
  return {
    bar: document.querySelector('header.bar').getBoundingClientRect().bottom,
    top: item.getBoundingClientRect().top,
    marked: getComputedStyle(cells).boxShadow !== 'none',
  };
}"""


@pytest.fixture
def long(dashboard: Open) -> Served:
    """Return a dashboard with one session of 120 calls, which are three pages."""
    served = dashboard()
    traffic = factory.Traffic(random.Random(5), NOW)
    agent = attrs.evolve(factory.AGENTS[0], tools=("web_search",))
    talk = factory.Talk(traffic, agent, "session-long", NOW, {})
    served.changes.take([record for number in range(120) for record in talk.turn(f"Ask {number}")])
    return served


def stop(page: Any) -> str:
    """Return what has the focus; fail where that can't be seen."""
    found = page.evaluate(_FOCUS)
    assert found["marked"], found
    assert found["shown"], found
    return str(found["name"])


def tab_to(page: Any, name: str, key: str = "Tab", most: int = 60) -> None:
    """Press a key until something with a name has the focus, which is seen at every stop."""
    passed = []
    for _ in range(most):
        page.keyboard.press(key)
        passed.append(stop(page))
        if re.search(name, passed[-1]):
            return
    pytest.fail(f"{name} is not reached by {key}: {passed}")


def ids(page: Any, selector: str) -> list[str]:
    """Return the ids of rows, in order."""
    found = page.eval_on_selector_all(selector, "all => all.map((one) => one.dataset.row)")
    return [str(each) for each in found]


def test_by_keyboard_alone(served: Served, show: Show) -> None:
    """From a search to a session, its finding and a decision, and the focus is always seen."""
    page = show(served.url, "/overview?range=all", height=600)
    page.keyboard.press("/")
    stop(page)
    page.keyboard.type("session-011")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=*")
    tab_to(page, "What is left to do")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sessions/session-011*")
    tab_to(page, r"^Findings\s+1$")
    page.keyboard.press("Enter")
    page.wait_for_url("**view=findings*")
    tab_to(page, "An e-mail address goes")
    page.keyboard.press("Enter")
    page.wait_for_url("**/findings/2*")
    tab_to(page, "^Acknowledge$")
    page.keyboard.press("Enter")
    page.get_by_text("1 finding now acknowledged").wait_for()
    assert served.reader.sql("SELECT state FROM finding_groups WHERE id = 2") == [("acknowledged",)]


def test_focus_is_not_under_the_bar(served: Served, show: Show) -> None:
    """Also where the way goes back up a long page, which scrolls under the bar."""
    page = show(served.url, "/sessions?range=all&limit=25", height=400)
    page.keyboard.press("End")
    page.locator("tr[data-row] a[data-open]").last.focus()
    tab_to(page, "Select all", "Shift+Tab", most=200)


@pytest.mark.parametrize("missed", [3, 80])
def test_events_missed_in_a_restart_come_after_it(
    dashboard: Open, show: Show, watch: Watch, missed: int
) -> None:
    """None is lost and none is there twice, also where more of them than a request brings."""
    watch.allowed += ["ERR_", "Failed to load resource", "status 503"]
    served = dashboard()
    happen(served, "session-0", seed=1)
    page = show(served.url, "/events?range=all")
    page.locator(LIVE).wait_for()
    served.stop()
    page.locator('#live[data-state="reconnecting"]').wait_for()
    again = dashboard(again=served)
    happen(again, "session-1", turns=missed, seed=2)
    page.locator(LIVE).wait_for(timeout=15_000)
    newest = again.reader.sql("SELECT max(id) FROM events")[0][0]
    page.locator(f'tr[data-row="{newest}"]').wait_for()
    shown = ids(page, "[data-tail] > tr")
    kept = [str(row[0]) for row in again.reader.sql("SELECT id FROM events ORDER BY id DESC")]
    assert shown == kept[: len(shown)]
    assert len(shown) >= min(len(kept), 50)


@pytest.mark.parametrize("path", ["/sessions?range=all", "/sessions/session-0?range=all"])
def test_a_list_goes_on_after_a_restart(
    dashboard: Open, show: Show, watch: Watch, path: str
) -> None:
    """A row or a conversation that changed meanwhile catches up; each thing is there once."""
    watch.allowed += ["ERR_", "Failed to load resource", "status 503"]
    served = dashboard()
    happen(served, "session-0", turns=2, seed=1)
    page = show(served.url, path)
    page.locator(LIVE).wait_for()
    served.stop()
    page.locator('#live[data-state="reconnecting"]').wait_for()
    again = dashboard(again=served)
    happen(again, "session-0", turns=3, seed=2)
    page.locator(".fresh").first.wait_for(timeout=15_000)
    things = page.locator("tr[data-row], .turn")
    turns = again.reader.sql("SELECT turns FROM sessions")[0][0]
    assert things.count() == (1 if "/session-0" not in path else turns)
    named = page.eval_on_selector_all("[id]", "all => all.map((one) => one.id)")
    assert len(named) == len(set(named)), [each for each in named if named.count(each) > 1]


def test_turns_are_aligned(served: Served, show: Show) -> None:
    """What both said stands side by side; only the differences are left where that is wanted."""
    agent = attrs.evolve(factory.AGENTS[0], tools=())
    for name, texts in (("a", "One Two Four"), ("b", "One Two Three Four")):
        talk = factory.Talk(factory.Traffic(random.Random(name), NOW), agent, name, NOW, {})
        for text in texts.split():
            served.changes.take(talk.turn(text, answer=f"Answer to {text}"))
    page = show(served.url, "/compare?a=a&b=b")
    rows = page.locator(".aligned > li")
    halves = [row.locator(".half").all() for row in rows.all()]
    for row, (left, right) in zip(rows.all(), halves, strict=True):
        if row.get_attribute("data-kind") == "same":
            assert left.locator("pre").inner_text() == right.locator("pre").inner_text()
            assert left.bounding_box()["y"] == right.bounding_box()["y"]
    kinds = [row.get_attribute("data-kind") for row in rows.all()]
    assert kinds.count("same") == 7
    page.get_by_role("link", name="Only differences").click()
    page.wait_for_url("**only=1*")
    assert {row.get_attribute("data-kind") for row in rows.all()} == {"right"}
    assert "Three" in rows.all_inner_texts()[0]
    page.get_by_role("link", name="Everything").click()
    page.locator('.aligned > li[data-kind="same"]').first.wait_for()
    assert rows.count() == len(kinds)


@pytest.mark.parametrize("view", ["conversation", "timeline", "events"])
def test_an_address_leads_to_its_event(long: Served, show: Show, view: str) -> None:
    """On whatever page of a session it is; it is in sight below the bar, and marked."""
    page = show(long.url, "/settings")
    # A row of the timeline is the end of something, with how long it took.
    kinds = ("llm.call.finish", "tool.result", "llm.call.start", "tool.execution")
    for number, kind in enumerate(kinds[: 2 if view == "timeline" else 4]):
        query = "SELECT seq FROM events WHERE kind = ? ORDER BY seq LIMIT 1 OFFSET 55"
        seq = long.reader.sql(query, (kind,))[0][0]
        mark = f"#e{seq}" if number % 2 else ""
        page.goto(f"{long.url}/sessions/session-long?view={view}&at={seq}{mark}")
        place = page.locator(f"#e{seq}")
        place.wait_for(state="attached", timeout=5000)
        found = place.evaluate(_PLACE)
        assert found["bar"] <= found["top"] < 900, (kind, mark, found)
        assert found["marked"], (kind, mark)
