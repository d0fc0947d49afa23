"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest


# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("perimeter", deadline=None)
hypothesis.settings.load_profile("perimeter")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the whole suite be run on uvloop too, as the proxy is where uvloop exists."""
    parser.addoption("--uvloop", action="store_true", help="run async tests on uvloop")


@pytest.fixture(scope="session")
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run async tests on asyncio, the only library the proxy supports."""
    return "asyncio", {"use_uvloop": request.config.getoption("--uvloop")}


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """Fail a test that leaves the environment changed; the next one would run in another world."""
    before = _environment()
    yield
    after = _environment()
    changed = sorted(name for name, _ in before.items() ^ after.items())
    for name in changed:
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]
    assert not changed, "use monkeypatch: these variables were left changed"


def _environment() -> dict[str, str]:
    # pytest itself keeps the running phase of the test in this variable.
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
