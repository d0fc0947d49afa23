"""Fixtures for tests of live trace; lets them import what is beside them, such as `factory`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


sys.path.insert(0, str(Path(__file__).parent))

from browsers import ShownPage, Watch, chromium
from dashboards import Served, serve


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """
    Return a headless Chromium.

    For each module anew: Playwright keeps an event loop in this thread, which would be in the way
    of async tests of other modules.
    """
    path = chromium()
    if path is None:
        if os.environ.get("BROWSER_REQUIRED"):
            pytest.fail("no Chromium was found, and BROWSER_REQUIRED is set")
        pytest.skip("needs a Chromium: set BROWSER_PATH, or install the package `chromium`")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package `playwright`")
    arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@pytest.fixture
def watch() -> Watch:
    """Return what a browser test's pages did that they must not; a test may allow some of it."""
    return Watch()


@pytest.fixture
def show(browser: Any, watch: Watch) -> Iterator[Callable[..., ShownPage]]:
    """
    Return what opens pages: `show(base_url, path, theme="dark", width=390, ...)`.

    Afterwards the test fails if any page said something on its console, broke the content security
    policy, asked another host, opened a dialog, or was answered with a 5xx.
    """
    contexts: list[Any] = []

    def opened(
        base: str,
        path: str = "/",
        *,
        theme: str = "light",
        width: int = 1440,
        height: int = 900,
        context: Any = None,
        **options: Any,
    ) -> ShownPage:
        if context is None:
            size = {"width": width, "height": height}
            context = browser.new_context(viewport=size, color_scheme=theme, **options)
            contexts.append(context)
            watch.over(context, base)
        page = context.new_page()
        page.goto(base + path)
        return page

    yield opened
    for context in contexts:
        watch.collect(context)
        context.close()
    assert not watch.faults(), watch.faults()


@pytest.fixture(scope="session")
def small_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database of about fifty sessions; it is not to be changed."""
    return _built(tmp_path_factory, "small")


@pytest.fixture(scope="session")
def recent_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same as of the last two days, so that pages have something of today to show."""
    return _built(tmp_path_factory, "small", now=time.time())


@pytest.fixture(scope="session")
def hostile_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with an attack in every text; it is not to be changed."""
    return _built(tmp_path_factory, "hostile")


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """
    Return what serves a dashboard on a port of its own: `dashboard(a copy's source, ...)`.

    `dashboard(again=one)` starts one anew that was stopped, at its address.
    """
    served: list[Served] = []

    def started(
        source: Path | None = None, *, again: Served | None = None, **options: Any
    ) -> Served:
        path = tmp_path / f"dashboard-{len(served)}.db"
        if again is not None:
            path, options["port"] = again.reader.path, again.site.port
        if source is not None:
            shutil.copyfile(source, path)
        served.append(serve(path, **options))
        return served[-1]

    yield started
    for one in served:
        one.stop()


@pytest.fixture
def served(dashboard: Callable[..., Served], small_database: Path) -> Served:
    """Return a dashboard of about fifty sessions, a copy that may be changed."""
    return dashboard(small_database)


def _built(folders: pytest.TempPathFactory, kind: str, **options: Any) -> Path:
    import factory

    path = folders.mktemp("databases") / f"{kind}.db"
    database = factory.build(path, kind, **options)
    database.reader().close()
    return path
