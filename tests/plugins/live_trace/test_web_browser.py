"""The frame in a real browser: both themes, keys, live rows, and attacks that come to nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsers import Watch
from dashboards import Served


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

PAGES = [
    "/overview", "/sessions", "/agents", "/events", "/findings", "/pii", "/tools", "/models",
    "/compare", "/reports", "/plugins", "/status", "/connect", "/settings", "/search?q=invoice",
]  # fmt: skip


@pytest.fixture
def served(dashboard: Open, recent_database: Path) -> Served:
    return dashboard(recent_database)


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_loads(served: Served, show: Show, theme: str, width: int) -> None:
    """With one heading, the theme that the system has, and no noise; SCREENSHOTS keeps pictures."""
    page = show(served.url, "/settings", theme=theme, width=width)
    pictures = os.environ.get("SCREENSHOTS")
    for path in PAGES:
        page.goto(f"{served.url}{path}")
        assert page.locator("h1").count() == 1, path
        if pictures:
            name = f"{path.strip('/').partition('?')[0]}-{theme}-{width}.png"
            page.screenshot(path=Path(pictures) / name, full_page=True)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(255, 255, 255)" if theme == "light" else "rgb(15, 20, 25)")


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 1440), ("dark", 390)])
def test_every_page_is_accessible(served: Served, show: Show, theme: str, width: int) -> None:
    """No violation that axe finds, in both themes and on a phone."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = show(served.url, "/settings", theme=theme, width=width)
    found = {}
    for path in PAGES:
        page.goto(f"{served.url}{path}")
        for violation in axe.run(page).response["violations"]:
            places = [str(node["target"]) for node in violation["nodes"][:3]]
            found[f"{path} {violation['id']}"] = places
    assert not found


@pytest.mark.parametrize("width", [320, 390])
def test_pages_fit_on_a_phone(served: Served, show: Show, width: int) -> None:
    """Tables scroll by themselves, the page does not; the menu has every page."""
    page = show(served.url, "/overview", width=width, height=700)
    wide = {}
    for path in PAGES:
        page.goto(f"{served.url}{path}")
        wide[path] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert not {path: by for path, by in wide.items() if by > 0}
    page.locator("details.more > summary").click()
    page.get_by_role("link", name="Agents", exact=True).click()
    page.wait_for_url("**/agents*")


def test_pages_can_be_read_without_scripts(served: Served, show: Show) -> None:
    """Nothing that only scripts can do is shown, and links lead everywhere."""
    page = show(served.url, "/overview", java_script_enabled=False)
    assert not page.locator("#live").is_visible()
    page.get_by_role("link", name="Sessions", exact=True).first.click()
    page.wait_for_url("**/sessions*")
    page.locator("details.range > summary").click()
    page.get_by_role("link", name="Last 7 days").click()
    page.wait_for_url("**range=7d*")


def test_the_theme_can_be_chosen(served: Served, show: Show) -> None:
    """The choice is a form; the server renders it from then on."""
    page = show(served.url, "/settings", theme="light")
    page.locator("details.settings > summary").click()
    page.locator(".choice").get_by_role("button", name="Dark").click()
    page.wait_for_selector('html[data-theme="dark"]')
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 20, 25)"


def test_html_is_made_from_fragments_only(served: Served, show: Show, watch: Watch) -> None:
    """Any other way to HTML throws, in whatever script."""
    watch.allowed += ["TrustedHTML", "require-trusted-types-for", "trusted-types", "violates"]
    page = show(served.url, "/settings")
    for code in (
        "document.body.innerHTML = '<img src=x>'",
        "document.write('<b>x</b>')",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "window.trustedTypes.createPolicy('mine', {createHTML: (text) => text})",
        "window.trustedTypes.createPolicy('lt-fragment', {createHTML: (text) => text})",
    ):
        said = page.evaluate(
            f"(() => {{ try {{ {code}; return 'done'; }} catch (e) {{ return e.name; }} }})()"
        )
        assert said == "TypeError", code


