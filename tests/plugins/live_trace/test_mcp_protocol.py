"""The MCP server speaks the protocol: with the official client, as JSON and as an event stream."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import asynccontextmanager

import anyio
import factory
import httpx
import httpx2
import pytest
from api_parts import served
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


HEADERS = {"content-type": "application/json", "accept": "application/json"}
BOTH = "application/json, text/event-stream"
MODERN = "2026-07-28"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A dashboard full of data."""
    path = tmp_path_factory.mktemp("mcp") / "live-trace.db"
    factory.build(path)
    with served(path) as dashboard:
        yield dashboard


def post(site, message: object, **headers: str) -> httpx.Response:
    """Send a message as it is."""
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    return httpx.post(f"{site.url}/mcp", content=data, headers={**HEADERS, **headers})


def request(method: str, **params: object) -> dict:
    """Return a request of the revisions of 2025."""
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


INITIALIZE = request(
    "initialize",
    protocolVersion="2025-06-18",
    capabilities={},
    clientInfo={"name": "test", "version": "1"},
)


@asynccontextmanager
async def client(site, mode: str, accept: str):
    """Connect the official client; it says that it accepts something else than it does."""
    types: list[str] = []

    async def asking(asked: httpx2.Request) -> None:
        asked.headers["accept"] = accept

    async def hearing(answer: httpx2.Response) -> None:
        if answer.status_code == 200:
            types.append(answer.headers["content-type"])

    hooks = {"request": [asking], "response": [hearing]}
    async with (
        httpx2.AsyncClient(event_hooks=hooks, trust_env=False) as http,
        Client(streamable_http_client(f"{site.url}/mcp", http_client=http), mode=mode) as made,
    ):
        yield made, types


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json", "application/json"),
        ("text/event-stream", "text/event-stream"),
        (BOTH, "text/event-stream"),
    ],
)
async def test_official_client(site, mode, accept, expected):
    """The official client lists and calls tools in both eras of the protocol, both ways."""
    async with client(site, mode, accept) as (made, types):
        listed = await made.list_tools()
        result = await made.call_tool("get_workflow_sessions", {"limit": 1})

        assert made.server_info.name == "perimeter"
        assert made.protocol_version == (MODERN if mode == "auto" else "2025-11-25")
    assert len(listed.tools) >= 13
    assert result.structured_content["sessions"][0]["id"] == "session-live"
    assert {kind.split(";")[0] for kind in types} == {expected}


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_revisions_of_2025(site, version):
    """Each revision of 2025 is agreed on, without a session."""
    message = request(
        "initialize",
        protocolVersion=version,
        capabilities={},
        clientInfo={"name": "x", "version": "1"},
    )
    response = post(site, message)

    assert response.json()["result"]["protocolVersion"] == version
    assert "mcp-session-id" not in response.headers


def test_every_request_stands_alone(site):
    """A call needs no handshake before it, and an unknown session id changes nothing."""
    call = request("tools/call", name="list_workflows", arguments={})
    response = post(site, call, **{"mcp-session-id": "mcp-" + "0" * 32})

    assert response.status_code == 200
    assert response.json()["result"]["structuredContent"]["workflows"]


def test_an_event_stream_is_one(site):
    """A client that accepts `text/event-stream` gets one event with the answer."""
    response = post(site, INITIALIZE, accept="text/event-stream")

    assert response.headers["content-type"].startswith("text/event-stream")
    lines = response.text.splitlines()
    assert lines[0] == "event: message"
    assert (
        json.loads(lines[1].removeprefix("data: "))["result"]["serverInfo"]["name"] == "perimeter"
    )


def test_ping_and_notifications(site):
    """`ping` is answered, and a notification is taken with 202 and no body."""
    ping = post(site, request("ping"))
    told = post(site, {"jsonrpc": "2.0", "method": "notifications/initialized"})

    assert ping.json()["result"] == {}
    assert told.status_code == 202
    assert told.content in {b"", b"null"}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"{}", b"[" * 100_000],
)
def test_garbage_is_refused(site, body):
    """What is no message is 400 with a JSON-RPC error, in both eras."""
    for headers in ({}, {"mcp-protocol-version": MODERN}):
        response = post(site, body, **headers)
        assert response.status_code == 400
        assert response.json()["error"]["code"] < 0


def test_unknown_methods_and_versions(site):
    """An unknown method is -32601, with 404 in the current revision; an unknown version is 400."""
    old = post(site, request("no/such"))
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "no/such"}
    new = post(site, request("no/such", _meta=meta), **headers)
    version = post(site, request("ping"), **{"mcp-protocol-version": "2199-01-01"})

    assert old.json()["error"]["code"] == -32601
    assert new.status_code == 404
    assert new.json()["error"]["code"] == -32601
    assert version.status_code == 400


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_only_post(site, method):
    """There is no stream to open and no session to end: 405, and it says what is allowed."""
    response = httpx.request(method, f"{site.url}/mcp", headers={"accept": "text/event-stream"})

    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_large_bodies_are_refused(site):
    """A body above a MiB is 413."""
    response = post(site, b" " * (1024 * 1024 + 1))

    assert response.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_foreign_pages_are_refused(site, headers, status):
    """Neither another name, nor another site's page, nor a form can reach the tools."""
    assert post(site, INITIALIZE, **headers).status_code == status


def test_its_own_origin_is_not_foreign(site):
    """The dashboard's own pages may ask."""
    assert post(site, INITIALIZE, origin=site.url).status_code == 200


def test_the_token_is_asked_for(tmp_path):
    """With a token, a request without it is 401, and one with it is answered."""
    with served(tmp_path / "live-trace.db", token="let-me-in") as guarded:
        refused = post(guarded, INITIALIZE)
        taken = post(guarded, INITIALIZE, authorization="Bearer let-me-in")

    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers
    assert taken.status_code == 200


async def test_unknown_tools_are_errors_of_the_protocol(site):
    """A tool that is not there is an error, not a result."""
    async with client(site, "auto", BOTH) as (made, _):
        with pytest.raises(MCPError, match="there is no tool"):
            await made.call_tool("no_such_tool", {})


async def test_many_calls_at_once(site):
    """Calls at the same time do not wait for each other's connection, and nothing is left over."""
    found: list[int] = []

    async def ask() -> None:
        async with client(site, "auto", BOTH) as (made, _):
            result = await made.call_tool("get_usage_summary", {"days": 3650})
            found.append(result.structured_content["total"]["calls"])

    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(ask)

    assert found == [found[0]] * 12
    assert found[0] > 0


def test_the_sdk_is_loaded_when_it_is_needed():
    """The process starts without the SDK, which takes a third of its memory."""
    code = (
        "import sys, perimeter_plugin_live_trace.process.serving as serving\n"
        "assert serving and not {'mcp', 'pydantic'} & sys.modules.keys(), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
