"""What the tests here run in is built from the repository, as users do it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments import Environment, create
from perimeter.simulator import Simulator
from perimeter.testing import serve
from repository import ROOT, files


PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the repository's files, as a clean checkout would hold them."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in files():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return folder


@pytest.fixture(scope="session")
def wheels(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the wheels of core and every plugin, core's first."""
    folder = tmp_path_factory.mktemp("wheels")
    builder = create(folder)
    projects = [".", *(f"./plugins/{path.name}" for path in PLUGINS)]
    for project in projects:
        builder.pip("wheel", "--no-deps", "--wheel-dir", folder / "dist", project, cwd=checkout)
    return sorted((folder / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install the wheels, and what they need, into a fresh environment."""
    environment = create(tmp_path_factory.mktemp("installed"))
    environment.pip("install", "-c", ROOT / "tests" / "constraints.txt", *wheels)
    return environment


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    """Return a simulated provider."""
    return Simulator(seed=1)


@pytest.fixture(scope="module")
def provider(simulator: Simulator) -> Iterator[str]:
    """Run the simulated provider, and return its base URL."""
    with serve(simulator) as url:
        yield url
