"""A dashboard over a database, for the tests of pages."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factory
from litestar.testing import TestClient

from perimeter_plugin_live_trace.store import Database, Reader
from perimeter_plugin_live_trace.store.writer import Writer
from perimeter_plugin_live_trace.web.app import create_app
from perimeter_plugin_live_trace.web.page import Ingest, Site


NOW = factory.NOW


class Changes:
    """Runs changes at once, one after the other."""

    def __init__(self, writer: Writer) -> None:
        self._writer, self._lock = writer, threading.Lock()

    def change(self, what: Callable[..., Any]) -> Any:
        with self._lock:
            return self._writer.change(what)


class Pages:
    """A dashboard, and a client of it."""

    def __init__(self, path: Path, now: float = NOW) -> None:
        self.database = Database.open(path)
        self.reader: Reader = self.database.reader()
        self.writer = Writer(self.database, clock=lambda: now)
        self.changes = Changes(self.writer)
        self.site = Site(proxy_url="http://127.0.0.1:4000", ingest=Ingest())
        self.app = create_app(self.site, self.reader, self.changes)
        self.client: TestClient[Any] = TestClient(self.app, base_url="http://127.0.0.1:7100")
        self.client.__enter__()
        self.now_us = int(now * 1e6)

    def close(self) -> None:
        self.client.__exit__(None, None, None)
        self.reader.close()
        self.writer.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.client.get(path, params=self.span(params), follow_redirects=False)

    def json(self, path: str, **params: Any) -> Any:
        answer = self.get(path + ".json", **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, *, page: str = "/settings", **fields: Any) -> Any:
        found = re.search(r'name="csrf" value="([^"]+)"', self.client.get(page).text)
        assert found, f"{page} has no form"
        data = {"csrf": found.group(1), **fields}
        return self.client.post(path, data=data, follow_redirects=False)

    def span(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return parameters for all that the factory makes, where a test asks for no other time."""
        if "range" in params or "from" in params:
            return params
        return {"range": "all", **params}
