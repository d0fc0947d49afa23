"""Imports go downwards only, and third-party libraries stay where they belong."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "perimeter"
SOURCES = sorted(CORE.rglob("*.py"))

LAYERS = [
    {"cli"},
    {"demo", "testing"},
    {"simulator"},
    {"supervisor"},
    {"workers", "reloading"},
    {"server"},
    {"http_protocol"},
    {"playback"},
    {"application"},
    {"admin"},
    {"gateway"},
    {"tracking"},
    {"standalone"},
    {"registry"},
    {"discovery"},
    {"validation"},
    {"context"},
    {"worker", "metrics", "logs", "process"},
    {"dispatch"},
    {"hookspecs"},
    {"upstream"},
    {"events"},
    {"model"},
    {"sessions"},
    {"configuration"},
    {"dialects"},
    {"framing", "encoding", "settings", "findings"},
    {"pricing", "redaction"},
    {"checks"},
    {"options", "verdicts", "calls", "dashboard"},
    {"errors"},
]
LEVEL = {name: number for number, names in enumerate(LAYERS) for name in names}

FENCES = {
    "litestar": {"application", "admin"},
    "uvicorn": {"server", "http_protocol", "testing"},
    "httptools": {"http_protocol", "upstream"},
    "httpx": {"upstream", "context", "demo"},
    "pluggy": {"hookspecs", "dispatch", "registry", "validation", "discovery"},
    "prometheus_client": {"metrics", "demo"},
    "tomli": {"configuration", "pricing"},
    "cattrs": {"configuration", "events"},
    "click": {"cli"},
    "rich": {"cli"},
}


def part(path: Path) -> str:
    """Return the module or package directly under `perimeter` that a file belongs to."""
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of what a file imports, those for type checking only left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "perimeter":
                yield from (f"perimeter.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_go_downwards(path):
    """A module imports from its own part or from lower layers."""
    own = part(path)
    if own in {"__init__", "__main__"}:
        return
    for name in imports(path):
        if not name.startswith("perimeter."):
            continue
        other = name.split(".")[1]
        if other in LEVEL and other != own:
            assert LEVEL[other] > LEVEL[own], f"{own} imports {other}"


def test_every_module_has_a_layer():
    """A new module is placed in a layer before it is used."""
    parts = {part(path) for path in SOURCES} - {"__init__", "__main__"}

    assert parts == set(LEVEL)


@pytest.mark.parametrize("library", FENCES)
def test_libraries_stay_where_they_belong(library):
    """A library is imported by the parts that wrap it, and by nothing else."""
    users = {
        part(path)
        for path in SOURCES
        if any(name.split(".")[0] == library for name in imports(path))
    }

    assert users <= FENCES[library]


def test_plugins_use_the_public_api_only():
    """A plugin imports public names of core, and never another plugin."""
    public = {
        "perimeter",
        "perimeter.calls",
        "perimeter.dashboard",
        "perimeter.dialects",
        "perimeter.encoding",
        "perimeter.errors",
        "perimeter.events",
        "perimeter.findings",
        "perimeter.framing",
        "perimeter.model",
        "perimeter.options",
        "perimeter.playback",
        "perimeter.pricing",
        "perimeter.redaction",
        "perimeter.sessions.evidence",
        "perimeter.simulator",
        "perimeter.standalone",
        "perimeter.testing",
        "perimeter.verdicts",
    }
    for path in (ROOT / "plugins").rglob("src/**/*.py"):
        own = next(each for each in path.parts if each.startswith("perimeter_plugin_"))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                top = node.module.split(".")[0]
                if top == "perimeter":
                    assert node.module in public, f"{path.name} imports {node.module}"
                assert not top.startswith("perimeter_plugin_") or top == own
