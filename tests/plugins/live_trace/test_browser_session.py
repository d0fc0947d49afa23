"""A session page and the keys of lists under strain: bursts, hidden tabs, keys, print."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import factory
import pytest
from browsers import LIVE, Watch
from dashboards import Served, happen


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

VIEWS = ("conversation", "timeline", "events", "findings", "pii", "info")
_HIDE = """
Object.defineProperty(document, 'hidden', {get: () => Boolean(window.__hidden)});
window.__hide = (hidden) => {
  window.__hidden = hidden;
  document.dispatchEvent(new Event('visibilitychange'));
};
"""
_COUNT_HINTS = """() => {
  window.__hints = 0;
  window.__heard = new BroadcastChannel('lt-live');
  window.__heard.onmessage = ({data}) => { if (data.kind === 'hint') window.__hints += 1; };
}"""


def events(served: Served) -> int:
    """Return how many events are kept."""
    return int(served.reader.sql("SELECT count(*) FROM events")[0][0])


def fragments(watch: Watch) -> int:
    """Return how often parts of pages were asked for."""
    return sum(urlsplit(url).path.endswith(("/rows", "/more")) for url in watch.requests)


@pytest.mark.parametrize("path", ["/sessions?range=all", "/sessions/session-0?range=all"])
def test_a_burst_is_asked_for_in_few_requests(
    dashboard: Open, show: Show, watch: Watch, path: str
) -> None:
    """5,000 events make two hints a second and four requests a second at most."""
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, path)
    page.locator(LIVE).wait_for()
    page.evaluate(_COUNT_HINTS)
    began, before, seed = time.monotonic(), fragments(watch), 20
    while events(served) < 5000:
        happen(served, f"session-{seed % 10}", turns=20, seed=seed)
        seed += 1
    page.wait_for_timeout(0)  # hears of what the browser asked meanwhile
    seconds = time.monotonic() - began
    assert page.evaluate("window.__hints") <= 2 * seconds + 1
    assert 1 <= fragments(watch) - before <= 4 * seconds + 1


@pytest.mark.parametrize("path", ["/sessions?range=all", "/sessions/session-0?range=all"])
def test_a_hidden_tab_asks_for_nothing(
    dashboard: Open, show: Show, watch: Watch, path: str
) -> None:
    """It hears of what happens, and catches up when it is looked at again."""
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, "/connect")
    page.context.add_init_script(_HIDE)
    page.goto(served.url + path)
    page.locator(LIVE).wait_for()
    seen = show(served.url, path, context=page.context)
    seen.locator(LIVE).wait_for()
    page.evaluate("window.__hide(true)")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    happen(served, "session-0", seed=8)
    seen.locator(".fresh").first.wait_for()
    assert asked == []
    page.evaluate("window.__hide(false)")
    page.locator(".fresh").first.wait_for()


def test_selected_words_stay(dashboard: Open, show: Show) -> None:
    """A row with selected words in it is only marked as updated."""
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, "/sessions?range=all")
    page.locator(LIVE).wait_for()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('tr[data-row]'))")
    chosen = page.evaluate("getSelection().toString()")
    happen(served, "session-0", seed=10)
    page.locator("tr[data-row].stale").wait_for()
    assert page.evaluate("getSelection().toString()") == chosen


def test_the_end_is_followed(dashboard: Open, show: Show) -> None:
    """Who reads the end of a session stays at its end."""
    served = dashboard()
    happen(served, "session-0", turns=6)
    page = show(served.url, "/sessions/session-0?range=all", height=500)
    page.locator(LIVE).wait_for()
    page.keyboard.press(".")
    happen(served, "session-0", seed=12)
    page.locator(".turn.fresh").first.wait_for()
    assert page.evaluate("innerHeight + scrollY >= document.body.scrollHeight - 2")
    assert page.locator("#pill").is_hidden()


def test_columns_are_remembered(served: Served, show: Show) -> None:
    """Those that were chosen are there on the next visit, until the usual ones are wanted."""
    page = show(served.url, "/sessions?range=all")
    heads = page.locator("main thead th")
    usual = heads.all_inner_texts()
    page.locator("details.cols > summary").click()
    page.locator("[data-columns] input:checked").first.uncheck()
    page.locator("[data-columns] button").click()
    page.wait_for_url("**cols=**")
    page.goto(f"{served.url}/sessions?range=all")
    assert heads.count() == len(usual) - 1
    page.locator("details.cols > summary").click()
    page.locator("[data-columns] a").click()
    page.goto(f"{served.url}/sessions?range=all")
    assert heads.all_inner_texts() == usual


@pytest.mark.parametrize("view", VIEWS)
def test_a_session_fits_on_a_phone(served: Served, show: Show, view: str) -> None:
    """At 320 pixels, which is 1280 at 400 %, the page does not scroll sideways."""
    page = show(served.url, f"/sessions/session-005?view={view}", width=320)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_a_session_prints(served: Served, show: Show) -> None:
    """Words are on paper; what only a screen can do is not."""
    page = show(served.url, "/sessions/session-000?range=all")
    page.emulate_media(media="print")
    assert page.locator(".card").first.is_visible()
    assert not page.locator("#live").is_visible()
    assert len(page.pdf()) > 10_000


def test_icons_are_seen_in_forced_colours(served: Served, show: Show) -> None:
    """They have the colour of the words beside them, and the focus can be seen."""
    page = show(served.url, "/sessions/session-005?view=findings", forced_colors="active")
    icon = page.locator("main svg").first
    icon.wait_for()
    words, drawn, ground = page.evaluate(
        """() => {
          const icon = document.querySelector('main svg');
          const {color, fill, stroke} = getComputedStyle(icon);
          const own = [fill, stroke].find((each) => each !== 'none');
          return [color, own, getComputedStyle(document.body).backgroundColor];
        }"""
    )
    assert drawn in {words, "currentcolor"}
    assert drawn != ground
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_more_contrast_is_given(served: Served, show: Show) -> None:
    """Words that are usually quiet are as dark as any other where that is wanted."""
    page = show(served.url, "/sessions/session-005", contrast="more")
    more = page.evaluate(
        "getComputedStyle(document.querySelector('main .meta, main .muted')).color"
    )
    page.emulate_media(contrast="no-preference")
    usual = page.evaluate(
        "getComputedStyle(document.querySelector('main .meta, main .muted')).color"
    )
    assert more != usual


def test_the_map_is_dragged(served: Served, show: Show) -> None:
    """The page scrolls along before the button is released, which leads to an address."""
    page = show(served.url, "/sessions/session-038?range=all", height=400)
    canvas = page.locator("canvas[data-minimap][width]")  # once it is drawn
    canvas.wait_for()
    box = canvas.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 2, middle)
    page.mouse.down()
    before = page.evaluate("scrollY")
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=3)
    assert page.evaluate("scrollY") > before
    assert "#e" not in page.url
    lower = page.evaluate("scrollY")
    page.mouse.move(box["x"] + 2, middle, steps=3)
    assert page.evaluate("scrollY") < lower
    page.mouse.up()
    page.wait_for_url("**#e*")


def test_a_giant_session_opens(dashboard: Open, tmp_path: Path, show: Show) -> None:
    """5,000 events are pages of few elements, a map of all, and payloads that are only begun."""
    path = tmp_path / "giant.db"
    factory.build(path, "giant").reader().close()
    served = dashboard(path)
    session = served.reader.sql("SELECT public_id FROM sessions ORDER BY events DESC LIMIT 1")[0][0]
    for view in VIEWS:
        page = show(served.url, f"/sessions/{session}?range=all&view={view}")
        page.locator("main h1").wait_for()
        assert page.evaluate("document.querySelectorAll('*').length") <= 9000, view
        assert page.evaluate("performance.memory.usedJSHeapSize") < 150_000_000
    canvas = page.locator("canvas[data-minimap]")
    assert canvas.evaluate(
        """(canvas) => {
          const {width, height} = canvas;
          return canvas.getContext('2d').getImageData(0, 0, width, height).data.some(Boolean);
        }"""
    )
