"""Every key of the dashboard, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from dashboards import Served

from perimeter_plugin_live_trace.web.shortcuts import SHORTCUTS


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]
PILL = """async () => {
  const link = document.querySelector('link[rel=modulepreload][href$="dom.js"]');
  (await import(link.href)).pill("1 new session", "u", () => {});
}"""
"""Offers what is new, as when a session begins."""
PRESS_ALL = """() => {
  window.addEventListener("click", (event) => {
    event.preventDefault(); event.stopImmediatePropagation();
  }, true);
  const press = (key) => {
    const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
    document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
    return event.defaultPrevented;
  };
  const keys = Array.from({ length: 94 }, (_, at) => String.fromCharCode(33 + at));
  const after = (key) => { press("0"); press("g"); return press(key); };
  const alone = keys.filter((key) => press("0") || press(key));
  return [...alone, ...keys.filter(after).map((key) => `g ${key}`)];
}"""
"""Presses every key that writes a character; tells which of them did something."""


def test_rows_are_walked_across_pages(served: Served, show: Show) -> None:
    """Down from the last row leads to the next page of the same list, up leads back."""
    page = show(served.url, "/sessions?range=all&limit=25&q=-id:nobody")
    rows = [row.get_attribute("data-row") for row in page.locator("tr[data-row]").all()]
    assert len(rows) == 25
    for _ in range(26):
        page.keyboard.press("j")
    page.wait_for_url("**after=**")
    current = page.locator("tr.current")
    current.wait_for()
    assert current.get_attribute("data-row") not in rows
    assert "q=-id" in page.url
    page.keyboard.press("k")
    page.locator(f'tr.current[data-row="{rows[-1]}"]').wait_for()


def test_no_key_of_the_help_fires_while_typing(served: Served, show: Show) -> None:
    """Every key that the help names is only a character in a field."""
    page = show(served.url, "/sessions?range=all")
    page.keyboard.press("?")
    keys = [key.inner_text() for key in page.locator("#help kbd").all()]
    page.keyboard.press("Escape")
    letters = [key for key in keys if len(key) == 1]
    assert {"g", "j", "k", "[", "]", ".", "?", "/", "O", "N"} <= set(letters)
    address = page.url
    field = page.locator("[data-search] input")
    field.focus()
    for key in letters:
        page.keyboard.press(key)
    assert field.input_value() == "".join(letters)
    assert page.url == address
    assert page.locator("#help[open], tr.current, #peek").count() == 0


def test_the_help_names_the_keys_that_do_something(served: Served, show: Show) -> None:
    """All of them and no other: every key is pressed, alone and after `g`."""
    told = {key for group in SHORTCUTS.values() for key, _ in group} - {"Enter", "Esc"}
    page = show(served.url, "/sessions?range=all")
    page.evaluate(PILL)
    page.keyboard.press("u")
    page.locator("#pill").wait_for(state="hidden")
    done = {"u", *page.evaluate(PRESS_ALL)}
    row = page.locator("tr[data-row] [data-open]").nth(1)
    page.goto(served.url + str(row.get_attribute("href")))
    assert done | set(page.evaluate(PRESS_ALL)) == told


def test_keys_of_a_list(served: Served, show: Show) -> None:
    """`x` selects, `Enter` opens, `]` and `[` go along the list, `/` searches."""
    page = show(served.url, "/sessions?range=all")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("tr.current [data-pick]").is_checked()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.matches('[data-search] input')")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sessions/session-*")
    opened = urlsplit(page.url).path
    page.keyboard.press("]")
    page.wait_for_url(lambda url: urlsplit(url).path != opened)
    page.keyboard.press("[")
    page.wait_for_url(lambda url: urlsplit(url).path == opened)


def test_keys_of_a_conversation(served: Served, show: Show) -> None:
    """`o` and `O` open and close, `t`, `r` and `m` change the view, `j` walks the cards."""
    page = show(served.url, "/sessions/session-000?range=all")
    details = page.locator("main details:not([data-menu], .data)")
    page.keyboard.press("O")
    assert page.locator("main details:not([data-menu], .data):not([open])").count() == 0
    page.keyboard.press("O")
    assert page.locator("main details:not([data-menu], .data)[open]").count() == 0
    page.keyboard.press("o")
    assert details.first.get_attribute("open") is not None
    page.keyboard.press("j")
    assert page.locator("[data-card].current").count() == 1
    for key, view in (("t", "Timeline"), ("r", "Events"), ("m", "Conversation")):
        page.keyboard.press(key)
        page.locator('nav [aria-current="page"]', has_text=view).wait_for()
        page.wait_for_load_state()


@pytest.mark.parametrize(
    ("key", "kind"), [("f", "[data-finding]"), ("e", "[data-error]"), ("n", "[data-match]")]
)
def test_keys_go_from_one_to_the_next(
    dashboard: Open, small_database: Path, show: Show, key: str, kind: str
) -> None:
    """A small letter goes to the next of its kind, the capital one back."""
    served = dashboard(small_database)
    page = show(served.url, f"/sessions/{_with(served, kind)}?range=all")
    count = page.locator(kind).count()

    def at() -> int:
        return int(
            page.locator(".target").evaluate(
                "(item, kind) => [...document.querySelectorAll(kind)].indexOf(item)", kind
            )
        )

    page.keyboard.press(key)
    first = at()
    page.keyboard.press(key)
    assert at() == (first + 1) % count
    page.keyboard.press(key.upper())
    assert at() == first


def _with(served: Served, kind: str) -> str:
    """Return a session with something of a kind in its conversation."""
    if kind == "[data-match]":
        return "session-rewritten"
    most = "findings" if kind == "[data-finding]" else "errors"
    row = served.reader.sql(f"SELECT public_id FROM sessions ORDER BY {most} DESC, id LIMIT 1")[0]
    return str(row[0])


def test_keys_copy(served: Served, show: Show) -> None:
    """`y` copies the id of a session or of the row that is on, `c` the link of it."""
    page = show(served.url, "/sessions/session-000?range=all")
    copied = _clipboard(page)
    page.keyboard.press("j")
    page.keyboard.press("y")
    assert copied() == "session-000"
    page.goto(f"{served.url}/sessions?range=all")
    copied = _clipboard(page)
    page.keyboard.press("j")
    page.keyboard.press("y")
    row = page.locator("tr.current")
    assert copied() == row.get_attribute("data-peek")
    page.keyboard.press("c")
    assert copied() == served.url + str(row.locator("[data-open]").get_attribute("href"))


def _clipboard(page: Any) -> Callable[[], Any]:
    """Return what tells what was copied last: the real clipboard is one for all tests."""
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.__copied = text; }")
    return lambda: page.evaluate("window.__copied")
