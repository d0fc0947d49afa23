"""Whether live trace keeps up: nothing dropped, written soon, seen soon, at a steady rate."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from itertools import count, islice

import attrs
import psutil
from extent import Extent
from load import at, conversations, open_loop, request
from processes import MIB, Server, free_port, running
from rows import NO_BAR, Row


CONNECTIONS = 64
PAUSE = 0.25
"""Seconds between two looks."""
PATIENCE = 30.0
"""Seconds after which what can't be seen never will be."""
FIGURE = re.compile(
    r'^perimeter_live_trace_(batch_age_seconds\{quantile="[\d.]+"\}|dropped_total) (\S+)$',
    re.MULTILINE,
)
AGE = 'batch_age_seconds{{quantile="{}"}}'
TABLE = (
    "[plugins.live_trace]\nserver_port = {port}\nserver_host = '127.0.0.1'\n"
    "db_path = '{{folder}}/live-trace.db'\nauto_open_browser = false\n"
)


@attrs.define(eq=False)
class Watch:
    """
    Looks at the dashboard while the load runs.

    Attributes:
        proxy: Port of the proxy.
        dashboard: Port of the dashboard.
        figures: What live trace says of itself, as it was seen last.
        seen: Seconds from an answer to the moment when a page shows the call.
    """

    proxy: int
    dashboard: int
    figures: dict[str, float] = attrs.field(factory=dict)
    seen: list[float] = attrs.field(factory=list)
    _over: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        """Look again and again, until it is over."""
        for number in count():
            self.seen.append(self._visible(f"marked-{number}"))
            if self._over.wait(PAUSE):
                return

    def stop(self) -> None:
        """Have it end."""
        self._over.set()

    def look(self) -> None:
        """Take the figures."""
        _, text = _ask(self.dashboard, "GET", "/metrics")
        self.figures = {name: float(value) for name, value in FIGURE.findall(text.decode())}

    def _visible(self, session: str) -> float:
        """Return how long it takes after an answer until the session's page has it."""
        body = json.dumps({"model": "bench", "messages": [{"role": "user", "content": session}]})
        headers = {"content-type": "application/json", "x-cylestio-conversation-id": session}
        _ask(self.proxy, "POST", "/v1/chat/completions", body, headers)
        answered = time.perf_counter()
        while time.perf_counter() - answered < PATIENCE:
            status, text = _ask(self.dashboard, "GET", f"/api/session/{session}")
            if status == 200 and b"llm.call.finish" in text:
                break
            time.sleep(0.01)
        return time.perf_counter() - answered


def ingest_rows(provider: int, extent: Extent) -> list[Row]:
    """Measure what a steady load does to live trace."""
    port = free_port()
    with running(provider, TABLE.format(port=port)) as server:
        watch = Watch(server.port, port)
        watcher = threading.Thread(target=watch.run)
        watcher.start()
        try:
            seconds = _load(server, extent)
        finally:
            watch.stop()
            watcher.join()
        watch.look()
        memory = _child(server).memory_info().rss / MIB
    exchanges = extent.rate * extent.rate_seconds
    return [
        Row(
            f"{extent.rate:,} exchanges a second asked for: had", exchanges / seconds, NO_BAR, "/s"
        ),
        Row("  records dropped", watch.figures["dropped_total"], 0, ""),
        Row("  age of a batch's oldest record when stored, p50", _age(watch, "0.5"), 0.1, "s"),
        Row("    p99", _age(watch, "0.99"), 2, "s"),
        Row("    largest", _age(watch, "1"), 2, "s"),
        Row("  answer to visible, p95", at(watch.seen, 95), 1, "s", tuple(watch.seen)),
        Row("  process of the dashboard", memory, 120, "MiB"),
    ]


def _age(watch: Watch, quantile: str) -> float:
    return watch.figures[AGE.format(quantile)]


def _load(server: Server, extent: Extent) -> float:
    """Send exchanges at the rate; return the seconds that took."""
    bodies: Iterator[list[dict[str, str]]] = conversations()
    number = extent.rate * extent.rate_seconds
    batch = [request(each, stream=False) for each in islice(bodies, number)]
    begun = time.perf_counter()
    asyncio.run(open_loop(server.port, batch, CONNECTIONS, extent.rate))
    return time.perf_counter() - begun


def _child(server: Server) -> psutil.Process:
    """Return the dashboard's process: the largest of those that the proxy has started."""
    children = server.process.children(recursive=True)
    return max(children, key=lambda each: each.memory_info().rss)


def _ask(
    port: int, method: str, path: str, body: str = "", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body or None, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
