"""What is large, and what is small: giant payloads, long lists, bursts, narrow windows."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import factory
import pytest
from browsers import LIVE, Watch
from dashboards import Served, happen

from perimeter_plugin_live_trace.queries.paging import cursor
from perimeter_plugin_live_trace.store import reader as store_reader


pytestmark = pytest.mark.browser
Open = Callable[..., Served]
Show = Callable[..., Any]

SESSIONS = 10_000
_MANY = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
    INSERT INTO sessions ({columns})
    SELECT {values} FROM n JOIN (
        SELECT *, row_number() OVER (ORDER BY id) - 1 AS place FROM sessions
        WHERE public_id LIKE 'session-0%'
    ) ON place = i % 48
"""
_LARGEST = """() => {
  window.__largest = 0;
  new MutationObserver((records) => {
    const added = records.flatMap(({addedNodes}) => [...addedNodes]);
    const within = (item) => (item.querySelectorAll ? item.querySelectorAll('*').length : 0);
    const count = added.reduce((sum, item) => sum + 1 + within(item), 0);
    window.__largest = Math.max(window.__largest, count);
  }).observe(document.body, {childList: true, subtree: true});
}"""
_SHIFTED = """() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) sum += entry.hadRecentInput ? 0 : entry.value;
  }).observe({type: 'layout-shift', buffered: true});
  requestAnimationFrame(() => setTimeout(() => done(sum)));
})"""


def heap(page: Any) -> float:
    """Return the bytes of JavaScript that a page keeps, after what is garbage was thrown away."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("HeapProfiler.collectGarbage")
    devtools.send("Performance.enable")
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize")


@pytest.fixture(scope="module")
def giant_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("databases") / "giant.db"
    factory.build(path, "giant").reader().close()
    return path


@pytest.fixture(scope="module")
def many_database(tmp_path_factory: pytest.TempPathFactory, small_database: Path) -> Path:
    """Return a database with 10,000 sessions, a minute apart."""
    path = tmp_path_factory.mktemp("databases") / "many.db"
    path.write_bytes(small_database.read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(sessions)")]
        own = {
            "id": "1000 + i",
            "public_id": "'many-' || i",
            "started_us": "started_us - i * 60000000",
            "last_us": "last_us - i * 60000000",
        }
        values = ", ".join(own.get(name, name) for name in names)
        columns = ", ".join(names)
        connection.execute(_MANY.format(columns=columns, values=values, count=SESSIONS))
    return path


def event_of(served: Served, session: str, kind: str) -> int:
    query = (
        "SELECT events.id FROM events JOIN sessions ON sessions.id = session_id"
        " WHERE public_id = ? AND kind = ?"
    )
    return int(served.reader.sql(query, (session, kind))[0][0])


def test_twenty_megabytes(dashboard: Open, giant_database: Path, show: Show) -> None:
    """A payload of 20 MB opens with its beginning and both sizes, in every form."""
    served = dashboard(giant_database)
    event = event_of(served, "session-large", "llm.call.start")
    page = show(served.url, "/settings")
    for form in ("text", "md", "json"):
        page.goto(f"{served.url}/events/{event}/body?part=request&as={form}")
        said = page.locator(".bar-of .meta").inner_text()
        assert re.search(r"(^|of )2\d(\.\d)? MiB$", said), said
        assert form == "json" or said.startswith("Showing 32 KiB"), said
        assert len(page.locator("[data-part]").inner_text()) < 40_000
        assert heap(page) < 150_000_000
    page.goto(f"{served.url}/sessions/session-large?range=all")
    assert page.locator(".rest").count() >= 5
    assert heap(page) < 150_000_000


def test_a_hundred_thousand_values(dashboard: Open, giant_database: Path, show: Show) -> None:
    """They open in steps of 200 at most, and each step adds what the one before left out."""
    served = dashboard(giant_database)
    event = event_of(served, "session-json", "tool.execution")
    page = show(served.url, f"/events/{event}/body?part=attributes&as=json")
    items, more = page.locator(".json li"), page.locator("[data-more]")
    page.locator(".json summary", has_text="tool.params").click()
    seen = [items.count()]
    assert 0 < seen[0] <= 200 + 2  # and what stands for the rest, of the root and of the values
    for _ in range(4):
        left = more.last.inner_text()
        more.last.press("Enter")
        page.locator("[data-more]", has_text=left).wait_for(state="detached")
        seen.append(items.count())
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert steps == [200 + 1] * 4
    assert heap(page) < 150_000_000


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the instructions that SQLite runs for readers, a hundred at a time."""
    counted = [0]
    over = store_reader._Connection._over

    def count(connection: Any) -> bool:
        counted[0] += 1
        return over(connection)

    monkeypatch.setattr(store_reader, "_STEPS", 100)
    monkeypatch.setattr(store_reader._Connection, "_over", count)
    return counted


