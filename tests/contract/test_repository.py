"""What may and must stand in the repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tomli

from repository import ROOT, files, is_text


PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())
LOCK_FILES = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "package-lock.json"}
# Put together here, because this file is searched too.
INDEXES = ("py" + "pi.org", "python" + "hosted.org", "--index" + "-url", "--extra-index" + "-url")
MACHINES = re.compile(r"(?<![\w.<>-])/(?:root|home/\w+|Users/\w+|work)/")
APACHE = "Apache License\n                           Version 2.0, January 2004"


def project(folder: Path) -> dict:
    """Return the [project] table of a pyproject.toml."""
    return tomli.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def version() -> str:
    """Return the one version literal."""
    text = (ROOT / "core" / "perimeter" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def texts() -> dict[str, str]:
    """Return the text files of the repository by their paths."""
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in files()
        if is_text(path)
    }


def test_no_lock_files():
    """Lock files record where packages were downloaded from, which differs between machines."""
    assert not [path for path in files() if path.name in LOCK_FILES]


def test_no_addresses_of_package_indexes():
    """Nothing says where packages come from: that is the affair of whoever installs them."""
    found = [name for name, text in texts().items() if any(index in text for index in INDEXES)]
    requirements = [
        name for name in texts() if re.search(r"(requirements|constraints).*\.txt", name)
    ]

    assert not found
    assert len(requirements) >= 3
    assert not [name for name in requirements if "://" in texts()[name]]


def test_no_paths_of_one_machine():
    """Nothing refers to a folder that only its author's machine has."""
    found = [
        f"{name}: {hit[0]}" for name, text in texts().items() if (hit := MACHINES.search(text))
    ]

    assert not found


def test_constraints_are_pins():
    """The constraints file holds `name==version` lines only."""
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert lines
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+", line) for line in lines)


def test_constraints_pin_everything_that_is_asked_for():
    """No direct requirement of core, a plugin or the tests floats."""
    pinned = {_name(line) for line in _lines("tests/constraints.txt")}
    asked = [*_lines("tests/requirements.txt"), *_lines("requirements-dev.txt")]
    for folder in (ROOT, *PLUGINS):
        asked += project(folder)["dependencies"]
    names = {_name(line) for line in asked if not line.startswith("-")}

    assert not {name for name in names if not name.startswith("perimeter-")} - pinned


def _lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def test_plugins_are_all_there_is_in_their_folder():
    """`pip install . plugins/*` takes everything in that folder for a project."""
    named = [path for path in (ROOT / "plugins").iterdir() if not path.name.startswith(".")]

    assert PLUGINS
    assert all((path / "pyproject.toml").is_file() for path in named)


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


def test_extras_are_the_plugins():
    """There is no extra for a plugin that is not here."""
    extras = project(ROOT)["optional-dependencies"]

    assert set(extras) == {"all", *(plugin.name for plugin in PLUGINS)}
    assert len(extras["all"]) == len(PLUGINS)


@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=lambda path: path.name)
def test_projects_carry_their_license(folder):
    """Each distribution holds the whole Apache-2.0 text, and says so in its metadata."""
    text = (folder / "LICENSE").read_text(encoding="utf-8")

    assert project(folder)["license"] == "Apache-2.0"
    assert project(folder)["license-files"] == ["LICENSE"]
    assert APACHE in text
    assert text == (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_have_no_tool_configuration(plugin):
    """A [tool.ruff] table in a plugin would detach it from the only configuration there is."""
    tools = tomli.loads((plugin / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})

    assert set(tools) <= {"hatch"}


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_plugins_are_named_everywhere(plugin):
    """A new plugin is also in requirements-dev.txt, tox.ini, the coverage and the type checker."""
    package = f"perimeter_plugin_{plugin.name.replace('-', '_')}"
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    config = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]

    assert f"-e plugins/{plugin.name}" in _lines("requirements-dev.txt")
    assert f"all: -e {{tox_root}}/plugins/{plugin.name}" in tox
    assert f"pytest tests/plugins/{plugin.name.replace('-', '_')} " in tox
    assert package in config["coverage"]["run"]["source_pkgs"]
    assert f"plugins/{plugin.name}/src" in config["mypy"]["mypy_path"]
    assert (plugin / "src" / package / "py.typed").is_file()


@pytest.mark.parametrize("path", ["core/perimeter", "plugins"])
def test_modules_say_what_they_are_for(path):
    """Every module begins with a docstring."""
    sources = [each for each in files() if each.suffix == ".py" and (ROOT / path) in each.parents]
    bare = [
        str(each.relative_to(ROOT))
        for each in sources
        if not re.match(r'r?"""\s*\S', each.read_text(encoding="utf-8"))
    ]

    assert sources
    assert not bare


def test_ci_runs_the_test_command_of_the_readme():
    """What decides in CI is the command that the README gives, after getting it a browser."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in script if line and not line.startswith("#")]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert commands[0] == "set -euo pipefail"
    assert commands[1].startswith("cd ")
    assert [line for line in commands if "chromium" in line] == commands[2:4]
    assert commands[4:] == ["fi", "pip install tox && tox"]
    assert commands[-1] in readme


def test_links_in_documents_lead_somewhere():
    """Every relative link of every Markdown file points at a file, and at a heading of it."""
    broken = []
    for path in files():
        if path.suffix == ".md":
            text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
            targets = re.findall(r"\]\(([^)\s]+)\)", text)
            broken += [f"{path.relative_to(ROOT)}: {to}" for to in targets if not _leads(path, to)]

    assert not broken


def _leads(path: Path, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True
    name, _, anchor = target.partition("#")
    file = (path.parent / name) if name else path
    return file.exists() and (not anchor or anchor in _anchors(file))


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}
