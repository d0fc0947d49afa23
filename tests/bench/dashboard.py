"""What pages of the dashboard cost with a large database behind them, end to end over HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import psutil
from extent import Extent
from load import at
from processes import Server, free_port, wait_for
from rows import NO_BAR, Row


WARM = 3
"""Requests before what counts: the process reads its templates, SQLite its pages."""
SEARCHES = ("ter", "relsan", "vosansanrel kaconvopra", "天气", "nowhere")
"""A syllable that is everywhere, words that are rare or nowhere; no other language is there."""
PIECE = 4 * 1024 * 1024
RANGES = ("24h", "7d", "30d", "all")
ASSETS = re.compile(r"""(?:href|src)="(/static/[^"]+\.(?:css|js))""")


@attrs.define(eq=False)
class Browser:
    """A client with one connection that stays open."""

    server: Server
    connection: http.client.HTTPConnection

    def get(self, path: str) -> bytes:
        """Return a page's body, still compressed."""
        self.connection.request("GET", path, headers={"accept-encoding": "gzip"})
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status}")
        return body

    def timed(self, title: str, paths: Iterator[str], bar: float, count: int) -> Iterator[Row]:
        """Yield how long pages take, and the CPU time that they cost."""
        for path in islice(paths, WARM):
            self.get(path)
        times, used = [], self.server.cpu()
        for path in islice(paths, count):
            begun = time.perf_counter()
            self.get(path)
            times.append((time.perf_counter() - begun) * 1000)
        spent = (self.server.cpu() - used) / count * 1000
        yield Row(f"{title}, p95", at(times, 95), bar, "ms", tuple(times))
        yield Row("  its CPU", spent, NO_BAR, "ms")


def dashboard_rows(_: int, extent: Extent) -> Iterator[Row]:
    """Measure pages, what they weigh, and an export."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "large.db")
        _build(database, extent)
        with _serving(database) as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            browser = Browser(server, connection)
            yield from _pages(browser, extent.pages)
            yield Row("first load of the sessions", _first_load(browser), 40, "KB")
            yield Row("its process", server.memory(), 120, "MiB")
            yield from _export(browser)


def _build(path: Path, extent: Extent) -> None:
    """Make the database in a process of its own, whose memory is not that of the load."""
    code = "import sys, time; from pathlib import Path; import live_trace_data as data; "
    code += "data.build(Path(sys.argv[1]), *map(int, sys.argv[2:]), now=time.time())"
    sizes = [str(extent.stored_events // 100), str(extent.stored_events)]
    here = Path(__file__).parent
    subprocess.run([sys.executable, "-c", code, str(path), *sizes], cwd=here, check=True)


@contextmanager
def _serving(database: Path) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "perimeter", "live-trace", "serve"]
    options = ["--db", str(database), "--port", str(port)]
    with subprocess.Popen(
        command + options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            wait_for(child, port, "/health")
            yield Server(port, psutil.Process(child.pid))
        finally:
            child.terminate()


def _pages(browser: Browser, count: int) -> Iterator[Row]:
    yield from browser.timed("list of sessions", _following(browser), 30, count)
    searches = cycle(f"/search?range=all&q={quote(word)}" for word in SEARCHES)
    yield from browser.timed("search", searches, 20, count)
    for name in RANGES:
        overview = cycle([f"/overview?range={name}"])
        yield from browser.timed(f"overview of {name}", overview, 40, count)
    largest = _json(browser, "/sessions.json?range=all&sort=-turns")["rows"][0]
    path = f"/sessions/{largest['public_id']}"
    title = f"a session of {largest['events']:,} events"
    yield from browser.timed(title, cycle([path]), 1000, min(count, 10))


def _following(browser: Browser) -> Iterator[str]:
    """Yield the pages of the list, one after the other."""
    path = "/sessions?range=all"
    while True:
        yield path
        after = _json(browser, path.replace("/sessions?", "/sessions.json?")).get("next")
        path = f"/sessions?range=all&after={quote(after)}" if after else "/sessions?range=all"


def _json(browser: Browser, path: str) -> dict[str, Any]:
    return dict(json.loads(gzip.decompress(browser.get(path))))


def _first_load(browser: Browser) -> float:
    """Return the KB that a browser gets when it sees the dashboard for the first time."""
    page = browser.get("/sessions")
    assets = sorted(set(ASSETS.findall(gzip.decompress(page).decode())))
    return (len(page) + sum(len(browser.get(path)) for path in assets)) / 1000


def _export(browser: Browser) -> Iterator[Row]:
    """Export all events; the process must not grow with them."""
    before, most, size = browser.server.memory(), 0.0, 0
    begun = time.perf_counter()
    browser.connection.request("GET", "/export/events.jsonl?range=all")
    response = browser.connection.getresponse()
    while data := response.read(PIECE):
        size += len(data)
        most = max(most, browser.server.memory())
    yield Row(f"export of {size / 1e6:,.0f} MB", time.perf_counter() - begun, NO_BAR, "s")
    yield Row("  its process grew by", max(0.0, most - before), 20, "MiB")