def test_a_late_page_costs_as_much_as_the_first(
    dashboard: Open, many_database: Path, show: Show, steps: list[int]
) -> None:
    """Of 10,000 sessions: in work of the database, in bytes and in elements."""
    served = dashboard(many_database)
    page = show(served.url, "/connect")
    page.evaluate("document.cookie = 'lt_prefs=live=off; path=/'")
    cost: list[tuple[int, int, int]] = []
    for at in ("", _cursor(served, 50), _cursor(served, 199 * 50)):
        steps[0] = 0
        page.goto(f"{served.url}/sessions?range=all&q=-id:nobody{at}")
        sent = page.evaluate("performance.getEntriesByType('navigation')[0].decodedBodySize")
        cost.append((steps[0], sent, page.evaluate("document.querySelectorAll('*').length")))
        assert page.locator("tr[data-row]").count() == 50
        assert page.evaluate(_SHIFTED) < 0.1
    first, second, last = cost
    assert first[0] > 10
    for one, other in zip(second, last, strict=True):
        assert other == pytest.approx(one, rel=0.5), cost
    for one, other in zip(first, last, strict=True):
        assert other <= 1.5 * one, cost
    assert last[2] <= 1500


def _cursor(served: Served, number: int) -> str:
    query = "SELECT last_us, id FROM sessions ORDER BY last_us DESC, id DESC LIMIT 1 OFFSET ?"
    return f"&after={cursor(served.reader.sql(query, (number - 1,))[0])}"


@pytest.mark.parametrize("path", ["/sessions?range=all&limit=200", "/events?range=all"])
def test_a_burst_is_shown_in_small_steps(dashboard: Open, show: Show, path: str) -> None:
    """
    However much happens, a page adds only so much at once, and keeps only so much.

    A task of the browser is as long as what it adds is large, which a busy machine does not change:
    200 rows are far from 100 ms.
    """
    served = dashboard()
    happen(served, "session-0")
    page = show(served.url, path)
    page.locator(LIVE).wait_for()
    page.evaluate(_LARGEST)
    for seed in range(30):
        happen(served, f"session-{seed}", turns=20, seed=seed + 100)
    newest = served.reader.sql("SELECT max(id) FROM events")[0][0]
    if path.startswith("/events"):
        page.locator(f'tr[data-row="{newest}"]').wait_for()
    else:
        page.locator("#pill button", has_text="29 new").wait_for()
    assert 0 < page.evaluate("window.__largest") <= 200 * 25
    assert page.evaluate("document.querySelectorAll('*').length") <= 500 * 25


PAGES = [
    "/overview?range=all", "/sessions?range=all", "/agents?range=all", "/agents/planner?range=all",
    "/events?range=all", "/events/3/body?part=request&as=json", "/events/3/curl", "/findings",
    "/findings/1", "/findings/matrix", "/pii", "/tools?range=all", "/models?range=all", "/cache",
    "/compare?a=session-000&b=session-006", "/reports", "/plugins", "/status", "/connect",
    "/settings", "/search?q=histogram", "/api/docs", "/nothing-here", "/sessions/session-005",
    "/sessions/delete?s=session-000", "/events/3/replay", "/usage",
]  # fmt: skip


def test_every_page_fits_at_400_percent(served: Served, show: Show, watch: Watch) -> None:
    """That makes 320 by 256 pixels of 1280 by 1024: tables scroll by themselves, not the page."""
    watch.allowed += ["404"]  # the page that says that there is none
    page = show(served.url, "/settings", width=320, height=256, device_scale_factor=4)
    wide = {}
    for path in PAGES:
        page.goto(served.url + path)
        wide[path] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert not {path: by for path, by in wide.items() if by > 0}
