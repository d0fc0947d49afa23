"""What may and must stand in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli


ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json"}


def tracked() -> list[Path]:
    """Return the files of the repository: those that git tracks, or all of an unpacked sdist."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().rstrip("\0").split("\0")
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    skipped = {".tox", ".git", ".venv", "__pycache__"}
    return [p for p in ROOT.rglob("*") if p.is_file() and not skipped & set(p.parts)]


def project(path: Path) -> dict:
    """Return the [project] table of a pyproject.toml."""
    return tomli.loads((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def version() -> str:
    """Return the one version literal."""
    text = (ROOT / "core" / "perimeter" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def test_no_lock_files_and_no_index_addresses():
    """Nothing records where packages were downloaded from."""
    files = tracked()

    assert not [path for path in files if path.name in LOCK_FILES]
    requirements = [path for path in files if path.name.endswith(("requirements.txt", "-dev.txt"))]
    for path in [*requirements, ROOT / "tests" / "constraints.txt"]:
        assert "://" not in path.read_text(encoding="utf-8")


def test_constraints_are_pins():
    """The constraints file holds `name==version` lines only."""
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").split()

    assert lines
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_are_in_step(plugin):
    """Each plugin takes core's version, pins core's minor, and core has an extra for it."""
    text = (plugin / "pyproject.toml").read_text(encoding="utf-8")
    minor = ".".join(version().split(".")[:2])
    name = project(plugin)["name"]
    extras = project(ROOT)["optional-dependencies"]

    assert name == f"perimeter-plugin-{plugin.name}"
    assert 'path = "../../core/perimeter/__init__.py"' in text
    assert f"perimeter-core~={minor}.0" in project(plugin)["dependencies"]
    assert extras[plugin.name] == [f"{name}~={minor}.0"]
    assert f"{name}~={minor}.0" in extras["all"]
    assert (plugin / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_have_no_tool_configuration(plugin):
    """A [tool.ruff] table in a plugin would detach it from the only configuration there is."""
    tools = tomli.loads((plugin / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})

    assert set(tools) <= {"hatch"}


def test_plugins_are_named_everywhere():
    """A new plugin is also in requirements-dev.txt, tox.ini and the type checker's paths."""
    for plugin in PLUGINS:
        where = f"plugins/{plugin.name}"
        for name in ("requirements-dev.txt", "tox.ini", "pyproject.toml"):
            assert where in (ROOT / name).read_text(encoding="utf-8"), f"{where} in {name}"


def test_links_in_documents_lead_somewhere():
    """Every relative link of every Markdown file points at a file."""
    broken = []
    for path in tracked():
        if path.suffix != ".md":
            continue
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        broken += [
            f"{path.relative_to(ROOT)}: {target}"
            for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
            if "://" not in target and not (path.parent / target).exists()
        ]

    assert not broken


def test_secret_scan_finds_what_it_is_for(tmp_path):
    """The scanner reports key-shaped text and leaves prose alone."""
    scanner = ROOT / "tests" / "tools" / "secret_scan.py"
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text("key = " + "sk-" + "a1B2" * 8, encoding="utf-8")
    good.write_text("ask-me-anything, task-based-scheduling-of-work", encoding="utf-8")

    def scan(path):
        command = [sys.executable, str(scanner), str(path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert scan(bad).returncode == 1
    assert "bad.txt:1: OpenAI or Anthropic key" in scan(bad).stdout
    assert scan(good).returncode == 0


def test_large_files_are_found(tmp_path):
    """The size check reports files over its limit."""
    checker = ROOT / "tests" / "tools" / "large_files.py"
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * (600 * 1024))
    command = [sys.executable, str(checker), str(large)]

    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    large.write_bytes(b"x")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