def test_inline_code_does_not_run(served: Served, show: Show, watch: Watch) -> None:
    """A script or handler that got into the page would be refused by the policy."""
    watch.allowed += [
        "Content Security Policy",
        "script-src",
        "style-src",
        "TrustedScript",
        "trusted-types",
    ]
    page = show(served.url, "/settings")
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          try { script.textContent = 'window.__x = 1'; } catch { /* refused already */ }
          document.body.append(script);
          const image = document.createElement('b');
          try { image.setAttribute('onclick', 'window.__x = 1'); } catch { /* refused already */ }
          document.body.append(image);
          image.click();
        }"""
    )
    assert page.evaluate("window.__x") is None


def test_attacks_come_to_nothing(
    dashboard: Open, hostile_database: Path, show: Show, watch: Watch
) -> None:
    """An attack in every text of the database: nothing runs, nothing is asked elsewhere."""
    served = dashboard(hostile_database)
    page = show(served.url, "/settings")
    for path in [*PAGES, "/sessions?range=all", "/agents?range=all", "/findings?range=all"]:
        page.goto(f"{served.url}{path}")
        assert page.evaluate("window.__x") is None, path
        assert page.locator("main img, main iframe, main script, main object").count() == 0, path


def press(page: Any, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


@pytest.mark.parametrize(
    ("keys", "path"),
    [("g s", "/sessions"), ("g a", "/agents"), ("g f", "/findings"), ("g o", "/overview"),
     ("g t", "/tools"), ("g m", "/models"), ("g h", "/status"), ("g ,", "/settings")],
)  # fmt: skip
def test_keys_lead_to_pages(served: Served, show: Show, keys: str, path: str) -> None:
    """Two keys, one after the other."""
    page = show(served.url, "/connect")
    press(page, keys)
    page.wait_for_url(f"**{path}*")


def test_keys_do_nothing_while_typing(served: Served, show: Show) -> None:
    """Nor with modifiers, nor where the reader wants none."""
    page = show(served.url, "/connect")
    press(page, "/")
    assert page.evaluate("document.activeElement.name") == "q"
    page.keyboard.type("gs?l")
    assert page.locator("#help[open]").count() == 0
    assert page.input_value("[data-search] input") == "gs?l"
    press(page, "Escape")
    assert page.evaluate("document.activeElement.name") != "q"
    press(page, "Control+l Alt+g s")
    assert page.url.endswith("/connect")
    page.evaluate("document.cookie = 'lt_prefs=keys=off; path=/'")
    page.reload()
    press(page, "?")
    assert page.locator("#help[open]").count() == 0


def test_the_help_shows_all_keys(served: Served, show: Show) -> None:
    """A question mark opens it, Escape closes it."""
    page = show(served.url, "/connect")
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    dialog.wait_for()
    assert dialog.locator("kbd").count() >= 30
    press(page, "Escape")
    dialog.wait_for(state="hidden")


def test_rows_can_be_walked(served: Served, show: Show) -> None:
    """Down, up, and open; the row is seen and has the focus."""
    page = show(served.url, "/sessions?range=all")
    rows = page.locator("tr[data-row]")
    press(page, "j j")
    assert "current" in (rows.nth(1).get_attribute("class") or "")
    press(page, "k")
    assert "current" in (rows.nth(0).get_attribute("class") or "")
    focused = page.evaluate("document.activeElement.closest('tr').dataset.row")
    assert focused == rows.nth(0).get_attribute("data-row")
    press(page, "Enter")
    page.wait_for_url(re.compile(r"/sessions/[^/]+"))


def test_live_can_be_paused(served: Served, show: Show) -> None:
    """By key or button; the server knows it on the next page."""
    page = show(served.url, "/connect")
    page.locator('#live[data-state="live"]').wait_for()
    press(page, "l")
    page.locator('#live[data-state="paused"]').wait_for()
    page.reload()
    page.locator('#live[data-state="paused"]').wait_for()
    page.locator("#live").click()
    page.locator('#live[data-state="live"]').wait_for()


def test_times_are_the_readers(served: Served, show: Show) -> None:
    """In the browser's zone, which is named; or in the one that was chosen."""
    page = show(served.url, "/sessions?range=all", timezone_id="Asia/Tokyo")
    assert "Asia/Tokyo" in page.locator(".foot").inner_text()
    shown = page.locator(".foot time").get_attribute("title")
    assert shown.endswith("Asia/Tokyo")
    page.evaluate("document.cookie = 'lt_prefs=zone=UTC; path=/'")
    page.reload()
    assert "Times in UTC" in page.locator(".foot").inner_text()


def test_copying_without_a_clipboard(served: Served, show: Show) -> None:
    """Where the browser does not let it, the text is selected for the reader's own keys."""
    page = show(served.url, "/connect")
    page.evaluate(
        """() => {
          const button = document.createElement('button');
          button.dataset.copy = 'what to copy';
          button.textContent = 'Copy';
          document.querySelector('main').append(button);
          Object.defineProperty(navigator, 'clipboard', { value: undefined });
          button.click();
        }"""
    )
    page.get_by_text("Press Ctrl+C to copy").wait_for()
    assert (
        page.evaluate("getSelection().toString() || document.activeElement.value") == "what to copy"
    )


def test_nothing_moves_where_that_is_not_wanted(served: Served, show: Show) -> None:
    """Reduced motion means none at all."""
    page = show(served.url, "/overview", reduced_motion="reduce")
    page.locator('#live[data-state="live"]').wait_for()
    running = page.evaluate(
        "document.getAnimations().filter((a) => a.playState === 'running').length"
    )
    assert running == 0


def test_a_first_visit_is_small(served: Served, show: Show) -> None:
    """All that a page loads, as it is sent: 40 KB at most."""
    page = show(served.url, "/sessions?range=all")
    page.locator("#live").wait_for()
    sent = page.evaluate(
        """() => ['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
          .filter((entry) => !entry.name.includes('/live'))
          .reduce((sum, entry) => sum + entry.transferSize, 0)"""
    )
    assert sent <= 40 * 1024
