"""The application in a server that is not ours, and the routes that plugins add to it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading

import attrs
import httpx
import pytest
from litestar import get

import perimeter
from faults import NoConfig
from perimeter import application, hookimpl
from perimeter.options import Secret
from perimeter.settings import ServerSettings, Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve


CHAT = {"model": "simulated", "messages": [{"role": "user", "content": "What is 17 * 23?"}]}


@pytest.fixture
def simulator():
    """A simulated provider."""
    return Simulator()


@pytest.fixture
def provider(simulator):
    """Its base URL."""
    with serve(simulator) as url:
        yield url


@pytest.fixture
def factory(provider, monkeypatch, tmp_path):
    """The base URL of an app made by `perimeter:create_app`, served by plain uvicorn."""
    monkeypatch.setenv("LLM_BASE_URL", provider)
    monkeypatch.setenv("LLM_TYPE", "openai")
    monkeypatch.chdir(tmp_path)
    with serve(perimeter.create_app(), lifespan="on") as url:
        yield url


def test_foreign_server(factory):
    """The app factory works under a server that knows nothing of Perimeter."""
    answer = httpx.post(f"{factory}/v1/chat/completions", json=CHAT)
    streamed = httpx.post(f"{factory}/v1/chat/completions", json={**CHAT, "stream": True})

    assert "391" in answer.json()["choices"][0]["message"]["content"]
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert httpx.get(f"{factory}/health").json()["status"] == "healthy"


def test_departure_under_a_foreign_server(factory, simulator):
    """There, too, a client that leaves takes the upstream's connection with it."""
    headers = {"x-simulate": "hang=2"}
    body = {**CHAT, "stream": True}
    url = f"{factory}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers) as response:
        next(response.iter_raw())

    done = threading.Event()
    for _ in range(500):
        if simulator.requests[-1].outcome == "disconnected":
            break
        done.wait(0.01)
    assert simulator.requests[-1].outcome == "disconnected"


def test_uvicorn_command(provider, tmp_path):
    """`uvicorn --factory perimeter:create_app` serves from the environment alone."""
    environment = {"LLM_BASE_URL": provider, "LLM_TYPE": "openai", "PATH": ""}
    command = [sys.executable, "-m", "uvicorn", "--factory", "perimeter:create_app", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, env=environment, cwd=tmp_path) as server:
        try:
            lines = iter(server.stderr.readline, "")
            url = next(match[0] for line in lines if (match := re.search(r"http://\S+", line)))
            answer = httpx.post(f"{url}/v1/chat/completions", json=CHAT)
        finally:
            server.terminate()
        log = server.stdout.read()

    assert answer.status_code == 200
    assert '"POST /v1/chat/completions HTTP/1.1" 200' in log


@attrs.define(eq=False)
class Pages:
    """A plugin with a page."""

    Config = NoConfig
    config: object
    context: object

    @hookimpl
    def routes(self):
        @get("/page", sync_to_thread=False)
        def page() -> str:
            return "a page"

        return [page]


@pytest.mark.parametrize(
    ("host", "headers", "expected"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"host": "evil.example"}, 403),
        ("127.0.0.1", {"origin": "http://evil.example"}, 403),
        ("0.0.0.0", {}, 401),
        ("0.0.0.0", {"authorization": "Bearer opensesame"}, 200),
    ],
)
def test_plugin_routes(provider, host, headers, expected):
    """A plugin's page is under /-/<plugin>/, and guarded as the configuration is."""
    token = Secret("opensesame" if host == "0.0.0.0" else "")
    settings = Settings(
        server=ServerSettings(host=host, admin_token=token),
        upstreams={"default": UpstreamSettings(type="openai", base_url=provider)},
        plugins={"pages": {}},
    )
    app = application.build(settings, plugins={"pages": Pages}).asgi
    with serve(app, lifespan="on") as url:
        answer = httpx.get(f"{url}/-/pages/page", headers=headers)
        nothing = httpx.get(f"{url}/-/pages/nothing")

    assert answer.status_code == expected
    assert nothing.status_code == 404


@pytest.mark.parametrize(
    ("address", "expected"), [("127.0.0.1", 200), ("192.0.2.1", 403)], ids=["loopback", "outside"]
)
async def test_where_a_foreign_server_listens(provider, address, expected):
    """Its address counts, not the one of [server] host, which it does not know."""
    upstreams = {"default": UpstreamSettings(type="openai", base_url=provider)}
    app = application.build(Settings(upstreams=upstreams)).asgi

    async def listening_there(scope, receive, send):
        await app({**scope, "server": (address, 4000)}, receive, send)

    transport = httpx.ASGITransport(listening_there)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/config")
        health = await client.get("/health")

    assert answer.status_code == expected
    assert health.status_code == 200
