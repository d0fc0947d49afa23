"""Connect: how clients are pointed at the proxy, and whether the first request has come."""

from __future__ import annotations

import msgspec
from peewee import fn

from perimeter_plugin_live_trace.store.models import Session
from perimeter_plugin_live_trace.web import snippets
from perimeter_plugin_live_trace.web.page import Ask, fragment, page


class Waiting(msgspec.Struct, frozen=True):
    """
    Whether anything has come.

    Attributes:
        sessions: How many sessions there are.
        newest: The id of the newest one, or "".
        title: What it is called.
        last_us: When something happened in it last.
        connected: Whether a proxy is connected to this dashboard.
        expected: Whether one is meant to be.
    """

    sessions: int
    newest: str
    title: str
    last_us: int | None
    connected: bool
    expected: bool


class ConnectView(msgspec.Struct, frozen=True):
    """The page."""

    title: str
    proxy_url: str
    dashboard_url: str
    waiting: Waiting
    clients: list[snippets.Tab]
    client: str
    headers: list[snippets.Header]
    assistants: list[snippets.Tab]
    assistant: str
    token: bool


@page("/connect", template="pages/connect.html", nav="connect", title="Connect")
def connect(ask: Ask) -> ConnectView:
    """Show snippets with this proxy's address."""
    proxy = ask.site.proxy_url or "http://127.0.0.1:4000"
    clients = snippets.clients(proxy)
    assistants = snippets.assistants(ask.site.url, token=bool(ask.site.token))
    return ConnectView(
        title="Connect",
        proxy_url=proxy,
        dashboard_url=ask.site.url,
        waiting=_waiting(ask),
        clients=clients,
        client=ask.params.choice("client", clients[0].key, tuple(tab.key for tab in clients)),
        headers=list(snippets.HEADERS),
        assistants=assistants,
        assistant=ask.params.choice(
            "assistant", assistants[0].key, tuple(tab.key for tab in assistants)
        ),
        token=bool(ask.site.token),
    )


@fragment("/connect/waiting", template="pages/connect_waiting.html")
def waiting(ask: Ask) -> Waiting:
    """Show whether anything has come."""
    return _waiting(ask)


def _waiting(ask: Ask) -> Waiting:
    newest = ask.reader.one(
        Session.select(Session.public_id, Session.title, Session.last_us)
        .order_by(Session.last_us.desc(), Session.id.desc())
        .limit(1)
    )
    return Waiting(
        sessions=ask.reader.value(Session.select(fn.COUNT(Session.id)), 0),
        newest=newest.public_id if newest else "",
        title=(newest.title or newest.public_id) if newest else "",
        last_us=newest.last_us if newest else None,
        connected=ask.site.ingest.connected > 0,
        expected=ask.site.ingest.expected,
    )


routes = (connect, waiting)
