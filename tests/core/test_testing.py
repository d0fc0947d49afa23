"""`perimeter.testing.serve`."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpx
import pytest

from perimeter.simulator import Simulator
from perimeter.testing import serve


async def _broken(scope: Any, receive: Any, send: Any) -> None:
    """An app whose start-up fails."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})


def test_apps_run_until_the_end_of_the_block() -> None:
    """The app answers inside the block; afterwards neither thread nor socket is left."""
    before = threading.active_count()
    with serve(Simulator()) as url:
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 200
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v1/models", trust_env=False)


def test_two_apps_at_once() -> None:
    """Every app has a port of its own."""
    with serve(Simulator(models=["a"])) as first, serve(Simulator(models=["b"])) as second:
        names = [
            httpx.get(f"{url}/v1/models", trust_env=False).json()["data"][0]["id"]
            for url in (first, second)
        ]
    assert names == ["a", "b"]


def test_failed_start_is_an_error() -> None:
    """An app that does not start raises here, and leaves nothing behind."""
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="failed to start"), serve(_broken, lifespan="on"):
        pytest.fail("the block was entered")
    assert threading.active_count() == before


def test_port_in_use_is_an_error() -> None:
    """A port that is taken raises the operating system's own error."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(OSError, match="in use"), serve(Simulator(), port=port):
            pytest.fail("the block was entered")
