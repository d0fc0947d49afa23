"""Core stays small: what is not needed is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

import perimeter


HEAVY = {
    "import perimeter": {"litestar", "uvicorn", "httpx", "click", "rich", "prometheus_client"},
    "import perimeter.application": set(),  # Litestar itself brings click and rich
    "import perimeter.gateway.gateway": {"click", "rich", "litestar", "uvicorn", "httpx"},
}
NEVER = {"perimeter.simulator", "perimeter.demo", "perimeter.cli", "perimeter.testing"}


@pytest.mark.parametrize("statement", HEAVY)
def test_imports_pull_in_nothing_heavy(statement):
    """Neither the simulator nor the command line nor their libraries come along."""
    code = f"{statement}; import sys; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines())

    assert not loaded & (NEVER | HEAVY[statement])


def test_public_names():
    """What `perimeter` exports is pinned: a change here is a change of the plugin API."""
    assert perimeter.__all__ == sorted(perimeter.__all__)
    assert perimeter.__all__ == [
        "API",
        "Block",
        "Chunk",
        "ConfigError",
        "Event",
        "Exchange",
        "ExchangeError",
        "Outcome",
        "PerimeterError",
        "PluginContext",
        "PluginError",
        "Request",
        "Respond",
        "Response",
        "Rewrite",
        "Secret",
        "Session",
        "Stop",
        "StreamGuard",
        "Verdict",
        "Worker",
        "__version__",
        "create_app",
        "data_root",
        "hookimpl",
        "option",
    ]
    assert all(hasattr(perimeter, name) for name in perimeter.__all__)


def test_unknown_names_are_attribute_errors():
    """The lazy part of the module answers wrong names as any module does."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = perimeter.nothing
