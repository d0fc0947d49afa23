"""What tests of the API, the MCP server, replays and the cache view share."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
from dashboards import Served, serve
from factory import NOW, Agent, Talk, Traffic

from perimeter import hookimpl
from perimeter.application import build
from perimeter.settings import Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve as run
from perimeter_plugin_live_trace.records import frame, unframe
from perimeter_plugin_live_trace.sender import making
from perimeter_plugin_live_trace.store import Database, Writer


EVER = 3650
"""Days: further back than any data of the factory."""


@contextmanager
def served(path: Path, **options: Any) -> Iterator[Served]:
    """Serve a database."""
    dashboard = serve(path, **options)
    try:
        yield dashboard
    finally:
        dashboard.stop()


def talk(agent: Agent, session: str, at: float = NOW - 1000, seed: int = 1) -> Talk:
    """Return a session that has not begun."""
    return Talk(Traffic(random.Random(seed)), agent, session, at, {})


def written(path: Path, *batches: list[Any]) -> Database:
    """Return a database with some records in it."""
    database = Database.open(path)
    writer = Writer(database, clock=lambda: NOW)
    for batch in batches:
        writer.take(batch)
    writer.close()
    assert not writer.skipped
    return database


def watching(take: Callable[[list[Any]], None]) -> type:
    """Return a plugin that tells what the proxy does as live trace does, without its process."""

    @attrs.define(eq=False)
    class Watching:
        Config = attrs.make_class("Config", {}, frozen=True)
        config: Any
        context: Any

        def _tell(self, record: Any) -> None:
            take(unframe(frame([record])[4:]))

        @hookimpl
        def on_request(self, exchange: Any) -> None:
            self._tell(making.asked(exchange))

        @hookimpl
        def on_response(self, exchange: Any) -> None:
            self._tell(making.answered(exchange))

        @hookimpl
        def on_error(self, exchange: Any) -> None:
            self._tell(making.answered(exchange))

        @hookimpl
        def on_session_event(self, session: Any, event: Any) -> None:
            self._tell(making.happened(session, event))

    return Watching


@attrs.frozen
class Stage:
    """
    A simulated provider, a proxy in front of it, and a dashboard that sees what the proxy does.

    Attributes:
        proxy: The proxy's address.
        dashboard: The dashboard.
        asked: What the provider was sent: headers and body.
        faults: What the provider does wrong from now on, as `x-simulate` says it.
    """

    proxy: str
    dashboard: Served
    asked: list[tuple[dict[str, str], Any]]
    faults: list[str]

    def ask(self, path: str, body: dict[str, Any], **headers: str) -> None:
        """Send a request through the proxy."""
        httpx.post(self.proxy + path, json=body, headers=headers).raise_for_status()

    def browser(self) -> httpx.Client:
        """Return a client that keeps cookies, as browsers do."""
        return httpx.Client(base_url=self.dashboard.url, timeout=30)


@contextmanager
def stage(path: Path, **upstream: Any) -> Iterator[Stage]:
    """Build a stage with upstreams `openai` and `anthropic`."""
    asked: list[tuple[dict[str, str], Any]] = []
    faults: list[str] = []
    provider = Simulator(seed=1)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await provider(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = bytearray()

        async def hearing() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                asked.append((headers, json.loads(bytes(body) or b"{}")))
            return message

        wrong = [(b"x-simulate", fault.encode()) for fault in faults]
        await provider({**scope, "headers": [*scope["headers"], *wrong]}, hearing, send)

    with served(path) as dashboard, run(noting) as address:
        names = ("openai", "anthropic")
        upstreams = {
            name: UpstreamSettings(type=name, base_url=address, **upstream) for name in names
        }
        settings = Settings(
            upstreams=upstreams, default_upstream="openai", plugins={"watching": {}}
        )
        plugins = {"watching": watching(dashboard.changes.take)}
        with run(build(settings, plugins=plugins).asgi, lifespan="on") as proxy:
            dashboard.site.proxy_url = proxy
            yield Stage(proxy, dashboard, asked, faults)


def form_token(page: str) -> str:
    """Return the token that a page's form must send back."""
    return str(re.search(r'name="csrf" value="([^"]+)"', page)[1])  # type: ignore[index]


def words(page: str) -> str:
    """Return the words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
